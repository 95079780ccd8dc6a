"""Altered versions of training images."""

from dataclasses import replace

import numpy as np
import pytest

from deepfake.common.errors import PipelineError
from deepfake.common.labels import SPLITS
from deepfake.data import embeddings, shards
from deepfake.data.images import decode, facts
from deepfake.inference import embed
from deepfake.inference.draws import altered, with_draws
from deepfake.params import DrawParams
from tests.support.making import image_file

NOTHING = DrawParams(draws=2, shrink=0.0, blur=0.0, jpeg=0.0)


def image(number=1, size=32):
    return shards.ImageFile(f"{number:016x}", 1, "train", "a.png", image_file(number, size))


def change(**probabilities):
    """How far each of 20 altered versions is from the image, in mean grey levels."""
    made, params = image(), NOTHING.model_copy(update=probabilities)
    before = decode(made.data).astype(float)
    return [
        np.abs(
            decode(altered(made.data, params, np.random.default_rng(seed))).astype(float) - before
        ).mean()
        for seed in range(20)
    ]


def test_each_image_is_followed_by_its_versions():
    made = [image(1), image(2)]
    found = list(with_draws(made, NOTHING, 7))
    assert [item.image_id for item in found] == [made[0].image_id] * 3 + [made[1].image_id] * 3
    assert found[0] is made[0]
    for item in found[1:3]:
        np.testing.assert_array_equal(decode(item.data), decode(made[0].data))


@pytest.mark.parametrize("name", ["shrink", "blur", "jpeg"])
def test_each_alteration_happens_with_its_probability(name):
    assert max(change()) == 0
    assert min(change(**{name: 1.0})) > 0.1
    assert 2 < sum(value > 0 for value in change(**{name: 0.5})) < 18


def test_compressed_versions_are_jpeg_of_the_stated_quality():
    params = NOTHING.model_copy(update={"jpeg": 1.0})
    for seed in range(10):
        found = facts(altered(image().data, params, np.random.default_rng(seed)))
        assert found.format == "JPEG"
        assert 50 <= found.jpeg_quality <= 95


def test_what_is_drawn_follows_from_seed_and_image_alone():
    params = DrawParams(draws=1, shrink=0.5, blur=0.5, jpeg=0.5)
    made = [image(number) for number in range(1, 9)]
    forth = {item.image_id: item.data for item in with_draws(made, params, 7)}
    back = {item.image_id: item.data for item in with_draws(made[::-1], params, 7)}
    other = {item.image_id: item.data for item in with_draws(made, params, 8)}
    assert forth == back
    assert forth != other


def folder(path):
    with shards.ShardWriter(path, 10) as writer:
        for split in SPLITS:
            for number in range(3):
                writer.write(replace(image(number + 1), split=split))
    return path


def extract(image_files):
    """Two features of each image in one view: its mean, and the number of its bytes."""
    for item in image_files:
        yield np.array([[decode(item.data).mean(), len(item.data)]], "f4")


def compute(images, target, draws, found=extract):
    target.mkdir()
    embed.compute(
        images,
        target,
        embed.here(images, found, seed=3),
        describe={"views": ["original"], "dimensions": 2},
        augment=draws,
        batch_size=2,
        work=target,
    )
    return {split: embeddings.Embeddings.open(target, split) for split in SPLITS}


def test_versions_are_further_rows_of_train_alone(tmp_path):
    images = folder(tmp_path / "images")
    plain = compute(images, tmp_path / "plain", NOTHING.model_copy(update={"draws": 0}))
    drawn = compute(images, tmp_path / "drawn", DrawParams(draws=2, shrink=1.0, blur=0.0, jpeg=0.0))
    assert drawn["train"].features.shape == (3, 3, 2)
    np.testing.assert_array_equal(drawn["train"].features[0:3][:, :1], plain["train"].features[0:3])
    assert (drawn["train"].features[0:3][:, 1] != plain["train"].features[0:3][:, 0]).any()
    for split in ("valid", "test"):
        np.testing.assert_array_equal(drawn[split].features[0:3], plain[split].features[0:3])
    assert drawn["train"].features.dtype == np.float16
    assert drawn["valid"].features.dtype == np.float32


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not finite"), (1e6, "float16 holds")])
def test_features_that_cannot_be_kept_are_refused(tmp_path, value, message):
    def broken(image_files):
        for row in extract(image_files):
            yield row * np.float32(value)

    with pytest.raises(PipelineError, match=message):
        compute(folder(tmp_path / "images"), tmp_path / "out", NOTHING, broken)
