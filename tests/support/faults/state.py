"""Faults of what stages keep and hand on: damaged files, and a full disk."""

import contextlib
import hashlib
import io
import json
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json, replacing, write_json
from deepfake.data import embeddings, shards
from deepfake.evaluation.predictions import predictions, read_predictions, write_predictions
from deepfake.inference import embed, keras_engine
from deepfake.inference.network import Network
from deepfake.models import keras_archive
from deepfake.training import loop
from stages import inputs
from tests.support.faults.cases import ERROR, HANDLED, Attack

VIEWS, WIDTH, BATCH = 2, 500, 4
DAMAGED = "is damaged"
NO_DRAWS = params.DrawParams(draws=0, shrink=0.0, blur=0.0, jpeg=0.0)
Damage = Callable[[bytes], bytes]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def emptied(data: bytes) -> bytes:
    return b""


def flipped(data: bytes) -> bytes:
    """A single other bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def zeroed(data: bytes) -> bytes:
    """4 KB of zeros from the fifth kilobyte on."""
    return data[:5000] + bytes(4000) + data[9000:]


def change(path: Path, damage: Damage) -> None:
    path.write_bytes(damage(path.read_bytes()))


def said(function: Callable[[], Any]) -> str:
    """The message of the `PipelineError` that a call raises; "nothing" if it raises none."""
    try:
        function()
    except PipelineError as error:
        return str(error)
    return "nothing"


# What stages write, how it is read, and the file in question.


def _shards(folder: Path) -> Path:
    with shards.ShardWriter(folder, 1) as writer:
        for split in ("train", "valid", "test"):
            for number in range(10):
                name = hashlib.sha256(f"{split}{number}".encode()).hexdigest()[:16]
                data = bytes(10 * [number])
                writer.write(shards.ImageFile(name, number % 2, split, f"{number}.png", data))
    return folder / "train-00000.parquet"


def _embeddings(folder: Path) -> Path:
    np.save(folder / "train.npy", np.ones((10, VIEWS, WIDTH), "<f2"))
    index = "".join(f"{number},0\n" for number in range(10))
    (folder / "train.csv").write_text(f"image_id,label\n{index}")
    return folder / "train.npy"


def _predictions(folder: Path) -> Path:
    ids = [str(number) for number in range(10)]
    path = folder / "test.csv"
    write_predictions(path, predictions(ids, np.zeros(10), np.full(10, 0.25), ids))
    return path


def _summary(folder: Path) -> Path:
    write_json(folder / "summary.json", {"weights": "random", "channels": [1, 2, 3]})
    return folder / "summary.json"


def _model(folder: Path) -> Path:
    path = folder / "image.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(5000))
    return path


def reading(
    make: Callable[[Path], Path], read: Callable[[Path], Any], *damages: Damage
) -> Callable[[Path], str]:
    """What is said when a file is read that was damaged, in each of these ways."""

    def provoke(folder: Path) -> str:
        told = ""
        for number, damage in enumerate(damages):
            (folder / str(number)).mkdir()
            path = make(folder / str(number))
            assert said(lambda path=path: read(path)) == "nothing"  # type: ignore[misc]
            change(path, damage)
            told = said(lambda path=path: read(path))  # type: ignore[misc]
            assert DAMAGED in told
        return told

    return provoke


def _read_shards(path: Path) -> object:
    return list(shards.image_files(path.parent, "train"))


def _network(folder: Path) -> Path:
    import openvino
    from openvino import opset13

    pixels = opset13.parameter([1, 8, 8, 3], np.float32)
    weights = opset13.constant(np.ones((3, 100), "float32"))
    network = openvino.Model([opset13.matmul(pixels, weights, False, False)], [pixels], "features")
    openvino.save_model(network, folder / "features.xml", compress_to_fp16=False)
    return folder / "features.bin"


def _read_network(path: Path) -> object:
    return Network(path.with_suffix(".xml"), [8], threads=1)


def _read_embeddings(path: Path) -> object:
    return embeddings.Embeddings.open(path.parent, "train")


# Unfinished work.


def _embed(folder: Path) -> bytes:
    """Embed ten images a split, with `folder/work` as the folder of unfinished work."""

    def extract(images: Iterator[shards.ImageFile]) -> Iterator[np.ndarray]:
        for image_file in images:
            seed = int(image_file.image_id, 16)
            yield np.random.default_rng(seed).random((VIEWS, WIDTH), "float32")

    computed = embed.here(folder / "images", extract, seed=1)
    embed.compute(
        folder / "images", folder / "embeddings", computed,
        describe={"views": ["original", "turned"], "dimensions": WIDTH},
        augment=NO_DRAWS, batch_size=BATCH, work=folder / "work",
    )  # fmt: skip
    return (folder / "embeddings" / "train.npy").read_bytes()


def embedding_after(damage: Callable[[Path], None]) -> Callable[[Path], str]:
    """Embed, damage what a run that was killed afterwards would leave, and embed again."""

    def provoke(folder: Path) -> str:
        (folder / "work").mkdir()
        _shards(folder / "images")
        whole = _embed(folder)
        damage(folder / "work")
        assert _embed(folder) == whole
        return ""

    return provoke


class _Variable:
    """A variable as the training loop knows it."""

    def __init__(self) -> None:
        self.value = np.zeros(1000)

    def numpy(self) -> np.ndarray:
        return self.value.copy()

    def assign(self, value: np.ndarray) -> None:
        self.value = np.asarray(value)


def training_after(damage: Damage) -> Callable[[Path], str]:
    """Train two epochs from a checkpoint of the first that was damaged."""

    trained: list[int] = []

    def phase(weight: _Variable) -> loop.Phase:
        def run_epoch(epoch: int, rate: float) -> tuple[float, float]:
            weight.assign(weight.value + epoch + 1)
            trained.append(epoch)
            return 0.5, 0.5

        def validate() -> tuple[np.ndarray, np.ndarray]:
            return np.array([0, 1]), np.array([0.0, weight.value[0]])

        return loop.Phase(
            "head", 2, 5, 0.1, "constant", run_epoch, validate, [weight], [weight]
        )  # fmt: skip

    def provoke(folder: Path) -> str:
        trained.clear()
        checkpoint = folder / "head.npz"
        started = phase(_Variable())
        state = loop.State([], [np.zeros(1000)], -1.0, 0)
        loop._one_epoch(started, 0, state)
        loop._save(started, checkpoint, state)
        change(checkpoint, damage)
        again = phase(_Variable())
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            loop.run(again, checkpoint, lambda row: None)
        assert trained == [0, 0, 1]
        return output.getvalue()

    return provoke


# A stage that is run by hand.


def by_hand(change_it: Callable[[Path], None]) -> Callable[[Path], str]:
    """What a stage says of its inputs, two files of a folder, after a change."""

    def provoke(folder: Path) -> str:
        images = folder / "data" / "images"
        images.mkdir(parents=True)
        files = {"a.parquet": b"pixels" * 100, "b.parquet": b"more" * 100}
        for name, data in files.items():
            (images / name).write_bytes(data)
        listed = [
            {"md5": hashlib.md5(data).hexdigest(), "relpath": name} for name, data in files.items()
        ]
        md5 = hashlib.md5(json.dumps(listed).encode()).hexdigest()
        size = sum(map(len, files.values()))
        out = {"path": "data/images", "md5": f"{md5}.dir", "size": size, "nfiles": 2}
        write = (("dvc.lock", {"stages": {"ingest": {"outs": [out]}}}),
                 ("dvc.yaml", {"stages": {"embed": {"deps": ["data/images"]}}}))  # fmt: skip
        for name, content in write:
            (folder / name).write_text(yaml.safe_dump(content))
        with contextlib.chdir(folder):
            assert said(lambda: inputs.check("embed")) == "nothing"
            change_it(images)
            return said(lambda: inputs.check("embed"))

    return provoke


# A full disk. A limit on the size of files stands for it, which needs no file system of its own.


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def without_room(write: Callable[[Path], None]) -> Callable[[Path], str]:
    """What is said when a file cannot grow; nothing may be left of it."""

    def provoke(folder: Path) -> str:
        with no_file_above(10_000):
            told = said(lambda: write(folder))
        assert not [path for path in folder.rglob("*") if path.is_file()]
        return told

    return provoke


def _write_table(folder: Path) -> None:
    with replacing(folder / "train.csv") as partial:
        pd.DataFrame({"score": np.zeros(20_000)}).to_csv(partial)


def _write_shard(folder: Path) -> None:
    with shards.ShardWriter(folder, 1) as writer:
        writer.write(shards.ImageFile("0", 0, "train", "0.png", bytes(50_000)))


def _write_checkpoint(folder: Path) -> None:
    with replacing(folder / "head.npz") as partial:
        np.savez(partial, weights=np.zeros(20_000))


STATE = [
    Attack(
        "a shard, truncated or emptied",
        ERROR,
        ("train-00000.parquet is damaged", "`dvc checkout -f", "`dvc repro`"),
        reading(_shards, _read_shards, truncated, emptied),
    ),
    Attack(
        "an `.npy` file, truncated or emptied",
        ERROR,
        ("train.npy is damaged",),
        reading(_embeddings, _read_embeddings, truncated, emptied),
    ),
    Attack(
        "a `.keras` file, truncated, emptied or with another bit",
        ERROR,
        ("image.keras is damaged",),
        reading(_model, keras_archive.read, truncated, emptied, flipped),
    ),
    Attack(
        "a JSON file, truncated or emptied",
        ERROR,
        ("summary.json is damaged",),
        reading(_summary, read_json, truncated, emptied),
    ),
    Attack(
        "an emptied CSV",
        ERROR,
        ("test.csv is damaged",),
        reading(_predictions, read_predictions, emptied),
    ),
    Attack(
        "OpenVINO's network, truncated or emptied",
        ERROR,
        ("features.bin is damaged",),
        reading(_network, _read_network, truncated, emptied),
    ),
    Attack(
        "a file between stages with another bit, where a stage is run by hand",
        ERROR,
        ("data/images is not what dvc.lock says (other content of the same size)",
         "`dvc checkout -f data/images`", "`dvc repro embed`", "`dvc commit -f`"),
        by_hand(lambda images: change(images / "b.parquet", flipped)),
    ),
    Attack(
        "a file between stages of another size, likewise",
        ERROR,
        ("bytes instead of 1,000",),
        by_hand(lambda images: change(images / "a.parquet", truncated)),
    ),
    Attack(
        "a file between stages that is gone, likewise",
        ERROR,
        ("1 files instead of 2",),
        by_hand(lambda images: (images / "a.parquet").unlink()),
    ),
    Attack(
        "zeros in what a killed `embed` had kept",
        HANDLED,
        (),
        embedding_after(lambda work: change(work / "train.rows", zeroed)),
        "what its checksum does not fit, and what follows it, is computed again",
    ),
    Attack(
        "what a killed `embed` had kept, truncated",
        HANDLED,
        (),
        embedding_after(lambda work: change(work / "train.rows", truncated)),
        "likewise",
    ),
    Attack(
        "the checksums of it, emptied",
        HANDLED,
        (),
        embedding_after(lambda work: change(work / "train.rows.crc32", emptied)),
        "likewise",
    ),
    *(
        Attack(
            f"the checkpoint of a killed training, {damage.__name__}",
            HANDLED,
            ("head.npz is damaged; training begins again",),
            training_after(damage),
        )
        for damage in (truncated, emptied, flipped)
    ),
    *(
        Attack(
            f"no room for {what}",
            ERROR,
            ("cannot write", name, "MB are free in", "Make room there"),
            without_room(write),
        )
        for what, write, name in (
            ("a table", _write_table, "train.csv"),
            ("a shard", _write_shard, "train-00000.parquet"),
            ("a checkpoint", _write_checkpoint, "head.npz"),
        )
    ),
    *(
        Attack(
            f"{what} given to the image model",
            ERROR,
            ("expected as uint8, 0 to 255, of shape (height, width, 3)", received),
            lambda _, image=image: said(lambda: keras_engine.resized([image], None)),  # type: ignore[misc]
        )
        for what, image, received in (
            ("floats from 0 to 1", np.linspace(0, 1, 48).reshape(4, 4, 3),
             "float64 from 0 to 1, of shape (4, 4, 3)"),
            ("an image with an alpha channel", np.zeros((4, 4, 4), "uint8"),
             "uint8 from 0 to 0, of shape (4, 4, 4)"),
        )
    ),
]  # fmt: skip
