"""How well the image model withstands what happens to images on their way: `make robustness`.

It scores `test` with the saved model as it is, and altered: halved, blurred, compressed.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from deepfake.common import paths, progress
from deepfake.common.errors import PipelineError, command
from deepfake.data import shards
from deepfake.evaluation import decision
from deepfake.evaluation.ranking import roc_auc
from deepfake.inference import scoring
from deepfake.models import image_model, tensorflow_setup

BATCH = 16


def halved(image: Image.Image) -> Image.Image:
    """Shrink to half of each side."""
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)


def blurred(image: Image.Image) -> Image.Image:
    """Blur with a sigma of 0.7 pixels."""
    return image.filter(ImageFilter.GaussianBlur(0.7))


def compressed(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Encode as JPEG of this quality, and decode again."""

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return change


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    "halved": halved,
    "blurred, sigma 0.7": blurred,
    "JPEG 60": compressed(60),
    "JPEG 50": compressed(50),
}


def scores(
    model: Callable[[list[np.ndarray]], np.ndarray],
    images: Path,
    split: str,
    alter: Callable[[Image.Image], Image.Image],
    title: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores (n,) of a split's images, altered."""
    labels, found = [], []
    decoded = shards.decoded(shards.image_files(images, split))
    with progress.bar(shards.count(images, split), title, "images") as bar:
        for batch in shards.batches(decoded, BATCH):
            altered = [np.asarray(alter(Image.fromarray(pixels))) for _, pixels in batch]
            labels += [image_file.label for image_file, _ in batch]
            found.append(model(altered))
            bar.update(len(batch))
    return np.array(labels), np.concatenate(found)


def row(name: str, labels: np.ndarray, found: np.ndarray, threshold: float) -> str:
    """A row of the table: ROC-AUC, accuracy, and the shares of reals and fakes called fake."""
    predicted = found >= threshold
    share = [f"{predicted[labels == label].mean():.3f}" for label in (0, 1)]
    accuracy = (predicted == labels).mean()
    return f"| {name} | {roc_auc(labels, found):.4f} | {accuracy:.4f} | {' | '.join(share)} |"


def threshold_of(model: Path, given: float | None) -> float:
    """The threshold given; else what was chosen on `valid` for the detector of the last run, and
    0.5 for any other model."""
    if given is not None:
        return given
    return decision.read(paths.decision("image")).threshold if model == paths.DETECTOR else 0.5


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="make robustness", description=__doc__)
    parser.add_argument("--model", type=Path, default=paths.DETECTOR, help="a .keras file")
    parser.add_argument("--images", type=Path, default=paths.IMAGES, help="a folder of shards")
    parser.add_argument("--split", default="test")
    parser.add_argument(
        "--threshold", type=float, help="of the last run for its own detector, else 0.5"
    )
    parser.add_argument("--only", nargs="+", choices=list(ALTERATIONS), default=list(ALTERATIONS))
    chosen = parser.parse_args()
    if not chosen.model.exists():
        raise PipelineError(f"{chosen.model} does not exist: run the pipeline first (`make repro`)")
    threshold = threshold_of(chosen.model, chosen.threshold)
    tensorflow_setup.start(seed=0, precision="float32")
    model = scoring.scorer(image_model.load(chosen.model))
    print(f"| {chosen.split} | ROC-AUC | accuracy | reals called fake | fakes called fake |")
    print("|---|---:|---:|---:|---:|")
    for name in chosen.only:
        found = scores(model, chosen.images, chosen.split, ALTERATIONS[name], name)
        print(row(name, *found, threshold), flush=True)


if __name__ == "__main__":
    main()
