"""params.yaml and its schema: what is read, what is refused, and in which words."""

import copy
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import parse_yaml as dvc_parse_yaml

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.common.yaml12 import parse_yaml
from tests.support.faults.cases import Attack
from tests.support.faults.parameters import PARAMETERS

SHIPPED = Path(__file__).resolve().parent.parent / "params.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")
VALUES = params.load(SHIPPED).model_dump()
RULES = "must be a number above 0 and below 1, youden, f1, or {fpr: a number above 0 and below 1}"
BAD_RULES = (0.0, 1.0, math.nan, True, None, "0.5", "best", {}, {"fpr": 0.0}, {"tpr": 0.9})


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The shipped values with some replaced, by dotted key."""
    values = copy.deepcopy(VALUES)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    return values


def refusal(values: Any) -> str:
    with pytest.raises(PipelineError) as caught:
        params.validate(values, "params.yaml")
    return str(caught.value)


def test_the_shipped_parameters_load() -> None:
    loaded = params.load(SHIPPED)
    assert loaded.seed == 20261121
    assert loaded.train.fine_tune.learning_rate == 1e-5
    assert loaded.data.limit_per_class is None
    assert loaded.train.hidden == []


def test_what_dvc_changes_is_one_line(tmp_path: Path) -> None:
    """`dvc exp run -S` writes the whole file again, in its own form."""
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    apply_overrides(path, ["train.weight_decay=0.1"])
    pairs = zip(TEXT.splitlines(), path.read_text().splitlines(), strict=True)
    (changed_line,) = [new for old, new in pairs if old != new]
    assert changed_line.split("#")[0].strip() == "weight_decay: 0.1"


@pytest.mark.parametrize(
    ("change", "rule"),
    [("youden", "youden"), ("{fpr: 0.01}", {"fpr": 0.01}), ("{fpr: 1e-3}", {"fpr": 1e-3})],
)
def test_a_rule_goes_through_dvc_and_back(tmp_path: Path, change: str, rule: Any) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    apply_overrides(path, [f"evaluate.threshold={change}"])
    assert params.load(path).evaluate.threshold == rule
    apply_overrides(path, ["evaluate.threshold=0.5"])
    assert params.load(path) == params.load(SHIPPED)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.weight_decai", "train.weight_decay"),
        ("weight_decay", "train.weight_decay"),
        ("train.fine_tune.epoch", "train.fine_tune.epochs"),
        ("baseline.c", "baseline.C"),
        ("data.folder.pth", "data.folder.path"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, meant: str) -> None:
    assert f"{key}: unknown key (value received: 1); did you mean {meant}?" in refusal(
        changed({key: 1})
    )


def test_a_key_like_no_other_is_refused_without_a_guess() -> None:
    assert refusal(changed({"xyzzy": 1})).endswith("xyzzy: unknown key (value received: 1)")


@pytest.mark.parametrize("written", ["1e-05", "1e-5", "1E-5", "1.0e-5", "1.e-5", "0.00001"])
def test_floats_load_however_they_are_written(tmp_path: Path, written: str) -> None:
    path = tmp_path / "params.yaml"
    text, number = re.subn(r"learning_rate: 0\.001", f"learning_rate: {written}", TEXT, count=1)
    assert number == 1
    path.write_text(text)
    assert params.load(path).train.learning_rate == 1e-5


def test_a_quoted_number_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("learning_rate: 0.001", "learning_rate: '1e-5'"))
    with pytest.raises(PipelineError, match=r"train\.learning_rate: received '1e-5'"):
        params.load(path)


@pytest.mark.parametrize(
    "text", ["010", "1:30", "0o17", "1e-5", "yes", "1_000", ".5", "2026-11-21"]
)
def test_yaml_is_read_as_dvc_reads_it(text: str) -> None:
    assert parse_yaml(text) == dvc_parse_yaml(text, "params.yaml")


def test_no_file_of_the_project_is_near_the_limits() -> None:
    lock = (SHIPPED.parent / "dvc.lock").read_text(encoding="utf-8")
    doubled = lock + lock.replace("stages:", "more:").replace("schema:", "again:")
    assert len(parse_yaml(doubled)) == 4


@pytest.mark.parametrize("case", PARAMETERS, ids=[case.name for case in PARAMETERS])
def test_faults(case: Attack, tmp_path: Path) -> None:
    started = time.monotonic()
    told = case.provoke(tmp_path)
    assert time.monotonic() - started < 30
    for part in case.says:
        assert part in told
        told = told[told.index(part) + len(part) :]


@pytest.mark.parametrize("section", ["", "data.folder.csv.", "train.fine_tune.augment."])
def test_an_unknown_key_is_refused(section: str) -> None:
    message = refusal(changed({f"{section}surprise": 7}))
    assert f"{section}surprise: unknown key (value received: 7)" in message


@pytest.mark.parametrize("key", ["seed", "tracking", "data.folder.csv.file", "baseline.C"])
def test_a_missing_key_is_refused(key: str) -> None:
    values = copy.deepcopy(VALUES)
    *sections, last = key.split(".")
    section = values
    for name in sections:
        section = section[name]
    del section[last]
    assert f"  {key}: the key is missing" in refusal(values)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        # type
        ("seed", "7", "valid integer"),
        ("seed", 1.5, "valid integer"),
        ("seed", True, "valid integer"),
        ("data.folder.csv.file", 3, "valid string"),
        ("data.limit_per_class", 2.0, "valid integer"),
        ("train.hidden", 128, "valid list"),
        ("train.fine_tune.augment.flip", 1, "valid boolean"),
        ("baseline", None, "valid dictionary"),
        # range
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("data.max_bad_fraction", 1.001, "less than or equal to 1"),
        ("data.limit_per_class", 0, "greater than or equal to 1"),
        ("data.shard_megabytes", 1025, "less than or equal to 1024"),
        ("data.sample.train_per_class", 0, "greater than or equal to 1"),
        ("data.sample.size", 63, "greater than or equal to 64"),
        ("data.sample.strength", 0.0, "greater than 0"),
        ("data.folder.real", [], "at least 1 item"),
        ("data.folder.valid_fraction", -0.1, "greater than or equal to 0"),
        ("baseline.C", 0.0, "greater than 0"),
        ("backbone.image_size", 1025, "less than or equal to 1024"),
        ("train.dropout", 1.0, "less than 1"),
        ("train.weight_decay", -1e-9, "auto or a number from 0"),
        ("train.weight_decay", "automatic", "auto or a number from 0"),
        ("train.learning_rate", 0.0, "greater than 0"),
        ("train.fine_tune.epochs", -1, "greater than or equal to 0"),
        ("train.fine_tune.augment.rotation", 180.5, "less than or equal to 180"),
        ("train.fine_tune.augment.zoom", 1.0, "less than or equal to 0.5"),
        ("evaluate.uncertain.error_rate", 0.5, "less than 0.5"),
        # a number or a rule
        *(("evaluate.threshold", value, RULES) for value in BAD_RULES),
        ("compare.bootstrap_samples", 99, "greater than or equal to 100"),
        ("compare.bootstrap_samples", 100_001, "less than or equal to 100000"),
        ("compare.confidence", 1.0, "less than 1"),
        ("tracking.experiment", "", "at least 1 character"),
        # choice
        ("data.source", "ftp", "'sample', 'kaggle' or 'folder'"),
        ("baseline.class_weight", "heavy", "'none' or 'balanced'"),
        ("backbone.precision", "float16", "'auto', 'float32', 'mixed_float16'"),
        ("train.schedule", "step", "'constant' or 'cosine'"),
        ("tracking.policy", "never", "'best_effort' or 'required'"),
        ("data.kaggle.dataset", "slug-alone", "match pattern"),
        ("data.kaggle.dataset", "owner/slug/versions/3", "match pattern"),
        # not a number
        ("baseline.C", math.nan, "finite number"),
        ("baseline.C", math.inf, "finite number"),
        ("data.max_bad_fraction", -math.inf, "finite number"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    message = refusal(changed({key: value}))
    assert message.startswith("params.yaml has 1 unusable value:\n")
    assert f"  {key}: received {value!r}; " in message
    assert allowed in message.splitlines()[1]


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("train.hidden", [128, 0], "train.hidden.1: received 0"),
        ("embed.scales", [1.0, 2.0], "embed.scales.1: received 2.0"),
        ("embed.views", ["upside_down"], "embed.views.0: received 'upside_down'"),
    ],
)
def test_a_bad_item_of_a_list_is_named_by_its_place(key: str, value: Any, place: str) -> None:
    assert place in refusal(changed({key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("data.limit_per_class", 1),
        ("data.kaggle.dataset", "owner/slug"),
        ("data.sample.size", 64),
        ("data.max_bad_fraction", 1),
        ("backbone.alpha", 0.35),
        ("backbone.alpha", 1),
        ("train.dropout", 0),
        ("train.hidden", [256, 128]),
        ("train.fine_tune.augment.rotation", 180),
        ("compare.bootstrap_samples", 100_000),
    ],
)
def test_the_ends_of_ranges_are_accepted(key: str, value: Any) -> None:
    loaded = params.validate(changed({key: value})).model_dump()
    for name in key.split("."):
        loaded = loaded[name]
    assert loaded == value


def test_several_faults_are_told_at_once() -> None:
    message = refusal(changed({"seed": -1, "tracking.policy": "never", "baseline.extra": 1}))
    assert message.startswith("params.yaml has 3 unusable values:")
    for key in ("seed", "tracking.policy", "baseline.extra"):
        assert f"\n  {key}: " in message


@pytest.mark.parametrize(("real", "fake"), [("Photo", "photo"), ("photo", "PHOTO")])
def test_a_name_cannot_mean_both_real_and_fake(real: str, fake: str) -> None:
    changes = {"data.folder.real": ["real", real], "data.folder.fake": ["fake", fake]}
    message = refusal(changed(changes))
    assert "data.folder" in message
    assert "both real and fake: ['photo']" in message


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (0.9, 0.2), (1.0, 0.0)])
def test_fractions_that_leave_nothing_for_train_are_refused(valid: float, test: float) -> None:
    changes = {"data.folder.valid_fraction": valid, "data.folder.test_fraction": test}
    assert "must leave something for train" in refusal(changed(changes))


def test_fractions_may_leave_all_to_train() -> None:
    changes = {"data.folder.valid_fraction": 0.0, "data.folder.test_fraction": 0.0}
    assert params.validate(changed(changes)).data.folder.test_fraction == 0


@pytest.mark.parametrize("key", ["layers", "scales", "views"])
def test_nothing_is_embedded_twice(key: str) -> None:
    twice = [VALUES["embed"][key][0]] * 2
    message = refusal(changed({f"embed.{key}": twice}))
    assert f"embed.{key}: received {twice}; lists a value twice" in message


def test_an_unknown_width_is_refused_with_the_widths_there_are() -> None:
    assert "backbone.alpha: received 0.9; must be one of 0.35, 0.5, 0.75, 1.0, 1.3, 1.4" in refusal(
        changed({"backbone.alpha": 0.9})
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backbone.alpha": 0.9}, "backbone.alpha: received 0.9"),
        ({"embed.views": ["original"] * 2}, "embed.views: received ['original', 'original']"),
        ({"data.folder.valid_fraction": 0.95}, "0.95"),
    ],
)
def test_checks_of_a_section_name_key_and_value(changes: dict[str, Any], told: str) -> None:
    assert told in refusal(changed(changes))


def test_sources_of_one_name_are_refused_by_their_paths() -> None:
    values = changed({"data.folder.path": ["a/faces.zip", "more", "b/faces"]})
    assert "data.folder.path: " in refusal(values)
    assert "a/faces.zip and b/faces would both be the source 'faces'" in refusal(values)


@pytest.mark.parametrize("value", [3, [], ["a", 3]])
def test_a_path_is_text_or_a_list_of_texts(value: Any) -> None:
    told = refusal(changed({"data.folder.path": value}))
    assert "  data.folder.path" in told
    assert "list[" not in told


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ([{"name": "a"}], "evaluate.external.0.path: the key is missing"),
        ([{"name": "a/b", "path": "x"}], "evaluate.external.0.name: received 'a/b'"),
        ([{"name": "a", "path": "x", "pth": 1}], "evaluate.external.0.pth: unknown key"),
        ([{"name": "a", "path": "x"}, {"name": "A", "path": "y"}], "are named 'a'"),
        ([{"name": "test", "path": "x"}], "are named 'test'"),
        ([{"name": "a", "path": "x", "real": ["r"]}], "given together or not at all"),
        ([{"name": "a", "path": "x", "real": ["r"], "fake": ["R"]}], "mean both real and fake"),
        (
            [{"name": "a", "path": "x", "real": ["\u017f"], "fake": ["S "]}],
            "mean both real and fake",
        ),
    ],
)
def test_data_never_trained_on_is_checked(sets: list[Any], told: str) -> None:
    assert told in refusal(changed({"evaluate.external": sets}))


def test_the_value_shown_is_kept_short() -> None:
    line = refusal(changed({"data.source": "x" * 5000})).splitlines()[1]
    assert "xxx...; " in line
    assert len(line) < 200


@pytest.mark.parametrize("top", [None, [1, 2], "text"])
def test_something_else_than_a_mapping_is_refused(top: Any) -> None:
    assert f"(top level): received {top!r}" in refusal(top)


@pytest.mark.parametrize("content", [b"a: [1", b"a: b: c", b"\xff\xfe\x00", b"\x00"])
def test_a_file_that_is_no_yaml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=r"cannot read .*params\.yaml"):
        params.load(path)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PipelineError, match=re.escape(f"cannot read {path}")):
            params.load(path)


def test_an_impossible_date_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 2026-13-01\n")
    with pytest.raises(PipelineError, match=r"params\.yaml"):
        params.load(path)


def test_parameters_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        params.load(SHIPPED).train.epochs = 3  # type: ignore[misc]


def uncommented(text: str) -> list[str]:
    """The keys with a comment neither above them, nor on their line, nor on that of a section
    around them."""
    open_sections: list[tuple[int, bool]] = []
    missing = []
    lines = text.splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        match = re.match(r"( *)([A-Za-z_]+):( |$)", line)
        if not match:
            continue
        depth = len(match[1])
        open_sections = [section for section in open_sections if section[0] < depth]
        told = (
            "#" in line
            or above.lstrip().startswith("#")
            or any(commented for _, commented in open_sections)
        )
        if line.split("#")[0].rstrip().endswith(":"):
            open_sections.append((depth, told))
        elif not told:
            missing.append(match[2])
    return missing


def test_every_parameter_is_explained_where_it_stands() -> None:
    assert uncommented(TEXT) == []
