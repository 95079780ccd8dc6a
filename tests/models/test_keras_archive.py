"""`.keras` files without Keras."""

import re

import numpy as np
import pytest

from deepfake.evaluation import calibration
from deepfake.inference import scoring
from deepfake.models import (
    image_model,
    keras_archive,
    symmetries,
)
from tests.support.networks import (
    SIZE,
    VIEWS,
    drawn_head,
    textures,
)

pytestmark = pytest.mark.slow


def test_head_put_into_the_template_is_what_keras_saves(features, tmp_path):
    dimensions = features.output_shape[-1]
    head = drawn_head(dimensions, [])
    untrained = image_model.template(features, dimensions, VIEWS, SIZE)
    image_model.save(untrained, tmp_path / "template.keras")
    keras_archive.write_with_head(tmp_path / "template.keras", tmp_path / "ours.keras", head)
    by_keras = image_model.assemble(features, image_model.keras_head(head, 0.0), VIEWS, SIZE)
    image_model.save(by_keras, tmp_path / "theirs.keras")

    configs = [
        keras_archive.read(tmp_path / name)["config.json"].decode()
        for name in ("ours.keras", "theirs.keras")
    ]
    # Keras numbers the operations of a process one after the other.
    ours, theirs = (
        re.sub(r"((?:cast|resize|flip|add|true_divide))(_\d+)?\b", r"\1", c) for c in configs
    )
    assert ours == theirs
    assert keras_archive.parameters(tmp_path / "ours.keras") == by_keras.count_params()
    loaded = image_model.load(tmp_path / "ours.keras")
    for one, two in zip(loaded.get_weights(), by_keras.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    pixels = textures(3, SIZE, SIZE)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(by_keras(pixels)))


@pytest.mark.parametrize("hidden", [[], [7, 3]])
def test_a_temperature_in_the_file_divides_the_logit(features, tmp_path, hidden):
    head = drawn_head(features.output_shape[-1], hidden)
    model = image_model.assemble(features, image_model.keras_head(head, 0.0), VIEWS, SIZE)
    image_model.save(model, tmp_path / "image.keras")
    keras_archive.write_with_temperature(tmp_path / "image.keras", tmp_path / "warm.keras", 2.5)
    pixels = list(textures(4, SIZE, SIZE))
    before = scoring.scorer(model, "logit")(pixels)
    after = scoring.scorer(image_model.load(tmp_path / "warm.keras"))(pixels)
    assert np.abs(before).min() > 0.1
    np.testing.assert_allclose(after, calibration.calibrated(before, 2.5), atol=1e-6)


def test_a_temperature_gives_the_same_bytes_and_1_those_of_the_model(scored, tmp_path):
    image_model.save(scored, tmp_path / "image.keras")
    for name, temperature in (("one", 1.0), ("a", 0.7), ("b", 0.7)):
        keras_archive.write_with_temperature(tmp_path / "image.keras", tmp_path / name, temperature)
    one, a, b = ((tmp_path / name).read_bytes() for name in ("one", "a", "b"))
    assert one == (tmp_path / "image.keras").read_bytes()
    assert a == b != one


def test_a_model_without_a_logit_takes_no_temperature(features, tmp_path):
    image_model.save(features, tmp_path / "features.keras")
    with pytest.raises(ValueError, match="no dense layer 'logit'"):
        keras_archive.write_with_temperature(tmp_path / "features.keras", tmp_path / "a.keras", 2)


@pytest.mark.parametrize("hidden", [[], [7], [12, 5, 3]])
def test_head_read_from_the_file_scores_as_the_model_does(features, tmp_path, hidden):
    head = drawn_head(features.output_shape[-1], hidden)
    by_keras = image_model.assemble(features, image_model.keras_head(head, 0.25), VIEWS, SIZE)
    image_model.save(by_keras, tmp_path / "image.keras")
    read = keras_archive.read_head(tmp_path / "image.keras")
    for one, two in zip(read.weights, head.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    loaded = image_model.load(tmp_path / "image.keras")
    pixels = textures(3, SIZE, SIZE)
    turned = [
        [symmetries.shown(image_file, view) for view in VIEWS] for image_file in pixels.astype("f")
    ]
    embedded = np.stack([np.asarray(features(np.stack(image_file))) for image_file in turned])
    np.testing.assert_allclose(
        read.scores(embedded), scoring.scorer(loaded)(list(pixels)), atol=1e-5
    )
