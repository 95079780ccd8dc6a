"""The backbones of the registry, with random weights and small images."""

import typing

import keras
import numpy as np
import pytest

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.inference import openvino_export
from deepfake.models import image_model, pooling, registry, tensorflow_setup, transfer_model
from tests.support.networks import noise_images, textures

pytestmark = pytest.mark.slow

SIZE = 64
NAMES = list(registry.BACKBONES)
SHIPPED = params.load()


def chosen(name, **changes):
    return SHIPPED.backbone.model_copy(update={"name": name, "weights": "random", **changes})


@pytest.fixture(scope="module", params=NAMES)
def backbone(request):
    tensorflow_setup.start(seed=3, precision="float32")
    return request.param, registry.initial(chosen(request.param))[0]


def test_the_schema_allows_what_the_registry_has():
    field = params.BackboneParams.model_fields["name"]
    assert list(typing.get_args(field.annotation)) == NAMES


def test_blocks_are_there_in_order(backbone):
    name, network = backbone
    layers = [layer.name for layer in network.layers]
    starts = []
    for block in registry.BACKBONES[name].blocks:
        starts.append(next(i for i, x in enumerate(layers) if f"{x}_".startswith(f"{block}_")))
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts)
    assert network.name == registry.BACKBONES[name].model_name


def test_pixels_are_scaled_as_keras_does_it(backbone):
    name = backbone[0]
    # As Keras draws it: a standardised one enlarges rounding from layer to layer.
    network = registry.build(chosen(name), None)
    modules = {
        "MobileNetV2": keras.applications.mobilenet_v2,
        "ResNet50": keras.applications.resnet50,
    }
    pixels = noise_images(2, SIZE, SIZE).astype("float32")
    source = keras.Input((SIZE, SIZE, 3))
    scale = keras.Model(source, registry.preprocessed(source, network.name))
    if name in modules:
        wanted = modules[name].preprocess_input(pixels.copy())
        np.testing.assert_allclose(scale(pixels), wanted, atol=1e-4)
        return
    whole = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), include_preprocessing=True
    )
    whole.set_weights(network.get_weights())
    np.testing.assert_allclose(network(scale(pixels)), whole(pixels), rtol=1e-3, atol=1e-4)


def test_it_is_unfrozen_from_a_block_on_without_its_batch_norm(backbone):
    name, network = backbone
    block = registry.BACKBONES[name].blocks[-2]
    network.trainable = False
    registry.unfreeze(network, name, block)
    trained = {layer.name for layer in network.layers if layer.trainable_variables}
    assert any(x.startswith(block) for x in trained)
    assert not any(x.startswith(registry.BACKBONES[name].blocks[-3]) for x in trained)
    norms = (keras.layers.BatchNormalization,)
    assert not any(x.trainable_variables for x in network.layers if isinstance(x, norms))
    registry.unfreeze(network, name, "all")
    assert len({layer.name for layer in network.layers if layer.trainable_variables}) > len(trained)


def test_the_saved_transfer_model_loads_without_the_project_and_equals(backbone, tmp_path):
    _, network = backbone
    head = SHIPPED.train.transfer.model_copy(update={"input_size": SIZE, "batch_norm": True})
    model = image_model.of_any_size(transfer_model.build(network, head))
    for name in ("one.keras", "two.keras"):
        image_model.save(model, tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    loaded = keras.models.load_model(tmp_path / "one.keras")
    pixels = noise_images(2, 90, 70)
    scores = np.asarray(loaded(pixels))
    np.testing.assert_array_equal(scores, np.asarray(model(pixels)))
    assert scores.shape == (2, 1)
    assert scores.dtype == np.float32
    last = loaded.get_layer("classify").layers[-2:]
    assert [layer.name for layer in last] == ["logit", "score"]


def test_openvino_computes_the_same_features(backbone, tmp_path):
    _, network = backbone
    layers = [layer.name for layer in network.layers if len(layer.output.shape) == 4]
    features = pooling.features(network, [layers[len(layers) // 3]], ["mean", "std"], None)
    openvino_export.export(features, tmp_path / "features.xml")
    assert openvino_export.agreement(features, tmp_path / "features.xml", 1)["cosine"] > 0.9999


def test_imagenet_file_is_the_one_that_keras_asks_for(backbone, monkeypatch):
    asked = []

    def get_file(name, *_, **__):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    name, _ = backbone
    with pytest.raises(PipelineError, match="the weights are not available"):
        registry.initial(chosen(name, weights="imagenet"))
    assert asked == [registry.imagenet_file(chosen(name)).name]


def test_imagenet_s_weights_where_they_are_at_hand():
    if not registry.imagenet_file(chosen("MobileNetV2")).exists():
        pytest.skip("ImageNet's weights are not in Keras's cache")
    network, weights = registry.initial(chosen("MobileNetV2", weights="imagenet"))
    assert weights == "imagenet"
    source = keras.Input((96, 96, 3))
    model = keras.Model(source, network(registry.preprocessed(source, network.name)))
    assert np.asarray(model(textures(1, 96, 96).astype("float32"))).max() > 0.5


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_width_or_network_are_refused(tmp_path):
    registry.initial(chosen("MobileNetV2", alpha=0.35))[0].save_weights(tmp_path / "a.weights.h5")
    for other in (chosen("MobileNetV2", alpha=0.5), chosen("ResNet50")):
        with pytest.raises(PipelineError, match=r"a\.weights\.h5 does not hold weights of"):
            registry.load(tmp_path / "a.weights.h5", other)


def test_unknown_blocks_widths_and_layers_are_refused():
    with pytest.raises(PipelineError, match=r"unfreeze_from: received 'block_17'; .*block_16"):
        registry.check_block("MobileNetV2", "block_17")
    with pytest.raises(PipelineError, match=r"alpha: received 0\.5; ResNet50 has the width 1\.0"):
        registry.check_width(chosen("ResNet50", alpha=0.5))
    with pytest.raises(PipelineError, match=r"ResNet50 has no layer 'block_1'.*conv5_block3_out"):
        registry.check_layers(chosen("ResNet50"), ["conv1_relu", "block_1"])


@pytest.mark.parametrize("weights", ["auto", "imagenet"])
def test_a_damaged_file_of_imagenet_s_weights_is_named(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    file = registry.imagenet_file(chosen("MobileNetV2", alpha=0.35))
    file.parent.mkdir()
    file.write_bytes(b"half a file")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(file))
    with pytest.raises(PipelineError, match=rf"{file} cannot be read .*Delete it"):
        registry.initial(chosen("MobileNetV2", alpha=0.35, weights=weights))
