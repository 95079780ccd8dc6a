"""dvc.yaml against the code: what a stage imports is among its dependencies, and nothing else."""

import ast
from pathlib import Path

import pytest
import yaml

from deepfake import params

ROOT = Path(__file__).parent.parent.parent
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
# `check` computes nothing: what it writes is constant, so it depends on parameters alone.
COMPUTING = [name for name in PIPELINE["stages"] if name != "check"]
VERSIONS = yaml.safe_load((ROOT / "versions.yaml").read_text())
# Code that cannot change an output.
EXEMPT = (
    "deepfake/tracking/",
    "deepfake/params/",
    "stages/__init__.py",
    "stages/inputs.py",
    "stages/running.py",
)
# What a package computes with, though the project does not import it itself.
USES = {"keras": {"tensorflow"}, "scikit-learn": {"scipy"}}
# The name under which each package of versions.yaml is imported, where that is another.
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}


def module_file(name: str) -> Path | None:
    """The file of a module of this project, or None."""
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate.relative_to(ROOT)
    return None


def imported_names(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imported(path: Path) -> set[Path]:
    """The project's files that a file imports."""
    found = set()
    for name in imported_names(path):
        parents = [".".join(name.split(".")[: n + 1]) for n in range(name.count(".") + 1)]
        found |= {file for parent in parents if (file := module_file(parent))}
    return found


def ignored() -> set[str]:
    """The files that .dvcignore names, so that no stage depends on them."""
    lines = (ROOT / ".dvcignore").read_text().splitlines()
    return {line.removeprefix("/") for line in lines if line.endswith(".py")}


def closure(path: Path) -> set[Path]:
    """The project's files that running a file may load and that may change an output."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        text = current.as_posix()
        if current not in seen and not text.startswith(EXEMPT) and text not in ignored():
            seen.add(current)
            waiting += imported(current)
    return {file for file in seen if (ROOT / file).read_text().strip()}


def code(stage: str) -> list[str]:
    """The code among the dependencies of a stage."""
    found = PIPELINE["stages"][stage]["deps"]
    return [path for path in found if path.startswith(("deepfake/", "stages/"))]


def covers(listed: str, file: Path) -> bool:
    return file.as_posix() == listed or file.as_posix().startswith(f"{listed}/")


@pytest.mark.parametrize("stage", COMPUTING)
def test_every_import_lies_within_the_dependencies(stage: str) -> None:
    for file in closure(Path(f"stages/{stage}.py")):
        assert any(covers(listed, file) for listed in code(stage)), file


@pytest.mark.parametrize("stage", COMPUTING)
def test_every_dependency_holds_a_file_that_is_imported(stage: str) -> None:
    files = closure(Path(f"stages/{stage}.py"))
    for listed in code(stage):
        assert any(covers(listed, file) for file in files), listed


@pytest.mark.parametrize("stage", COMPUTING)
def test_the_packages_that_compute_are_dependencies(stage: str) -> None:
    listed = {
        name
        for item in PIPELINE["stages"][stage]["params"]
        if isinstance(item, dict)
        for name in item["versions.yaml"]
    }
    top = {
        name.partition(".")[0]
        for file in closure(Path(f"stages/{stage}.py"))
        for name in imported_names(file)
    }
    used = {name for name in VERSIONS if IMPORTED_AS.get(name, name) in top}
    assert listed == used | {name for user in used for name in USES.get(user, ())}


def test_exempt_code_is_there_and_is_no_dependency() -> None:
    for path in (*EXEMPT, *ignored()):
        assert (ROOT / path).exists(), path
    listed = {path for stage in COMPUTING for path in code(stage)}
    assert not any(path.startswith(EXEMPT) for path in listed)


def test_imports_inside_functions_count() -> None:
    assert "keras" in imported_names(Path("deepfake/models/pooling.py"))
    used = imported(Path("deepfake/sources/__init__.py"))
    assert Path("deepfake/sources/kaggle.py") in used


@pytest.mark.parametrize("stage", COMPUTING)
def test_parameters_are_whole_sections_that_exist(stage: str) -> None:
    sections = params.load(ROOT / "params.yaml").model_dump()
    for item in PIPELINE["stages"][stage].get("params", []):
        if isinstance(item, str):
            # What is scored does not depend on the threshold; the recipe decides what is written.
            assert item in sections or item in ("evaluate.external", "train.recipe")
            assert item not in ("execution", "tracking")


def test_compare_depends_on_every_parameter_that_results_depend_on() -> None:
    sections = params.load(ROOT / "params.yaml").model_dump()
    listed = [item for item in PIPELINE["stages"]["compare"]["params"] if isinstance(item, str)]
    assert set(listed) == set(sections) - {"execution", "export", "tracking"}


def test_check_runs_before_every_stage_that_no_other_stage_feeds() -> None:
    described = PIPELINE["stages"]["check"]
    assert described["deps"] == ["params.yaml", "versions.yaml"]
    assert described["outs"] == [{"data/checked.txt": {"persist": True}}]
    for stage in COMPUTING:
        inputs = [path for path in PIPELINE["stages"][stage]["deps"] if path.startswith("data/")]
        assert inputs, stage


def test_only_compare_has_outputs_that_switch_the_run_cache_off() -> None:
    """DVC saves no run of a stage with an uncached output that is neither metric nor plot."""
    uncached = {
        stage
        for stage, described in PIPELINE["stages"].items()
        for out in described["outs"]
        if isinstance(out, dict) and not next(iter(out.values())).get("cache", True)
    }
    assert uncached == {"compare"}


def test_it_stays_a_table_of_contents() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 280
