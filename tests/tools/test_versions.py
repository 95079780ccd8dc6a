"""versions.yaml, requirements.txt and the installed packages say the same."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from deepfake.common.environment import installed_version
from tools import versions

ROOT = Path(__file__).parents[2]
REQUIREMENTS = (ROOT / versions.REQUIREMENTS).read_text(encoding="utf-8")
LISTED = yaml.safe_load((ROOT / versions.VERSIONS).read_text(encoding="utf-8"))


def test_versions_yaml_is_what_make_lock_writes():
    committed = (ROOT / versions.VERSIONS).read_text(encoding="utf-8")
    assert committed == versions.as_yaml(REQUIREMENTS)


def test_versions_are_text_under_sorted_names():
    assert list(LISTED) == sorted(versions.COMPUTING)
    assert all(isinstance(version, str) for version in LISTED.values())


@pytest.mark.parametrize("name", versions.COMPUTING)
def test_the_listed_version_is_installed(name):
    assert installed_version(name) == LISTED[name]


@pytest.mark.parametrize("file", sorted(path.name for path in ROOT.glob("requirements*.txt")))
def test_each_package_has_one_version_for_every_python(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "python_full_version" not in text
    assert "python_version" not in text
    assert versions.pins(text)


def test_requirements_files_agree():
    pinned = versions.pins(REQUIREMENTS)
    for file in ROOT.glob("requirements*.txt"):
        for name, version in versions.pins(file.read_text(encoding="utf-8")).items():
            assert pinned.get(name, version) == version, f"{name} in {file.name}"


def test_the_shared_server_has_the_versions_that_are_tested():
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    named = dict(re.findall(r"(mlflow|psycopg|boto3)(?:\[binary\])?==([\d.]+)", text))
    assert len(named) == 3
    locked = REQUIREMENTS + (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    for name, version in named.items():
        assert f"\n{name}=={version}\n" in locked


def test_two_versions_of_a_package_are_refused():
    forked = 'numpy==2.4.6 ; python_full_version < "3.12"\n    # via scipy\nnumpy==2.5.5\n'
    with pytest.raises(ValueError, match=r"numpy has two versions, 2\.4\.6 and 2\.5\.5"):
        versions.as_yaml(forked)


def test_a_missing_package_is_named():
    without = REQUIREMENTS.replace("\nopenvino==", "\nsomething-else==")
    with pytest.raises(ValueError, match="no version of openvino"):
        versions.as_yaml(without)


def test_two_versions_of_tensorflow_are_refused():
    other = REQUIREMENTS.replace("\ntensorflow-cpu==2.21.0", "\ntensorflow-cpu==2.22.0")
    with pytest.raises(ValueError, match=r"tensorflow-cpu 2\.22\.0 is not tensorflow 2\.21\.0"):
        versions.as_yaml(other)


@pytest.mark.parametrize(
    ("system", "machine", "file", "expected"),
    [
        ("linux", "x86_64", "requirements.txt", "tensorflow-cpu"),
        ("linux", "aarch64", "requirements.txt", "tensorflow"),
        ("darwin", "arm64", "requirements.txt", "tensorflow"),
        ("win32", "AMD64", "requirements.txt", "tensorflow"),
        ("linux", "x86_64", "requirements-gpu.txt", "tensorflow"),
    ],
)
def test_an_environment_has_one_distribution_of_tensorflow(system, machine, file, expected):
    platform = {"sys_platform": system, "platform_machine": machine}
    lines = [Requirement(line) for line in (ROOT / file).read_text().splitlines() if "==" in line]
    installed = [
        line.name
        for line in lines
        if line.name.startswith("tensorflow")
        and (not line.marker or line.marker.evaluate(platform))
    ]
    assert installed == [expected]
