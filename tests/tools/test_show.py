"""What `make repro` prints at its end."""

import os
import re
from pathlib import Path

import pytest

from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.common.files import write_json, write_text
from deepfake.reporting.report import BODY
from tools import show
from tools.shell import git

ROOT = Path(__file__).parent.parent.parent
TOP = """# Real faces or deepfakes: the report

The verdict's sentence.

> Warning: this is **suspicious**.

"""


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the report and the metrics of a run."""
    monkeypatch.chdir(tmp_path)
    write_text(paths.REPORT, f"{TOP}{BODY}\n\nThe body.\n")
    for number, model in enumerate(("baseline", "image")):
        names = (*show._METRICS, "brier")
        values = {name: (n + number) / 10 for n, name in enumerate(names)}
        write_json(paths.metrics_file(model), {"valid": {}, "test": values})
    return tmp_path


def test_it_is_short_and_begins_with_the_verdict(outputs: Path) -> None:
    text = show.result(80)
    assert text.startswith("The verdict's sentence.\n\nWarning: this is suspicious.\n\n")
    assert "The body." not in text
    assert len(text.splitlines()) <= 16


def test_it_has_a_small_table_of_both_models(outputs: Path) -> None:
    rows = [re.split(r"  +", line.strip()) for line in show.result(80).splitlines()]
    assert ["on the test images", "baseline", "image"] in rows
    assert ["ROC-AUC", "0.000", "0.100"] in rows
    assert ["average precision", "0.200", "0.300"] in rows
    assert ["log loss (lower is better)", "0.300", "0.400"] in rows
    assert "brier" not in show.result(80)


def test_its_lines_fit_into_a_terminal(outputs: Path) -> None:
    write_text(paths.REPORT, f"# Title\n\n{'long ' * 100}\n\n{BODY}\n")
    assert max(len(line) for line in show.result(90).splitlines()) <= 90


def test_it_says_where_to_look_next(outputs: Path) -> None:
    text = show.result(80)
    for place in ("report.md", "plots/", "make ui"):
        assert place in text
    (heading,) = re.findall(r'"(Your own .*?)"', text)
    assert f"\n## {heading}\n" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("missing", [paths.REPORT, paths.metrics_file("image")])
def test_a_missing_file_is_named_with_the_command_that_writes_it(
    outputs: Path, missing: Path
) -> None:
    missing.unlink()
    with pytest.raises(PipelineError, match=f"{missing} is missing: run `make repro`"):
        show.result(80)


def test_it_does_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert not show.lock_changed()
    with pytest.raises(PipelineError, match="git cannot be run"):
        git("status")
