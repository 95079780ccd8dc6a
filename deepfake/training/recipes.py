"""The recipes that train a whole network on images: `transfer` and `cnn`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.data.shards import MEGABYTE
from deepfake.models import (
    image_model,
    mobilenet_v2,
    pooling,
    registry,
    small_cnn,
    tensorflow_setup,
    transfer_model,
)
from deepfake.params import Params
from deepfake.training.augmentation import Augmentation
from deepfake.training.image_batches import ImageStore
from deepfake.training.image_training import Fit, fit
from deepfake.training.loop import Row, State, balanced

_SCHEDULED = {"patience", "schedule", "batch_size"}


def check(settings: Params, *, build: bool = True) -> None:
    """Refuse a recipe that names what is not there, or whose parts do not fit.

    Args:
        settings: all parameters.
        build: whether to look at the layers of a backbone that has to be built for it, which takes
            TensorFlow: any but MobileNetV2.

    Raises:
        PipelineError: naming key, value and what is allowed.
    """
    train, backbone = settings.train, settings.backbone
    small_cnn.check(train.cnn.layers, train.cnn.input_size)
    registry.check_width(backbone)
    if train.recipe == "transfer":
        registry.check_block(backbone.name, train.transfer.unfreeze_from)
    elif train.recipe == "probe" and backbone.name == "MobileNetV2":
        tuning = train.fine_tune
        mobilenet_v2.check_layers(settings.embed.layers, tuning.from_layer, tuned=tuning.epochs > 0)
        _check_positions(
            settings,
            lambda size: {
                name: mobilenet_v2.shape(name, backbone.alpha, size)
                for name in settings.embed.layers
            },
        )
    elif train.recipe == "probe":
        if train.fine_tune.epochs:
            raise PipelineError(
                f"train.fine_tune.epochs: received {train.fine_tune.epochs} with backbone.name "
                f"{backbone.name}; it must be 0 for all but MobileNetV2: use train.recipe: transfer"
            )
        if not build:
            return
        tensorflow_setup.start(seed=settings.seed, precision="float32")
        model = registry.check_layers(backbone, settings.embed.layers)
        _check_positions(settings, lambda size: registry.shapes(model, settings.embed.layers, size))


def _check_positions(settings: Params, shapes: Callable[[int], dict[str, tuple[int, int]]]) -> None:
    """Check the sizes that an image is shown in; `shapes`: positions and channels of the layers."""
    for scale in settings.embed.scales:
        size = round(scale * settings.backbone.image_size)
        pooling.check_positions(shapes(size), size, settings.embed.pooling)


def train_on_images(
    settings: Params, precision: str, work: Path, on_epoch: Callable[[Row], None]
) -> dict[str, State]:
    """Train by the recipe that the parameters name, and write the image model in float32.

    Half of `execution.cache_megabytes` holds decoded images of `train` in memory, and half those of
    `valid`.

    Args:
        precision: Keras's name of a policy.
        work: folder that a killed run left its checkpoints in, from which it is continued.
        on_epoch: called with each row of the history.

    Returns:
        How each phase ended, by its name in the history.

    Raises:
        PipelineError: training diverged.
    """
    limit = settings.execution.cache_megabytes * MEGABYTE // 2
    stores = [ImageStore(paths.IMAGES, split, limit) for split in ("train", "valid")]
    shared: dict[str, Any] = {
        "class_weight": balanced(stores[0].labels, settings.train.class_weight),
        "precision": precision,
        "seed": settings.seed,
        "work": work,
        "on_epoch": on_epoch,
    }
    recipe = {"transfer": _transfer, "cnn": _cnn}[settings.train.recipe]
    trained, saved, states = recipe(settings, precision, stores, shared)
    saved.set_weights(trained.get_weights())
    image_model.save(image_model.of_any_size(saved), paths.IMAGE_MODEL)
    return states


# Each recipe returns the network that was trained, the same network in float32 (which may be the
# very same one), and how its phases ended.
Trained = tuple[Any, Any, dict[str, State]]


def _cnn(
    settings: Params, precision: str, stores: list[ImageStore], shared: dict[str, Any]
) -> Trained:
    chosen = settings.train.cnn

    def new(precision: str) -> Any:
        return small_cnn.build(chosen.layers, chosen.input_size, chosen.scaling, precision)

    network = new(precision)
    how = Fit(
        phase="network",
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        **chosen.model_dump(include=_SCHEDULED),
    )
    state = fit(network, how, *stores, **shared)
    return network, network if precision == "float32" else new("float32"), {"network": state}


def _transfer(
    settings: Params, precision: str, stores: list[ImageStore], shared: dict[str, Any]
) -> Trained:
    chosen = settings.train.transfer

    def loaded(precision: str) -> Any:
        return registry.load(paths.BACKBONE_WEIGHTS, settings.backbone, precision)

    backbone = loaded(precision)
    network = transfer_model.build(backbone, chosen)
    how: dict[str, Any] = {
        "augment": Augmentation(**chosen.augment.model_dump()),
        **chosen.model_dump(include=_SCHEDULED),
    }
    backbone.trainable = False
    head = Fit("head", chosen.epochs, learning_rate=chosen.learning_rate, **how)
    first = fit(network, head, *stores, **shared)
    second = State([], [], first.best_roc_auc, 0)
    if chosen.unfreeze_epochs:
        registry.unfreeze(backbone, settings.backbone.name, chosen.unfreeze_from)
        rate = chosen.unfreeze_learning_rate
        tuned = Fit("fine_tune", chosen.unfreeze_epochs, learning_rate=rate, **how)
        second = fit(network, tuned, *stores, **shared, start_roc_auc=first.best_roc_auc)
    saved = network
    if precision != "float32":
        saved = transfer_model.build(loaded("float32"), chosen)
    return network, saved, {"head": first, "fine_tune": second}
