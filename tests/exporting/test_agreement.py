"""Formats of a detector: written, compared with Keras, and dropped where they are off."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepfake.common.errors import PipelineError
from deepfake.exporting import agreement, conversion, formats
from deepfake.exporting.formats import FORMATS, Format
from deepfake.params import ExportParams
from tests.exporting.test_explanation import probe
from tests.support.networks import SIZE, textures, write_shards

WRITTEN = ("openvino", "onnx", "tflite_float16", "tflite_int8")


def chosen(*names: str) -> ExportParams:
    return ExportParams.model_validate({"formats": list(names), "images": 6})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "valid"):
        write_shards(folder, textures(8, 80, 70), split)
    return folder


@pytest.fixture(scope="module")
def written(network: Any, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A detector in several formats: its folder, and the table."""
    from deepfake.exporting.export import write_network

    made = {"layers": ["block_1_project_BN"], "scales": [1.0, 0.5], "views": ["turned"]}
    classify, found = probe(network, [], pooling="covariance", **made)
    kernel = classify.get_layer("head").get_layer("logit").kernel
    kernel.assign(kernel * 0.05)
    folder = tmp_path_factory.mktemp("detector")
    write_network(found, folder, SIZE)
    table = agreement.write_formats(classify, found.network, chosen(*WRITTEN), images, folder)
    return folder, table.set_index("format")


@pytest.mark.slow
def test_every_format_agrees_with_keras_and_is_there(written: Any) -> None:
    folder, table = written
    assert list(table.index) == ["keras", *WRITTEN]
    for name in WRITTEN:
        assert table.loc[name, "written"], table.loc[name, "reason"]
        assert table.loc[name, "score_difference"] <= FORMATS[name].tolerance
        assert (folder / FORMATS[name].file).is_file()
    assert (table["bytes"].dropna() > 10_000).all()
    assert (table["images_per_second"] > 0).all()


@pytest.mark.slow
def test_the_file_of_the_table_holds_no_speed(written: Any) -> None:
    folder, table = written
    stored = pd.read_csv(folder / agreement.TABLE)
    assert list(stored["format"]) == list(table.index)
    assert "images_per_second" not in stored
    assert "sha256" not in agreement.shown(table.reset_index())


@pytest.mark.slow
def test_a_format_that_is_off_is_not_written(
    network: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfake.exporting.export import write_network

    classify, found = probe(network, [], layers=["block_1_project_BN"], views=["original"])
    write_network(found, tmp_path, SIZE)

    def convert(network: Any, name: str, path: Path, calibration: Any) -> None:
        path.write_bytes(b"not a network")

    monkeypatch.setattr(agreement, "convert", convert)
    real = agreement.runtimes.runtime

    def runtime(name: str, path: Path, size: int) -> Any:
        return (lambda square: 2.0) if name == "tflite" else real(name, path, size)

    monkeypatch.setattr(agreement.runtimes, "runtime", runtime)
    asked = chosen("openvino", "onnx", "tflite")
    table = agreement.write_formats(classify, found.network, asked, images, tmp_path)
    rows = table.set_index("format")
    assert rows["written"].to_dict() | {"keras": None} == {
        "keras": None, "openvino": True, "onnx": False, "tflite": False,
    }  # fmt: skip
    assert rows.loc["tflite", "reason"] == "a score differs by more than the tolerance"
    assert not (tmp_path / "detector.onnx").exists()
    assert not (tmp_path / "detector.tflite").exists()

    monkeypatch.setattr(agreement.runtimes, "runtime", lambda *_: lambda square: 2.0)
    with pytest.raises(PipelineError, match="OpenVINO's scores are not Keras's"):
        agreement.write_formats(classify, found.network, chosen("openvino"), images, tmp_path)


def test_images_are_spread_over_a_split(images: Path) -> None:
    found = [file.image_id for file in agreement.spread(images, "valid", 3)]
    assert found == ["0", "3", "7"]
    assert len(list(agreement.spread(images, "valid", 99))) == 8


def test_the_names_of_constants_do_not_depend_on_the_process(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    found = []
    for names in (["const_ends__73", "const_2__24"], ["const_axes__94", "fold__167"]):
        nodes = [
            helper.make_node("Add", ["pixels", names[0]], ["sum"]),
            helper.make_node("Mul", ["sum", names[1]], ["score"]),
        ]
        pixels, score = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
            for name in ("pixels", "score")
        )
        constants = [
            helper.make_tensor(name, TensorProto.FLOAT, [1], [names.index(name)])
            for name in sorted(names)
        ]
        graph = helper.make_graph(nodes, "g", [pixels], [score], constants)
        path = tmp_path / f"{names[0]}.onnx"
        save(helper.make_model(graph), path)
        conversion._name_constants(path)
        found.append(path.read_bytes())
    assert found[0] == found[1]
    assert b"constant_1" in found[0]


def test_missing_packages_are_named_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Format("x", 0.1, (("no_such_module", "such-package"),))
    monkeypatch.setitem(formats.FORMATS, "onnx", missing)
    formats.check(["openvino"])
    monkeypatch.setitem(formats.FORMATS, "tflite", missing)
    with pytest.raises(
        PipelineError, match=r"^export.formats: onnx, tflite: .*pip install such-package`"
    ):
        formats.check(["openvino", "onnx", "tflite"])


@pytest.mark.parametrize("names", [["onnx"], [], ["openvino", "openvino"], ["openvino", "coreml"]])
def test_formats_that_cannot_be_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="formats"):
        chosen(*names)


def test_scores_of_an_image_far_off_are_seen() -> None:
    labels = np.array([0, 1, 0])
    found = agreement._differences(labels, np.array([0.1, 0.9, 0.2]), np.array([0.1, 0.9, 0.95]))
    assert found["score_difference"] == pytest.approx(0.75)
    assert found["roc_auc_difference"] == pytest.approx(-0.5)
