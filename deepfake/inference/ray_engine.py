"""Compute embeddings on a Ray cluster: the bytes that this machine would compute, from others."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Self

import numpy as np

from deepfake.common.cluster import Cluster, Lost
from deepfake.common.environment import Hardware
from deepfake.common.errors import PipelineError
from deepfake.data import shards
from deepfake.inference import embed
from deepfake.inference.extraction import make_extractor
from deepfake.params import BackboneParams, DrawParams, EmbedParams, Params


@dataclass(frozen=True)
class Piece:
    """Consecutive images of a row group, which are computed together.

    Attributes:
        group: the row group.
        rows: of the images in it.
    """

    group: shards.RowGroup
    rows: slice

    def __str__(self) -> str:
        first, last = (self.group.start + row for row in (self.rows.start, self.rows.stop - 1))
        return f"images {first} to {last} of their split, in {self.group.path}"


@dataclass(frozen=True)
class Work:
    """What a node needs to know to compute features; hashable, so that a process keeps the network.

    Attributes:
        network: `BackboneParams` as JSON.
        embed: `EmbedParams` as JSON.
        seed: of what is drawn, and for TensorFlow's generators.
        threads: processors that compute an image each.
        engine: with the precision, in which every node must compute; None: in its own.
    """

    network: str
    embed: str
    seed: int
    threads: int
    engine: tuple[str, str] | None = None

    @classmethod
    def of(cls, params: Params) -> Self:
        network, chosen = params.backbone.model_dump_json(), params.embed.model_dump_json()
        return cls(network, chosen, params.seed, params.execution.ray.cpus_per_task)


def on_cluster(
    cluster: Cluster, work: Work, images: Path | str, batch_size: int
) -> tuple[Hardware, embed.Compute]:
    """What a cluster's nodes compute with, and what computes features there, as `embed.here` makes
    it for this machine.

    Args:
        cluster: its nodes read the shards themselves, under the same path as here.
        work: what is computed.
        images: the folder of shards.
        batch_size: images that a node is sent together, at most.
    """
    first = next(cluster.ordered(_hardware, [work], lambda _: "the backbone"))
    alike = replace(work, engine=(first.engine, first.precision))

    def computed(split: str, draws: DrawParams, start: int) -> Iterator[np.ndarray]:
        pieces = _pieces(shards.row_groups(images, split), start, batch_size)
        try:
            for features in cluster.ordered(partial(_features, alike, split, draws), pieces, str):
                yield from features
        except Lost as error:
            raise PipelineError(
                f"{error}. What came before is kept: the executor local goes on from there, names "
                "an image that cannot be read, and stops at the same place if an image is the "
                "reason"
            ) from None

    return first, computed


def _pieces(groups: list[shards.RowGroup], start: int, size: int) -> Iterator[Piece]:
    """The images from number `start` of the split on, at most `size` together."""
    for group in groups:
        for row in range(max(0, start - group.start), group.rows, size):
            yield Piece(group, slice(row, min(row + size, group.rows)))


def _features(work: Work, split: str, draws: DrawParams, piece: Piece) -> list[np.ndarray]:
    """Compute the features of each image of a piece, on a node."""
    _, extract = _loaded(work)
    image_files = iter(shards.read(piece.group)[piece.rows])
    return list(embed.stored(image_files, extract, split, draws, work.seed))


def _hardware(work: Work) -> Hardware:
    return _loaded(work)[0]


@lru_cache(maxsize=1)
def _loaded(work: Work) -> tuple[Hardware, embed.Extract]:
    """Load the network once in each process.

    Raises:
        PipelineError: this node would compute with another engine or in another precision.
    """
    network = BackboneParams.model_validate_json(work.network)
    chosen = EmbedParams.model_validate_json(work.embed)
    hardware, extract = make_extractor(network, chosen, seed=work.seed, threads=work.threads)
    found = (hardware.engine, hardware.precision)
    if work.engine not in (None, found):
        raise PipelineError(
            f"the nodes of the Ray cluster are unlike: one computes with {' in '.join(found)}, "
            f"another with {' in '.join(work.engine)}; name embed.engine and backbone.precision"
        )
    return hardware, extract
