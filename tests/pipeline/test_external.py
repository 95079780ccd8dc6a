"""Data never trained on, by real `dvc`: what runs again, and what is refused before that."""

import json

import pandas as pd
import pytest
from dvc.utils.serialize import modify_yaml

from tests.support.making import image_file, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(computed_clone):
    files = {
        f"{kind}/{n}.png": image_file(n + len(kind)) for kind in ("real", "ai") for n in (1, 9)
    }
    write(computed_clone.path / "celeb", files)
    return computed_clone


def choose(clone, *sets):
    with modify_yaml(clone.path / "params.yaml") as values:
        values["evaluate"]["external"] = list(sets)


def test_a_set_is_scored_by_both_models_and_nothing_is_trained_again(clone):
    choose(clone, {"name": "celeb", "path": "celeb"})
    ran = clone.stages_run(clone.run("dvc", "repro"))
    assert ran == ["external", "baseline", "evaluate", "compare", "export"]
    tables = [
        pd.read_csv(clone.path / f"data/predictions/{model}/external-celeb.csv")
        for model in ("baseline", "image")
    ]
    for table in tables:
        assert sorted(table["path"]) == ["ai/1.png", "ai/9.png", "real/1.png", "real/9.png"]
        assert table["image_id"].tolist() == tables[0]["image_id"].tolist()
        assert set(table["source"]) == {"celeb"}
    groups = json.loads((clone.path / "data/groups/image.json").read_text())
    assert list(groups["external"]) == ["test", "celeb"]
    assert (clone.path / "plots/external.png").exists()
    assert "| celeb | 2 | 2 | image |" in (clone.path / "report.md").read_text()


def test_a_path_that_is_not_there_is_refused_before_any_output_is_removed(clone):
    choose(clone, {"name": "celeb", "path": "celeb"}, {"name": "more", "path": "nowhere"})
    printed = clone.run("dvc", "repro", fails=True)
    assert "evaluate.external, more: no such directory or zip: nowhere" in printed
    assert "Traceback" not in printed
    assert clone.stages_run(printed) == []
    assert (clone.path / "data/external/celeb").is_dir()


def test_without_sets_the_report_has_no_such_section(clone):
    choose(clone)
    clone.run("dvc", "repro")
    assert not (clone.path / "plots/external.png").exists()
    assert "never trained on" not in (clone.path / "report.md").read_text()
