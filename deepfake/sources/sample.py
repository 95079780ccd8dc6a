"""Portraits drawn by the project itself, in the layout of the Kaggle 140k data set."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Self

from deepfake.common.environment import cores
from deepfake.common.labels import LABEL_NAMES, SPLITS
from deepfake.params import SampleParams
from deepfake.sources.base import Entry, Offer
from deepfake.sources.portraits.render import render

ROOT = "real_vs_fake/real-vs-fake"
# Each split has its own range of numbers, so that the size of one does not change another.
_SPLIT_STRIDE = 10_000_000


class SampleSource:
    """Images drawn by `render` in one process for each processor; many threads may call `read`."""

    def __init__(self, params: SampleParams, seed: int) -> None:
        self._params = params
        self._seed = seed
        # A forked child would inherit the locks of all threads that run here.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            cores(), mp_context=context, initializer=_depend_on_the_parent
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def offer(self) -> Offer:
        counts = {
            "train": self._params.train_per_class,
            "valid": self._params.valid_per_class,
            "test": self._params.test_per_class,
        }
        entries = [
            Entry(f"{ROOT}/{split}/{name}/{number:05}.jpg", label, split, "sample")
            for split, count in counts.items()
            for label, name in LABEL_NAMES.items()
            for number in range(1, count + 1)
        ]
        return Offer(sorted(entries, key=lambda entry: entry.path))

    def stated(self, entry: Entry) -> tuple[int, int]:
        return 0, 0

    def read(self, entry: Entry) -> bytes:
        assert entry.split is not None
        number = int(entry.path.rsplit("/", 1)[1].removesuffix(".jpg"))
        return self._pool.submit(
            render,
            label=entry.label,
            seed=self._seed,
            index=SPLITS.index(entry.split) * _SPLIT_STRIDE + number - 1,
            size=self._params.size,
            strength=self._params.strength,
        ).result()

    def describe(self) -> dict[str, Any]:
        return {
            "name": "sample",
            "version": None,
            "seed": self._seed,
            "size": self._params.size,
            "strength": self._params.strength,
            "sha256": None,
        }


def _depend_on_the_parent() -> None:
    """Leave interrupts to the parent process, and end when it ends, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_too() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_too, daemon=True).start()
