"""dvc.yaml against the code: every module that a stage imports is among its dependencies."""

import ast
from pathlib import Path

import pytest
import yaml

from deepfake import params

ROOT = Path(__file__).parent.parent.parent
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())


def module_file(name: str) -> Path | None:
    """The file of a module of this project, or None."""
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate.relative_to(ROOT)
    return None


def imported(path: Path) -> set[Path]:
    """The project's files that a file imports anywhere in it, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parents = [".".join(name.split(".")[: n + 1]) for n in range(name.count(".") + 1)]
            found |= {file for parent in parents if (file := module_file(parent))}
    return found


def closure(path: Path) -> set[Path]:
    """All of the project's files that running a file may load, itself among them."""
    seen, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imported(current)
    return seen


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_dependencies_name_every_module(stage):
    listed = {dep for dep in PIPELINE["stages"][stage]["deps"] if dep.endswith(".py")}
    assert listed == {path.as_posix() for path in closure(Path(f"stages/{stage}.py"))}


def test_imports_inside_functions_count():
    assert Path("deepfake/backbone.py") in imported(Path("deepfake/model.py"))


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_parameters_exist(stage):
    values = params.load(ROOT / "params.yaml").model_dump()
    for key in PIPELINE["stages"][stage].get("params", []):
        value = values
        for part in key.split("."):
            assert part in value, key
            value = value[part]
        if stage != "compare":
            assert not isinstance(value, dict), f"{key} is a section: list its keys one by one"


def test_compare_depends_on_every_parameter():
    sections = params.load(ROOT / "params.yaml").model_dump()
    assert set(PIPELINE["stages"]["compare"]["params"]) == set(sections) - {"tracking"}


def test_layers_point_one_way():
    for path in (ROOT / "deepfake").rglob("*.py"):
        assert not any(file.parts[0] == "stages" for file in imported(path)), path


def test_only_one_module_imports_mlflow():
    users = [
        path.name
        for path in [*(ROOT / "deepfake").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
        if "import mlflow" in path.read_text() or "from mlflow" in path.read_text()
    ]
    assert users == ["tracking.py"]
