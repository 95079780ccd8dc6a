"""The section `data`: where the images come from, and what `ingest` accepts."""

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from deepfake.common.text import folded
from deepfake.params.base import Count, Fraction, Positive, Section, described


class SampleParams(Section):
    """The synthetic sample: how many images, and how large."""

    train_per_class: Count = described("images of each class in train")
    valid_per_class: Count = described("images of each class in valid")
    test_per_class: Count = described("images of each class in test")
    size: Annotated[int, Field(ge=64, le=1024)] = described(
        "width and height of an image, in pixels"
    )
    strength: Annotated[float, Field(gt=0, le=4)] = described("how visible the manipulations are")


class KaggleParams(Section):
    """The data set on Kaggle."""

    dataset: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9][A-Za-z0-9_-]*(/[1-9][0-9]*)?$")
    ] = described("owner/slug/version; without a version: the newest")


class ArchiveParams(Section):
    """Bounds on what a folder, a zip or a table may hold."""

    max_files: Count = described(
        "files that a folder or zip may hold, and rows that a table may have"
    )
    max_gigabytes: Positive = described("GB that all files of a zip may have together, unpacked")
    max_ratio: Annotated[float, Field(ge=1)] = described(
        "unpacked over packed size above which a file of a zip is refused"
    )


class CsvParams(Section):
    """A table that names images and their labels."""

    file: str | None = described("table inside the folder that names images and labels, or null")
    path_column: str = described(
        "its column with the path of the image, or its name without suffix"
    )
    label_column: str = described("its column with one of the names in `real` and `fake`")
    split_column: str | None = described("its column with train, valid or test, or null")


def source_name(path: str) -> str:
    """The name of the source at `path`: its last part, without the suffix of a zip."""
    last = PurePath(path).name or path
    return last[: -len(".zip")] if last.lower().endswith(".zip") else last


def _named_apart(path: str | list[str]) -> str | list[str]:
    """`path`, unless two of several paths would give their sources the same name."""
    first: dict[str, str] = {}
    for one in path if isinstance(path, list) else [path]:
        name = source_name(one)
        if name in first:
            raise ValueError(
                f"{first[name]} and {one} would both be the source {name!r}: rename one of them"
            )
        first[name] = one
    return path


def _told_apart(real: list[str], fake: list[str]) -> None:
    both = {folded(name) for name in real} & {folded(name) for name in fake}
    if both:
        raise ValueError(f"names that mean both real and fake: {sorted(both)}")


class FolderParams(Section):
    """Folders or zips of images, and how labels and splits are told in them."""

    path: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=1000)],
        AfterValidator(_named_apart),
    ] = described(
        "directory or zip, or its address (`s3://bucket/faces`), or a list of them; a relative "
        "path starts at the repository"
    )
    real: Annotated[list[str], Field(min_length=1)] = described(
        "names of class folders or CSV labels that mean real, in any case"
    )
    fake: Annotated[list[str], Field(min_length=1)] = described(
        "names of class folders or CSV labels that mean fake, in any case"
    )
    csv: CsvParams
    valid_fraction: Fraction = described("share of valid, where the source has no splits")
    test_fraction: Fraction = described("share of test, where the source has no splits")

    @property
    def paths(self) -> list[str]:
        """The directories and zips of `path`, one or several."""
        return [self.path] if isinstance(self.path, str) else self.path

    @model_validator(mode="after")
    def _consistent(self) -> "FolderParams":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"valid_fraction {self.valid_fraction} and test_fraction {self.test_fraction} "
                "must leave something for train"
            )
        _told_apart(self.real, self.fake)
        return self


class NearDuplicateParams(Section):
    """When two images count as the same one."""

    max_distance: Annotated[int, Field(ge=0, le=15)] = described(
        "bits of 256 by which the perceptual hashes of two images may differ"
    )
    drop_from_train: bool = described(
        "leave near-duplicates out of train; otherwise they are only reported"
    )


class DataParams(Section):
    """Where the images come from, and which of them are used."""

    source: Literal["sample", "kaggle", "folder"] = described("where the images come from")
    limit_per_class: Count | None = described(
        "images of each class of a source, all splits together; null: all of them"
    )
    max_bad_fraction: Fraction = described("share of unusable images above which `ingest` stops")
    shard_megabytes: Annotated[int, Field(ge=1, le=1024)] = described(
        "size in MB at which a new Parquet shard begins"
    )
    near_duplicates: NearDuplicateParams
    archive: ArchiveParams
    sample: SampleParams
    kaggle: KaggleParams
    folder: FolderParams


class ExternalParams(Section):
    """A data set that the models are scored on and not trained on: an item of a list."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    path: str
    # As in `data.folder`; that is also what they are by default.
    real: Annotated[list[str], Field(min_length=1)] | None = None
    fake: Annotated[list[str], Field(min_length=1)] | None = None
    limit_per_class: Count | None = None
    csv: CsvParams | None = None  # as in `data.folder.csv`, all of its keys

    @model_validator(mode="after")
    def _consistent(self) -> "ExternalParams":
        if (self.real is None) != (self.fake is None):
            raise ValueError("real and fake are given together or not at all")
        _told_apart(self.real or [], self.fake or [])
        return self
