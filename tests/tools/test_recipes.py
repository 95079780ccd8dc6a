"""One table of every recipe, from a stand-in for DVC and a real MLflow store."""

import pandas as pd
import pytest

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.tracking import lineage
from deepfake.tracking.connection import client
from deepfake.tracking.run import start_run
from tests.tools.conftest import written
from tools import recipes, sync
from tools.sweep import experiments_of
from tools.sweep_file import read

FILE = """
name: recipes
experiments:
  - {name: slow, published: "0.95 to 0.977", set: {baseline.C: 0.5}}
  - {name: broken, published: "–", set: {baseline.max_iter: 1}}
"""


@pytest.fixture
def images(sweeping, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{sweeping}/cache/mlflow.db")
    (sweeping / "cache").mkdir()
    (sweeping / "cache/faces.zip").touch()
    written(sweeping / "sweep.yaml", FILE)
    return sweeping


def recorded(experiment, seconds, **tags):
    """Write a run of this length; returns its id."""
    settings = params.load().tracking.model_copy(update={"policy": "required"})
    origin = {"experiment": experiment, **lineage.place()}
    kind = "model" if tags else "data"
    stage, name = ("train", "image") if tags else ("embed", None)
    with start_run(settings, stage=stage, kind=kind, name=name, origin=origin) as run:
        run.metrics({"while_training": {"parameters": 14_353}})
        run.tags(tags)
    start = client().get_run(run.run_id).info.start_time
    client().set_terminated(run.run_id, end_time=start + round(seconds * 1000))
    return run.run_id


def test_the_table_has_published_and_own_figures_seconds_and_size(images, monkeypatch, capsys):
    data = str(images / "cache/faces.zip")
    name, _ = experiments_of(recipes.on_data(read(images / "sweep.yaml"), data))
    embed = recorded("another", 20)  # restored from DVC's cache
    recorded(name, 3, current="true", run_embed=embed)
    monkeypatch.setattr("sys.argv", ["recipes", data, "--file", "sweep.yaml"])
    with pytest.raises(SystemExit):
        recipes.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| slow | 0.95 to 0.977 | 0.900 | 0.800 | 23 | 14,353 |" in lines
    assert "| broken | – | failed | failed | failed | failed |" in lines
    assert any(line.endswith(": failed: `dvc queue logs " + line.split(":")[0] + "` says why")
               for line in lines)  # fmt: skip
    table = pd.read_csv(images / "cache/recipes/recipes.csv")
    assert table["recipe"].tolist() == ["slow", "broken"]
    assert table["seconds"][0] == 23
    assert "| slow |" in (images / "cache/recipes/recipes.md").read_text()
    assert (images / "cache/recipes/recipes.png").read_bytes().startswith(b"\x89PNG")


def test_the_run_that_trained_the_model_counts_where_dvc_restored_it(images):
    made = recorded("first", 40, current="true")
    recorded("again", 1, current="true", made_by=made)
    assert recipes._recorded("again") == {"seconds": 40, "parameters": 14_353}


def test_what_mlflow_does_not_have_is_left_open(images, monkeypatch, capsys):
    data = str(images / "cache/faces.zip")
    monkeypatch.setattr("sys.argv", ["recipes", data, "--file", "sweep.yaml"])
    with pytest.raises(SystemExit):  # one has failed
        recipes.main()
    assert "| slow | 0.95 to 0.977 | 0.900 | 0.800 | – | – |" in capsys.readouterr().out
    monkeypatch.setattr(sync, "bring_up_to_date", unreachable)
    with pytest.raises(SystemExit):
        recipes.main()
    printed = capsys.readouterr()
    assert "| slow | 0.95 to 0.977 | 0.900 | 0.800 | – | – |" in printed.out
    assert "warning: seconds and parameters are missing: MLflow is down" in printed.err


def unreachable(settings):
    raise PipelineError("MLflow is down")


def test_every_recipe_runs_on_the_images_given(images):
    named = experiments_of(recipes.on_data(read(images / "sweep.yaml"), "cache/faces.zip"))
    assert all(name.startswith("recipes-") for name in named)
    for one in named.values():
        assert one.set["data.source"] == "folder"
        assert one.set["data.folder.path"] == "cache/faces.zip"


def test_data_that_is_not_there_is_refused(images):
    with pytest.raises(PipelineError, match=r"DATA=none\.zip"):
        recipes.on_data(read(images / "sweep.yaml"), "none.zip")
