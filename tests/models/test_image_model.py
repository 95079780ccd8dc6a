"""The image model: from uint8 pixels to P(fake)."""

import zipfile

import numpy as np
import pytest

from deepfake.common import labels
from deepfake.data.images import resized
from deepfake.models import (
    image_model,
    pooling,
    symmetries,
)
from tests.support.networks import SIZE, noise_images, textures

pytestmark = pytest.mark.slow


def test_score_is_a_float32_probability_for_images_of_any_size(scored):
    for height, width in ((SIZE, SIZE), (100, 70), (31, 200)):
        score = np.asarray(scored(noise_images(2, height, width)))
        assert score.shape == (2, 1)
        assert score.dtype == np.float32
        assert ((score > 0) & (score < 1)).all()


def test_score_is_the_same_for_an_image_and_its_mirror_image(scored):
    pixels = noise_images(3, SIZE, SIZE)
    np.testing.assert_allclose(
        np.asarray(scored(pixels)), np.asarray(scored(pixels[:, :, ::-1])), atol=1e-5
    )


def test_model_of_all_views_scores_an_image_the_same_however_it_is_turned(features, scored):
    head = scored.get_layer("classify").get_layer("head")
    whole = image_model.assemble(features, head, labels.VIEWS, SIZE)
    pixels = noise_images(2, SIZE, SIZE)
    scores = [np.asarray(whole(symmetries.seen(pixels, view))) for view in labels.VIEWS]
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], np.shape(scores)), atol=1e-5)


def test_score_does_not_depend_on_the_mode_the_model_is_called_in(scored):
    pixels = noise_images(3, 80, 80)
    plain = np.asarray(scored(pixels))
    for training_mode in (False, True):
        np.testing.assert_array_equal(np.asarray(scored(pixels, training=training_mode)), plain)
    np.testing.assert_allclose(scored.predict(pixels, verbose=0), plain, atol=1e-6)


def test_saved_model_is_the_same_bytes_and_needs_no_code_of_ours(scored, tmp_path):
    import keras

    for name in ("one.keras", "two.keras"):
        image_model.save(scored, tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        assert b"deepfake" not in archive.read("config.json")
    loaded = keras.models.load_model(tmp_path / "one.keras")
    pixels = noise_images(2, 90, 60)
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(scored(pixels)))


@pytest.mark.parametrize("size", [(40, 40), (64, 64), (90, 61), (57, 200), (300, 301)])
def test_resize_without_tensorflow_is_keras_s(size):
    (image_file,) = textures(1, *size)
    wanted = np.asarray(pooling.resized(image_file[None], SIZE))[0]
    np.testing.assert_allclose(resized(image_file, SIZE), wanted, atol=2e-3)
