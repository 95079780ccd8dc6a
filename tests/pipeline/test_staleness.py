"""Which changes make which stages stale, by real `dvc status`."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def stale(clone) -> set[str]:
    """The stages that `dvc status` calls changed; what lies behind them follows when they run.

    Without `check`, which computes nothing.
    """
    return set(json.loads(clone.run("dvc", "status", "--json").splitlines()[0])) - {"check"}


@pytest.fixture
def unchanged(computed_clone):
    """The clone with everything computed; changes are undone afterwards."""
    assert stale(computed_clone) == set()
    yield computed_clone
    computed_clone.run("git", "checkout", "-q", ".")
    computed_clone.run("dvc", "checkout")  # what a stage that was refused had removed


WITHOUT_EFFECT = [
    "deepfake/tracking/run.py",
    "deepfake/tracking/experiment_rows.py",
    "deepfake/params/models.py",
    "deepfake/common/progress.py",
    "deepfake/common/errors.py",
    "deepfake/common/threads.py",
    "deepfake/ingest/inspection.py",
    "deepfake/serving/cli.py",
    "stages/running.py",
]


def add_a_line(file: Path) -> None:
    file.write_text(file.read_text() + "# A line more.\n")


def test_changed_lines_that_no_result_depends_on_make_nothing_stale(unchanged):
    for path in WITHOUT_EFFECT:
        add_a_line(unchanged.path / path)
    assert stale(unchanged) == set()


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("deepfake/reporting/report.py", {"compare"}),
        ("deepfake/reporting/figures.py", {"compare"}),
        ("deepfake/training/loop.py", {"train"}),
        ("deepfake/ingest/planning.py", {"ingest", "external"}),
        ("deepfake/sources/portraits/canvas.py", {"ingest", "external"}),
        ("deepfake/metadata/baseline.py", {"baseline"}),
        ("stages/evaluate.py", {"evaluate"}),
        ("deepfake/exporting/formats.py", {"export"}),
    ],
)
def test_a_changed_line_makes_stale_what_depends_on_it(unchanged, path, stages):
    add_a_line(unchanged.path / path)
    assert stale(unchanged) == stages


@pytest.mark.parametrize(
    ("package", "stages"),
    [
        ("openvino", {"backbone", "embed", "evaluate", "export"}),
        ("matplotlib", {"compare"}),
        ("joblib", {"baseline"}),
    ],
)
def test_another_version_of_a_package_makes_stale_what_computes_with_it(unchanged, package, stages):
    file = unchanged.path / "versions.yaml"
    lines = [
        f'{package}: "0.0.1"' if line.startswith(f"{package}:") else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")
    assert stale(unchanged) == stages


def test_a_stage_refuses_other_versions_by_name(unchanged):
    file = unchanged.path / "versions.yaml"
    file.write_text(file.read_text().replace('numpy: "', 'numpy: "9'))
    printed = unchanged.run("dvc", "repro", fails=True)
    assert "installed packages differ from versions.yaml: numpy" in printed
    assert "make install" in printed
    assert "Traceback" not in printed


def test_what_decides_speed_alone_makes_nothing_stale(unchanged):
    unchanged.set(execution={"threads": 1, "batch_size": 4, "cache_megabytes": 0})
    unchanged.set(tracking={"policy": "required"})
    assert stale(unchanged) == set()
