"""Keras's `.keras` files without Keras: canonical bytes, and weights read and written.

A `.keras` file is a zip of `config.json`, `metadata.json` and `model.weights.h5`. In the last, the
weights of a layer are in a group that has the layer's own name as an attribute.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deepfake.common.files import reading, replacing
from deepfake.models.head import Head

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read(path: Path | str) -> dict[str, bytes]:
    """Read the members of a `.keras` file, by name.

    Raises:
        PipelineError: it is damaged; the zip has a checksum of each member.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist())}


def write(path: Path | str, members: Mapping[str, bytes]) -> None:
    """Write a `.keras` file so that the same model gives the same bytes.

    The time of saving becomes a constant. Objects, whose ids are memory addresses when Keras saves
    them, are numbered in order of appearance.
    """
    metadata = json.loads(members[_METADATA])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members = {
        **members,
        _METADATA: json.dumps(metadata, sort_keys=True).encode(),
        _CONFIG: _numbered(members[_CONFIG].decode()).encode(),
    }
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), members[name])


def _numbered(config: str) -> str:
    """`config` with its `shared_object_id`s numbered from 1."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f'"shared_object_id": {numbers.setdefault(match[1], len(numbers) + 1)}'

    return re.sub(r'"shared_object_id": (\d+)', number, config)


def parameters(path: Path | str) -> int:
    """Count the numbers that make up a model's weights."""
    count = 0

    def add(name: str, item: Any) -> None:
        nonlocal count
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            count += int(item.size)

    with h5py.File(io.BytesIO(read(path)[_WEIGHTS])) as file:
        file.visititems(add)
    return count


def read_head(path: Path | str) -> Head:
    """Read the head of the image model in a `.keras` file."""
    with h5py.File(io.BytesIO(read(path)[_WEIGHTS])) as file:
        layers = _layers_of_head(file)
        names = sorted((name for name in layers if name.startswith("hidden_")), key=_number)
        dense = [layers[name] for name in [*names, "logit"]]
        mean, variance = (np.asarray(layers["standardise"][i], "float32") for i in "01")
        kernels = [np.asarray(group["0"], "float32") for group in dense]
        biases = [np.asarray(group["1"], "float32") for group in dense]
    return Head(mean, variance, kernels, biases)


def write_with_head(template: Path | str, path: Path | str, head: Head) -> None:
    """Write the image model in `template` to `path`, with the weights of `head`.

    Both heads must have no hidden layer and the same number of features.
    """
    members = read(template)
    buffer = io.BytesIO(members[_WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        layers = _layers_of_head(file)
        _fill(layers["standardise"], [head.mean, head.variance])
        _fill(layers["logit"], head.weights)
    write(path, {**members, _WEIGHTS: buffer.getvalue()})


def write_with_temperature(source: Path | str, path: Path | str, temperature: float) -> None:
    """Write the model in `source` to `path`, with a temperature before the sigmoid.

    Kernel and bias of the layer `logit` are divided by the temperature. That divides the logit, and
    its mean over views, as a layer before the sigmoid would (Guo et al. 2017, arXiv 1706.04599).

    Args:
        source: a model whose last dense layer is called `logit` and has one unit.
        path: of the new file.
        temperature: above 0.

    Raises:
        ValueError: the model has no such layer.
    """
    members = read(source)
    buffer = io.BytesIO(members[_WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        layer = _layers_of_head(file).get("logit")
        if layer is None or layer["0"].shape[-1] != 1:
            raise ValueError(f"{source} has no dense layer 'logit' with one unit")
        _fill(layer, [np.asarray(layer[name]) / np.float32(temperature) for name in "01"])
    write(path, {**members, _WEIGHTS: buffer.getvalue()})


def _fill(group: Any, arrays: Sequence[np.ndarray]) -> None:
    """Overwrite the first weights of a layer."""
    for index, array in enumerate(arrays):
        group[str(index)][...] = array


def _layers_of_head(file: Any) -> dict[str, Any]:
    """The groups with the weights of the head's layers, by the layers' own names."""
    found: dict[str, Any] = {}

    def visit(_: str, item: Any) -> None:
        name = str(item.attrs.get("name", ""))
        if name in ("standardise", "logit") or name.startswith("hidden_"):
            found[name] = item

    file.visititems(visit)
    return found


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])
