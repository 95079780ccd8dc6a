"""Keras's `.keras` files without Keras: written so that the same model gives the same bytes, and
the head of an image model read from one and put into another.

A `.keras` file is a zip of `config.json`, `metadata.json` and `model.weights.h5`. In the last, a
layer's weights are under its class's name and a counter (`dense`, `dense_1`), with the layer's own
name as an attribute.
"""

import copy
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deepfake.common.files import replacing
from deepfake.models.head import Array, Head

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read(path: Path | str) -> dict[str, bytes]:
    """The members of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist())}


def write(path: Path | str, members: Mapping[str, bytes]) -> None:
    """Write a `.keras` file with a constant time of saving, and its objects, which Keras gives
    their memory addresses as ids, numbered in order of appearance."""
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
    """`config` with its `shared_object_id`s, which are addresses, numbered from 1."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f'"shared_object_id": {numbers.setdefault(match[1], len(numbers) + 1)}'

    return re.sub(r'"shared_object_id": (\d+)', number, config)


def parameters(path: Path | str) -> int:
    """How many numbers a model's weights are."""
    count = 0

    def add(name: str, item: Any) -> None:
        nonlocal count
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            count += int(item.size)

    with h5py.File(io.BytesIO(read(path)[_WEIGHTS])) as file:
        file.visititems(add)
    return count


def head(path: Path | str) -> Head:
    """The head of the image model in a `.keras` file."""
    members = read(path)
    layers = {layer["name"]: layer for layer in _head_of(json.loads(members[_CONFIG]))["layers"]}
    with h5py.File(io.BytesIO(members[_WEIGHTS])) as file:
        named = _weights_of(file)
        names = sorted((name for name in named if name.startswith("hidden_")), key=_number)
        groups = [named[name] for name in [*names, "logit"]]
        kernels = [np.asarray(group["vars/0"], "float32") for group in groups]
        biases = [np.asarray(group["vars/1"], "float32") for group in groups]
    moments = layers["standardise"]["config"]
    mean, variance = (np.array(moments[key], "float32") for key in ("mean", "variance"))
    return Head(mean.reshape(-1), variance.reshape(-1), kernels, biases)


def with_head(template: Path | str, path: Path | str, head: Head, dropout: float) -> None:
    """Write the image model in `template`, whose head must have one hidden layer, to `path` with
    `head` in its place."""
    members = read(template)
    config = json.loads(members[_CONFIG])
    _describe(_head_of(config), head, dropout)
    buffer = io.BytesIO(members[_WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        _fill(_weights_of(file), head)
    write(path, {**members, _CONFIG: json.dumps(config).encode(), _WEIGHTS: buffer.getvalue()})


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _head_of(config: dict[str, Any]) -> dict[str, Any]:
    """The head's own configuration inside an image model's."""
    for name in ("classify", "head"):
        config = next(item for item in config["config"]["layers"] if item["name"] == name)
    return config["config"]  # type: ignore[no-any-return]


def _weights_of(file: Any) -> dict[str, Any]:
    """The groups of the head's layers, by the layers' own names."""
    logits: list[Any] = []

    def find(_: str, item: Any) -> None:
        if item.attrs.get("name") == "logit":
            logits.append(item.parent.parent)

    file.visititems(find)
    (layers,) = logits
    return {str(group["vars"].attrs["name"]): group for group in layers.values()}


def _describe(config: dict[str, Any], head: Head, dropout: float) -> None:
    """Change a head's configuration with one hidden layer to that of `head`."""
    features, standardise, hidden, drop, logit = config["layers"]
    standardise["config"]["mean"] = [float(value) for value in head.mean]
    standardise["config"]["variance"] = [float(value) for value in head.variance]
    layers, previous, size = [features, standardise], "standardise", len(head.mean)
    for index, units in enumerate(head.hidden, start=1):
        dense = copy.deepcopy(hidden)
        dense["config"]["units"] = units
        layers.append(_after(dense, f"hidden_{index}", previous, size))
        dropped = copy.deepcopy(drop)
        dropped["config"]["rate"] = dropout
        layers.append(_after(dropped, f"dropout_{index}", f"hidden_{index}", units))
        previous, size = f"dropout_{index}", units
    config["layers"] = [*layers, _after(logit, "logit", previous, size)]


def _after(layer: dict[str, Any], name: str, previous: str, size: int) -> dict[str, Any]:
    """A layer's configuration, named and put after the layer `previous` of `size` units."""
    layer["name"] = layer["config"]["name"] = name
    if "build_config" in layer:
        layer["build_config"]["input_shape"] = [None, size]
    tensor = layer["inbound_nodes"][0]["args"][0]["config"]
    tensor["shape"], tensor["keras_history"] = [None, size], [previous, 0, 0]
    return layer


def _fill(named: dict[str, Any], head: Head) -> None:
    """Put a head's weights in the place of those of a head with one hidden layer."""
    layers = named["logit"].parent
    layers.move(named["hidden_1"].name, "kept_dense")
    layers.move(named["dropout_1"].name, "kept_dropout")
    layers.move(named["logit"].name, "kept_logit")
    for index, (kernel, bias) in enumerate(zip(head.kernels, head.biases, strict=True)):
        last = index == len(head.hidden)
        counted = f"_{index}" if index else ""
        dense = f"dense{counted}"
        layers.copy("kept_logit" if last else "kept_dense", dense)
        layers[dense]["vars"].attrs["name"] = "logit" if last else f"hidden_{index + 1}"
        _set(layers[dense]["vars"], [kernel, bias])
        if not last:
            layers.copy("kept_dropout", f"dropout{counted}")
            layers[f"dropout{counted}"]["vars"].attrs["name"] = f"dropout_{index + 1}"
    for name in ("kept_dense", "kept_dropout", "kept_logit"):
        del layers[name]


def _set(group: Any, arrays: list[Array]) -> None:
    for index, array in enumerate(arrays):
        del group[str(index)]
        group.create_dataset(str(index), data=array)
