"""`make capacity`: what is extrapolated from measurements of two sizes."""

import sys

import pytest

from benchmarks import capacity, on_ray, scale
from benchmarks.capacity import Line, Measured, Prices
from deepfake.common.files import read_json

STAGE = {"seconds": 10.0, "peak": 1e9}
LARGER = {"seconds": 100.0, "peak": 2e9}
RESULTS = {
    "machine": {"cores": 2},
    "sizes": {
        str(size): {
            "data": {name: stage | {"written": 10_000 * size}
                     for name in ("ingest", "metadata", "baseline")},
            "narrow": dict.fromkeys(("embed", "train", "evaluate", "compare"), stage),
            "wide": {"wide train": stage | {"width": 100}},
            "slice": {"slice embed": {"seconds": 1.0, "peak": 1, "each": 0.04}},
        }
        for size, stage in ((1_000, STAGE), (10_000, LARGER))
    },
}  # fmt: skip
PRICES = Prices(core_hour=1.0, gpu_hour=10.0, gigabyte_month=0.5)


def test_a_line_goes_through_both_sizes_and_on():
    line = Line.through(1_000, STAGE, 10_000, LARGER)
    assert line.at(10_000) == (100.0, 2e9)
    assert line.at(1_000) == pytest.approx((10.0, 1e9))
    assert line.at(19_000) == pytest.approx((190.0, 3e9))


def test_nodes_share_the_embedding_and_nothing_else():
    measured = Measured(RESULTS, None)
    assert measured.embed == pytest.approx(0.08)  # seconds of a core: 0.04 on two
    rows = [line.split(" | ") for line in capacity.clusters(1_000_000, measured, PRICES, 4)[2:]]
    assert rows[0][0] == "| 1 CPU node of 4 cores"
    # 1,000,000 * 0.08 s on 4 cores; six stages of 100 s + 990,000 * 0.01 s.
    assert [row[1] for row in rows[:3]] == ["5.6 h", "33 min", "3 min"]
    assert {row[2] for row in rows} == {"16.7 h"}
    assert rows[2][4] == "stages on one node"
    assert rows[0][5] == "$89 |"  # 5.6 h and 16.7 h of 4 cores


def test_the_overhead_of_the_cluster_counts():
    pairs = [{"local": 100.0, "ray": ray} for ray in (110.0, 120.0, 105.0)]
    ray = {"machine": {"cores": 2}, "images": 1_000, "pairs": pairs}
    assert on_ray.overhead(ray) == pytest.approx(0.1)
    measured = Measured(RESULTS, ray)
    assert measured.overhead == pytest.approx(0.1)
    assert capacity.check(measured).endswith("says 44 s.")
    assert "make on-ray" in capacity.check(Measured(RESULTS, None))


def test_disk_is_images_shards_and_embeddings_of_each_split():
    # Of 140 images, 100 are float16 and 40 float32.
    assert capacity.embedding_bytes(140, width=10, views=2) == 20 * (100 * 2 + 40 * 4)
    said = capacity.storage(1_000_000, Measured(RESULTS, None), 2, PRICES)
    assert said[0].startswith("Disk: 10.0 GB of images as they come and as much as shards, 0.5 GB")


def test_limits_are_in_the_order_in_which_they_are_reached():
    said = capacity.limits(20_000_000, Measured(RESULTS, None), 2)
    # A stage takes 2 GB with 10,000 images and 1/9 MB more with each other one.
    said_first = "- from 1 million images on, `ingest` takes more memory than a node of 64.0 GB"
    assert said[1] == f"{said_first} **(reached)**"
    assert len(said) == 1 + 4 + 5
    assert not said[-1].endswith("(reached)**")


def test_it_prints_a_plan_from_the_committed_measurements(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["capacity", "10000000"])
    capacity.main()
    printed = capsys.readouterr().out
    size = max(read_json(scale.RESULTS)["sizes"], key=int)
    assert f"10,000,000 images, extrapolated from {int(size):,}:" in printed
    for row in ("| 100 CPU nodes of 16 cores |", "| 8 GPUs with 16 cores each |", "| ingest |"):
        assert row in printed
    assert "assumed: --gpu-hour" in printed
