"""How a stage starts, and under which key it keeps unfinished work."""

from pathlib import Path

import pytest
import yaml

from deepfake.common.environment import require_versions
from deepfake.common.errors import PipelineError
from stages import running

FILES = {
    "dvc.yaml": """
stages:
  embed:
    deps: [data/images, data/backbone, deepfake/models, stages/embed.py]
    params: [embed, versions.yaml: [numpy]]
""",
    "params.yaml": "embed: {views: [original]}\ntrain: {epochs: 3}\n",
    "versions.yaml": 'numpy: "1"\nkeras: "1"\n',
    "data/images/train.parquet": "pixels",
    "data/backbone/weights.h5": "weights",
    "deepfake/models/head.py": "code",
    "deepfake/training/loop.py": "code",
    "stages/embed.py": "code",
}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one stage."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("data/images/train.parquet", True),
        ("data/backbone/weights.h5", True),
        ("deepfake/models/head.py", True),
        ("stages/embed.py", True),
        ("deepfake/training/loop.py", False),
    ],
)
def test_the_key_follows_the_dependencies_of_the_stage(path: str, changes: bool) -> None:
    before = running.resume_key("embed")
    Path(path).write_text("other")
    assert (running.resume_key("embed") != before) is changes


@pytest.mark.parametrize(
    ("path", "text", "changes"),
    [
        ("params.yaml", "embed: {views: [mirrored]}\ntrain: {epochs: 3}\n", True),
        ("params.yaml", "embed: {views: [original]}\ntrain: {epochs: 4}\n", False),
        ("versions.yaml", 'numpy: "2"\nkeras: "1"\n', True),
        ("versions.yaml", 'numpy: "1"\nkeras: "2"\n', False),
    ],
)
def test_the_key_follows_the_parameters_and_versions_of_the_stage(
    path: str, text: str, changes: bool
) -> None:
    before = running.resume_key("embed")
    Path(path).write_text(text)
    assert (running.resume_key("embed") != before) is changes


def test_what_the_work_does_not_read_is_left_out() -> None:
    before = running.resume_key("embed", without=["data/images"])
    Path("data/images/train.parquet").write_text("other")
    assert running.resume_key("embed", without=["data/images"]) == before


def test_under_dvc_its_own_checksums_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    outs = [{"path": "data/images", "md5": "aa.dir"}]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest": {"outs": outs}}}))
    monkeypatch.setenv("DVC_STAGE", "embed")
    before = running.resume_key("embed")
    Path("data/images/train.parquet").write_text("not read, as DVC knows its checksum")
    assert running.resume_key("embed") == before
    outs[0]["md5"] = "bb.dir"
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest": {"outs": outs}}}))
    assert running.resume_key("embed") != before


def test_installed_versions_that_differ_are_named() -> None:
    import numpy
    import yaml

    require_versions({"numpy": numpy.__version__})
    with pytest.raises(PipelineError) as caught:
        require_versions({"numpy": "0.1", "pyyaml": yaml.__version__, "no-such-package": "1"})
    message = str(caught.value)
    assert f"numpy {numpy.__version__}, expected 0.1" in message
    assert "no-such-package is missing, expected 1" in message
    assert "pyyaml" not in message
    assert "make install" in message
