"""A small network for training, with random weights, and a head for its features."""

import numpy as np

from deepfake.models import image_model, mobilenet_v2, pooling
from deepfake.models.head import Head
from deepfake.training import frozen_prefix

SIZE = 64
LAYERS = ["block_1_expand_relu", "block_4_expand_relu", "block_5_project"]
STATISTICS, SCALES = ["mean", "std"], [1.0, 0.5]


def new_features(precision="float32"):
    """Always the same random weights."""
    import keras

    keras.utils.set_random_seed(3)
    network = mobilenet_v2.mobilenet(0.35, None, precision)
    rng = np.random.default_rng(7)
    for item in network.layers:
        if isinstance(item, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = item.get_weights()
            drawn = rng.normal(size=(2, len(mean))) * 0.1
            item.set_weights([gamma * 1.5, beta + drawn[0], mean + drawn[1], variance * 0.5])
    return pooling.features(network, LAYERS, STATISTICS, SIZE, SCALES)


def new_head(features):
    dimensions = features.output_shape[-1]
    head = image_model.keras_head(Head.untrained(dimensions), 0.0)
    weights = np.random.default_rng(0).normal(size=(dimensions, 1)) * 0.1
    head.get_layer("logit").set_weights([weights, np.array([0.1])])
    return head


def split_network(features, from_layer):
    return frozen_prefix.split(
        features, from_layer, statistics=STATISTICS, image_size=SIZE, scales=SCALES
    )
