"""The commands of README and docs/, and their Python, as printed and in order, in one clone.

The clone is small, and its folder holds what the pages take as given: photographs in `faces.zip`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from deepfake.data import shards
from tests.support.making import image_file, zipped

from .conftest import ROOT

pytestmark = pytest.mark.slow

PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
# Commands that are not run here, by how they begin, and why.
SKIPPED = {
    "make test": "runs this test",
    "make bench": "hours",
    "make engines": "hours",
    "make scale": "hours",
    "make on-ray": "hours; tests/pipeline/test_ray.py compares the bytes",
    "make verify": "hours; test_verify.py runs it on a small clone",
    "make sweep": "minutes; test_verify.py runs one",
    "make recipes": "hours; tests/tools/test_recipes.py has a stand-in for DVC",
    "dvc exp run --temp -n tuned": "minutes; test_pipeline.py tunes a small network",
    "dvc exp run --temp -n resnet": "a shrunk clone has another width than ResNet50",
    "dvc exp run --temp -n two": "minutes; tests/sources/test_several.py reads two sources",
    "dvc exp run --temp -n small": "50 epochs; test_image_training.py trains a small one",
    "dvc exp run --temp -n formats": "minutes; test_agreement.py writes each format",
    "make robustness": "minutes; tests/tools/test_robustness.py",
    "dvc exp run --temp -n youden": "as the rule of docs/decision.md that is run",
    "dvc exp run --temp -n f1": "as the rule of docs/decision.md that is run",
    "dvc exp run -n both": "tests/sources/test_several.py reads two sources",
    "make serve": "runs until Ctrl+C; tests/serving/test_serve.py runs it",
    "make deletion": "minutes, on photographs",
    "make app": "runs until Ctrl+C; tests/serving/test_page.py runs it",
    "make ui": "runs until Ctrl+C; tests/tools/test_ui.py runs it",
    "deepfake ": "is there after `pip install .`; tests/serving/test_use_page.py runs these",
    "make repro REQUIREMENTS=": "installs packages for a GPU",
    "dvc exp run -n faces140k": "needs a Kaggle account; test_kaggle_ingest.py has a server",
    "dvc exp run -n forensics": "needs a Kaggle account; test_kaggle_ingest.py has a server",
}

BLOCK = r"(?<!-->\n)^```(?P<kind>console|python)\n(?P<text>.*?)^```"


def commands(page: str) -> list[str]:
    """The commands in a page, but for blocks under a comment that says why they are not run.

    In a console block a command begins with `$ `, and a backslash at a line's end continues it.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for block in re.finditer(BLOCK, text, re.S | re.M):
        if block["kind"] == "python":
            found.append(f"python -c {shlex.quote(block['text'])}")
        else:
            joined = block["text"].replace("\\\n", " ")
            found += [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    return found


def skipped(command: str) -> bool:
    return any(command.startswith(beginning) for beginning in SKIPPED)


@pytest.fixture(scope="module")
def ready(computed_clone):
    clone = computed_clone
    clone.run("git", "branch", "-M", "main")
    environment = clone.path / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("installed-"):
            (environment / path.name).symlink_to(path)
    (environment / "installed-requirements.txt").touch()
    for path in clone.path.glob("requirements*"):
        os.utime(path, (0, 0))  # older than the environment, so that make installs nothing
    clone.run("git", "update-index", "--refresh")  # or a checkout would write them again
    with zipfile.ZipFile(clone.path / "faces.zip", "w") as archive:
        for split in ("train", "valid", "test"):
            for item in shards.image_files(clone.path / "data/images", split):
                name = "fake" if item.label else "real"
                archive.writestr(f"{name}/{split}-{item.image_id}.jpg", item.data)
    for name in ("140k-mini.zip", "hard-fakes.zip"):
        shutil.copy(clone.path / "faces.zip", clone.path / name)
    others = {f"{kind}/{n}.png" for kind in ("real", "fake") for n in range(9)}
    zipped(clone.path / "celeb.zip", {at: image_file(n) for n, at in enumerate(sorted(others))})
    shutil.copy(next(clone.path.glob("docs/*.jpg")), clone.path / "face.jpg")
    return clone


def test_every_skipped_command_is_in_a_page():
    printed = [command for page in PAGES for command in commands(page)]
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for beginning in SKIPPED:
        assert any(command.startswith(beginning) for command in printed) or beginning in text


def pages():
    """Those whose commands run stages are `exhaustive`, but for the README."""
    for page in PAGES:
        long = any(
            command.startswith(("dvc exp run", "dvc repro")) and not skipped(command)
            for command in commands(page)
        )
        marks = [pytest.mark.exhaustive] if long and page != PAGES[0] else []
        yield pytest.param(page, marks=marks, id=page)


@pytest.mark.parametrize("page", pages())
def test_commands_run_as_printed(ready, page, imagenet_weights):
    if page != PAGES[0]:  # another page is begun with nothing left uncommitted
        ready.run("git", "checkout", "-q", ".")
        ready.run("dvc", "checkout")
    for command in commands(page):
        if skipped(command):
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ready.path,
            env=ready.environment(KERAS_HOME=imagenet_weights),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"


def test_an_experiment_of_the_readme_does_not_contain_the_one_before_it(ready):
    values = yaml.safe_load(ready.at("decay", "params.yaml"))["train"]
    assert values["weight_decay"] == 0.1
    assert values["hidden"] == []  # `wide` changed it
