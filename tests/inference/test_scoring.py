"""Scores by the saved model, and from embeddings."""

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.data import shards
from deepfake.inference import keras_engine, scoring
from tests.support.networks import SIZE, VIEWS, linear, noise_images, textures, write_shards

pytestmark = pytest.mark.slow


def test_scorer_gives_mixed_sizes_the_model_s_own_scores(scored):
    mixed = [*noise_images(2, 80, 80), *noise_images(1, 50, 90, seed=1)]
    alone = [float(scored(image_file[None])[0, 0]) for image_file in mixed]
    np.testing.assert_allclose(scoring.scorer(scored)(mixed), alone, atol=1e-5)


def test_the_score_is_the_sigmoid_of_the_logit(scored):
    mixed = noise_images(3, 80, 80)
    logits = scoring.scorer(scored, "logit")(mixed)
    np.testing.assert_allclose(scoring.scorer(scored)(mixed), 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_embeddings_of_other_images_are_refused(features, tmp_path):
    extract = keras_engine.extractor(features, image_size=SIZE, views=VIEWS, batch_size=2)
    write_shards(tmp_path / "images", textures(6, 70, 70))
    write_shards(tmp_path / "others", noise_images(6, 70, 70))
    found, other = (
        np.stack(list(extract(shards.image_files(tmp_path / name, "test"))))
        for name in ("images", "others")
    )
    apart = (other - found).mean(axis=(0, 1))
    head = linear(len(apart), 2 * apart[:, None] / (apart**2).sum())
    np.save(tmp_path / "test.npy", found)
    lines = ["image_id,label", *(f"{number},{number % 2}" for number in range(6))]
    (tmp_path / "test.csv").write_text("\n".join(lines))
    scoring.check_embeddings(tmp_path / "images", tmp_path, "test", extract, head)
    with pytest.raises(PipelineError, match=r"not those of .*others.*dvc repro -f embed"):
        scoring.check_embeddings(tmp_path / "others", tmp_path, "test", extract, head)
