"""OpenVINO computes what Keras does."""

import os
from importlib.metadata import PackageNotFoundError

import numpy as np
import openvino
import pytest
from openvino_telemetry.utils.opt_in_checker import ConsentCheckResult, OptInChecker

from deepfake.common.errors import PipelineError
from deepfake.data import shards
from deepfake.inference import extraction, keras_engine, openvino_engine, openvino_export
from deepfake.inference import network as network_module
from deepfake.inference.network import Network
from deepfake.models import (
    mobilenet_v2,
    pooling,
)
from tests.support.networks import LAYERS, SIZE, VIEWS, textures, write_shards

pytestmark = pytest.mark.slow


def of_any_size(network):
    """The features of a network for images of any size."""
    return pooling.features(network, LAYERS, ["mean", "std"], None)


@pytest.fixture(scope="module")
def converted(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "features.xml"
    openvino_export.export(of_any_size(network), path)
    return path


def test_conversion_gives_the_same_bytes(network, converted, tmp_path):
    openvino_export.export(of_any_size(network), tmp_path / "f.xml")
    for suffix in (".xml", ".bin"):
        again = (tmp_path / "f.xml").with_suffix(suffix).read_bytes()
        assert again == converted.with_suffix(suffix).read_bytes()


def test_the_converter_reports_nothing_to_its_makers(network, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # where a consent would be kept
    monkeypatch.delenv("CI", raising=False)
    asked = []
    convert = openvino.convert_model

    def noted(model):
        asked.append(OptInChecker().check(enable_opt_in_dialog=False, disable_in_ci=True))
        return convert(model)

    monkeypatch.setattr(openvino, "convert_model", noted)
    openvino_export.export(of_any_size(network), tmp_path / "f.xml")
    assert asked == [ConsentCheckResult.DECLINED]
    assert "CI" not in os.environ


@pytest.mark.parametrize(("threads", "bound"), [(1, False), (2, None)])
def test_a_process_with_a_share_of_the_machine_is_not_bound(converted, monkeypatch, threads, bound):
    """Several such processes would be bound to the same processors, one after the other."""
    given = []
    compile_model = openvino.Core.compile_model

    def noted(self, model, device, settings):
        given.append(settings)
        return compile_model(self, model, device, settings)

    monkeypatch.setattr(network_module, "cores", lambda: 2)
    monkeypatch.setattr(openvino.Core, "compile_model", noted)
    Network(converted, [SIZE], threads=threads)
    assert [settings.get("ENABLE_CPU_PINNING") for settings in given] == [bound]


@pytest.mark.parametrize("scales", [[1.0, 0.5], [0.5], [0.5, 1.0]])
def test_openvino_computes_keras_s_features(network, converted, tmp_path, scales):
    features = pooling.features(network, LAYERS, ["mean", "std"], SIZE, scales)
    decoded = [*textures(3, 90, 70), *textures(2, 50, 50, seed=1)]
    write_shards(tmp_path, decoded)
    found = np.stack(
        list(
            openvino_engine.extractor(
                Network(converted, [round(s * SIZE) for s in scales], image_size=SIZE),
                image_size=SIZE,
                views=VIEWS,
            )(shards.image_files(tmp_path, "test"))
        )
    )
    by_keras = keras_engine.extractor(features, image_size=SIZE, views=VIEWS, batch_size=2)
    wanted = np.stack(list(by_keras(shards.image_files(tmp_path, "test"))))
    assert found.shape == wanted.shape == (5, 2, features.output_shape[-1])
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * np.abs(wanted).max()


def test_conversion_of_the_whole_network(network, tmp_path):
    path = tmp_path / "features.xml"
    features = pooling.features(network, ["out_relu"], ["mean"], None)
    openvino_export.export(features, path)
    assert features.output_shape[-1] == 1280
    assert openvino_export.agreement(features, path, seed=1)["cosine"] > 0.99999


def test_features_of_another_network_are_refused(network, converted):
    other = mobilenet_v2.initial("random", 0.35)[0]
    features = pooling.features(other, LAYERS, ["mean", "std"], None)
    with pytest.raises(PipelineError, match="not Keras's"):
        openvino_export.agreement(features, converted, seed=1)
    same = pooling.features(network, LAYERS, ["mean", "std"], None)
    assert openvino_export.agreement(same, converted, seed=1)["cosine"] > 0.99999


def test_the_network_is_used_once_before_threads_share_it(converted, monkeypatch):
    # Two first calls side by side may wait for each other forever, one time in a hundred.
    used = []
    infer = Network._infer
    monkeypatch.setattr(Network, "_infer", lambda *given: used.append(given[3]) or infer(*given))
    Network(converted, [SIZE, 2 * SIZE])
    assert used == [SIZE, 2 * SIZE]


def test_any_architecture_of_keras_is_exported(tmp_path):
    import keras

    network = keras.applications.EfficientNetV2B0(
        weights=None, include_top=False, include_preprocessing=False
    )
    features = pooling.features(network, ["block4c_add", "top_activation"], ["mean", "std"], None)
    openvino_export.export(features, tmp_path / "features.xml")
    found = openvino_export.agreement(features, tmp_path / "features.xml", seed=1)
    assert found["cosine"] > 0.99999


def test_a_gpu_that_the_installed_tensorflow_does_not_know_is_no_gpu(monkeypatch):
    class Cuda:
        def cuInit(self, flags):
            return 0

        def cuDeviceGetCount(self, count):
            count._obj.value = 1
            return 0

    def no_package(name):
        raise PackageNotFoundError(name)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(extraction.ctypes, "CDLL", lambda name: Cuda())
    monkeypatch.setattr(extraction, "version", no_package)
    assert extraction.chosen_engine("auto", "auto") == "tensorflow"
    monkeypatch.setattr(extraction, "version", {"tensorflow-cpu": "2"}.__getitem__)
    assert extraction.chosen_engine("auto", "auto") == "openvino"
