"""`make inspect`: what it says beside the files."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from deepfake import params
from deepfake.models import registry
from tests.support.making import split_files, write
from tools import inspection

ROOT = Path(__file__).parents[2]


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras's cache, without weights."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.chdir(ROOT)
    return tmp_path / "keras"


def inspected(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["inspection", *arguments, str(path)])
        inspection.main()
    return capsys.readouterr().out


def test_missing_weights_are_told_with_the_command_that_gets_them(
    keras_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "source", split_files())
    printed = inspected(source, capsys)
    assert "it uses random weights, which find much less in photographs" in printed
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    assert f"curl --fail --create-dirs -o {keras_home}/models/{name} https://" in printed
    write(keras_home, {f"models/{name}": b"weights"})
    assert "ImageNet" not in inspected(source, capsys)


def test_no_weights_are_fetched_for_what_cannot_run(
    keras_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: data for name, data in split_files().items() if "valid" not in name}
    printed = inspected(write(tmp_path / "source", files), capsys)
    assert "no command yet" in printed
    assert "ImageNet" not in printed


def test_a_limit_of_the_inspection_is_not_one_of_the_run(
    keras_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = inspected(write(tmp_path / "source", split_files()), capsys, "--limit", "6")
    assert "LIMIT: at most 6 images of each class were looked at" in printed
    assert "a run uses as many as data.limit_per_class says (all)" in printed


def test_a_limit_below_one_is_refused(
    keras_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        inspected(write(tmp_path / "source", split_files()), capsys, "--limit", "0")
    assert "LIMIT: received 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("random", "add -S backbone.weights=auto"),
        ("imagenet", "where it cannot, it is refused"),
    ],
)
def test_other_weights(keras_home: Path, weights: str, says: str) -> None:
    backbone = params.load().backbone.model_copy(update={"weights": weights})
    assert says in inspection.weights_warnings(backbone)[0]


@pytest.mark.parametrize("name", registry.BACKBONES)
def test_the_address_is_where_keras_downloads_from(keras_home: Path, name: str) -> None:
    backbone = params.load().backbone.model_copy(update={"name": name, "alpha": 1.0})
    keras = find_spec("keras")  # read, because importing it takes seconds
    assert keras is not None
    applications = Path(str(keras.origin)).parent / "src/applications"
    folder, _, file = registry.imagenet_address(backbone).rpartition("/")
    (source,) = [
        text
        for path in applications.glob("*.py")
        if f'"{folder}/"' in (text := path.read_text(encoding="utf-8"))
    ]
    assert f"def {name}(" in source
    command = inspection.weights_warnings(backbone)[1]
    assert command == f"  curl --fail --create-dirs -o {keras_home}/models/{file} {folder}/{file}"
