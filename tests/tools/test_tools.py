"""The tools' own logic; what they do with DVC is tested in `tests/pipeline/`."""

import json
import re
from pathlib import Path

import pytest
import yaml

from deepfake import params
from deepfake.common.errors import PipelineError
from tools import shell, sweep, sync, verify

ROOT = Path(__file__).parent.parent.parent


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def clones(tmp_path: Path) -> tuple[Path, Path]:
    """Two clones with equal outputs: a file, and a folder with two."""
    pipeline = {"stages": {"a": {"outs": ["data/images", {"metrics/a.json": {"cache": False}}]}}}
    for name in ("one", "two"):
        written(tmp_path / name / "dvc.yaml", yaml.safe_dump(pipeline))
        written(tmp_path / name / "dvc.lock", "lock")
        written(tmp_path / name / "metrics/a.json", '{\n  "auc": 0.5\n}\n')
        for file in ("train.bin", "test.bin"):
            written(tmp_path / name / "data/images" / file, "pixels")
    return tmp_path / "one", tmp_path / "two"


def test_outputs_are_what_the_stages_declare_as_outs_metrics_or_plots(tmp_path):
    pipeline = {
        "stages": {
            "a": {"outs": ["data/a.bin"]},
            "b": {
                "metrics": ["metrics/b.json", {"metrics/c.json": {"cache": False}}],
                "plots": [{"plots/b.csv": {"cache": False, "x": "fpr"}}, "plots/folder"],
            },
        },
        "plots": [{"ROC": {"y": {"plots/top.csv": "tpr"}}}, "plots/top.csv"],
    }
    written(tmp_path / "dvc.yaml", yaml.safe_dump(pipeline))
    names = ["data/a.bin", "metrics/b.json", "metrics/c.json", "plots/b.csv", "plots/folder/b.png"]
    for name in ["dvc.lock", *names, "plots/top.csv"]:
        written(tmp_path / name, "")
    assert verify.outputs(tmp_path) == [Path(name) for name in ["dvc.lock", *names]]


def test_equal_outputs_agree(clones, capsys):
    assert verify.compare_outputs(*clones)
    assert "4 of 4 files agree, byte for byte" in capsys.readouterr().out


def test_a_difference_is_named_with_its_place(clones, capsys):
    written(clones[1] / "metrics/a.json", '{\n  "auc": 0.6\n}\n')
    written(clones[1] / "data/images/test.bin", "pixeLs")
    assert not verify.compare_outputs(*clones)
    printed = capsys.readouterr().out
    assert 'metrics/a.json | 17 | no: line 2: `"auc": 0.5` and `"auc": 0.6`' in printed
    assert "data/images/test.bin | 6 | no: byte 4" in printed
    assert "2 of 4 files agree" in printed


def test_an_output_that_only_one_run_wrote_is_a_difference(clones, capsys):
    written(clones[1] / "data/images/more.bin", "")
    assert not verify.compare_outputs(*clones)
    assert "data/images/more.bin | 0 | no: only one run wrote it" in capsys.readouterr().out


@pytest.mark.parametrize(("tolerance", "agree"), [(0.01, True), (0.0001, False)])
def test_metrics_are_compared_within_a_tolerance(tmp_path, capsys, tolerance, agree):
    for name, auc in (("one", 0.9), ("two", 0.901)):
        for file in verify.METRICS:
            written(tmp_path / name / file, json.dumps({"test": {"roc_auc": auc, "n": 3}}))
    assert verify.compare_metrics(tmp_path / "one", tmp_path / "two", tolerance) is agree
    assert "0.001000 | test.roc_auc" in capsys.readouterr().out


def test_parameters_are_changed_as_dvc_changes_them(tmp_path):
    file = written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    verify.change(file, ["train.hidden=[128]", "train.learning_rate=1e-5", "seed=3"])
    changed = params.load(file)
    assert (changed.train.hidden, changed.train.learning_rate, changed.seed) == ([128], 1e-5, 3)


@pytest.mark.parametrize("item", ["train.hiden=[128]", "nothing", "seed.of=3"])
def test_a_parameter_that_is_not_there_is_refused(tmp_path, item):
    file = written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    with pytest.raises(PipelineError, match="expected KEY=VALUE with a key of"):
        verify.change(file, [item])


def test_a_sweep_is_its_grid_and_its_single_experiments():
    found = sweep.Sweep(
        name="a",
        sort="image.valid.roc_auc",
        grid={"x": [1, 2], "y": [3, 4]},
        experiments=[{"z": 5}],
    )
    assert found.overrides() == [
        {"x": 1, "y": 3},
        {"x": 1, "y": 4},
        {"x": 2, "y": 3},
        {"x": 2, "y": 4},
        {"z": 5},
    ]
    assert sweep.Sweep(name="a", sort="image.valid.roc_auc").overrides() == []


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=str)
def test_the_sweeps_here_can_be_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = sweep.read(path)
    sweep.parameters({str(n): o for n, o in enumerate(found.overrides())})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a b\nsort: image.valid.roc_auc", "String should match pattern"),
        ("name: a\nsort: image.test.roc_auc", "sort"),
        ("name: a\nsort: image.valid.roc_auc\nmore: 1", "more"),
        ("[", "is not a sweep"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, said):
    with pytest.raises(PipelineError, match=said):
        sweep.read(written(tmp_path / "a.yaml", text))


def test_a_sweep_of_unusable_parameters_is_refused_before_it_starts(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(PipelineError, match=r"a-02.*\n.*train\.dropout: received 2"):
        sweep.parameters({"a-01": {"train.dropout": 0.5}, "a-02": {"train.dropout": 2.0}})
    with pytest.raises(PipelineError, match=r"params\.yaml has no train\.drop\.out"):
        sweep.parameters({"a-01": {"train.drop.out": 0.5}})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with `params.yaml`, in which a stand-in for DVC runs experiments.

    An experiment's metric tells its parameters: `baseline.valid.log_loss` is `baseline.C`. What is
    queued is written to the file `queued`, a line for each experiment.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    written(tmp_path / "params.yaml", (ROOT / "params.yaml").read_text())
    written(tmp_path / ".gitignore", "queued\nsweep.yaml")
    written(tmp_path / "queued", "")
    shell.git("init", "-q", "-b", "main")
    shell.git("add", "-A")
    shell.git("commit", "-qm", "start")

    def run_experiment(name: str, changes: list[str]) -> None:
        verify.change(tmp_path / "params.yaml", changes)
        settings = params.load(tmp_path / "params.yaml")
        metrics = {"valid": {"log_loss": settings.baseline.C}}
        written(tmp_path / "metrics/baseline.json", json.dumps(metrics))
        shell.git("add", "-A")
        head = shell.git("rev-parse", "HEAD").strip()
        revision = shell.git("commit-tree", shell.git("write-tree").strip(), "-p", head, "-m", name)
        shell.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", revision.strip())
        shell.git("reset", "-q", "--hard")

    def dvc(*arguments: str) -> str:
        if arguments[:2] == ("queue", "status"):
            names = (tmp_path / "queued").read_text().split()
            return "\n".join(f"0 {name} Success" for name in names)
        if arguments[:2] == ("exp", "run"):
            run_experiment(arguments[4], [item.removeprefix("-S") for item in arguments[5:]])
            with open(tmp_path / "queued", "a") as file:
                file.write(f"{arguments[4]}\n")
        return ""

    monkeypatch.setattr(sweep, "dvc", dvc)
    monkeypatch.setattr(sync, "main", lambda: None)
    monkeypatch.setattr("sys.argv", ["sweep", "sweep.yaml"])
    return tmp_path


def swept(project: Path, grid: str, name: str = "c") -> None:
    """Run a sweep with this grid."""
    text = f"name: {name}\nsort: baseline.valid.log_loss\ngrid: {grid}\n"
    written(project / "sweep.yaml", text)
    sweep.main()


def test_a_wider_grid_runs_what_is_new_and_shows_each_experiments_own_metric(project, capsys):
    swept(project, "{baseline.C: [0.1, 0.3]}")
    assert len((project / "queued").read_text().splitlines()) == 2
    capsys.readouterr()
    swept(project, "{baseline.C: [0.1, 0.2, 0.3]}")
    assert len((project / "queued").read_text().splitlines()) == 3
    rows = re.findall(r"^\| c-\S+ \| ([\d.]+) \| ([\d.]+) \|$", capsys.readouterr().out, re.M)
    assert [(float(metric), float(value)) for metric, value in rows] == [
        (0.1, 0.1), (0.2, 0.2), (0.3, 0.3),
    ]  # fmt: skip


def test_the_order_of_keys_and_values_does_not_change_what_is_done(project):
    swept(project, "{baseline.C: [0.1, 0.3], seed: [1, 2]}")
    swept(project, "{seed: [2, 1], baseline.C: [0.3, 0.1]}")
    names = (project / "queued").read_text().splitlines()
    assert len(names) == len(set(names)) == 4
    assert all(re.fullmatch(r"c-[0-9a-f]{8}", name) for name in names)


def test_an_experiment_with_other_parameters_does_not_count_as_done(project, capsys):
    swept(project, "{baseline.C: [0.1]}")
    (name,) = (project / "queued").read_text().split()
    verify.change(project / "params.yaml", ["seed=77"])
    with pytest.raises(SystemExit):
        swept(project, "{baseline.C: [0.1]}")
    said = capsys.readouterr().err
    assert f"{name} was run with other parameters" in said
    assert f"dvc exp remove {name}" in said
    swept(project, "{baseline.C: [0.1]}", name="d")
    assert len((project / "queued").read_text().split()) == 2


def test_parameters_without_effect_on_results_may_differ(project):
    swept(project, "{baseline.C: [0.1]}")
    verify.change(project / "params.yaml", ["tracking.experiment=another"])
    swept(project, "{baseline.C: [0.1]}")
    assert len((project / "queued").read_text().split()) == 1


def test_the_numbers_of_a_sweep_are_read_as_those_of_params_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = "name: a\nsort: image.valid.roc_auc\ngrid: {train.learning_rate: [1e-4, 1e-05]}"
    found = sweep.read(written(tmp_path / "a.yaml", text))
    assert found.grid == {"train.learning_rate": [1e-4, 1e-5]}
    sweep.parameters({str(n): o for n, o in enumerate(found.overrides())})
