"""The benchmarks' own arithmetic; what they measure is not tested, since it is of a machine."""

import io
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import archive, bench, engines, harness, images, peer, processes, scale
from benchmarks.harness import Comparison
from deepfake import params
from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json
from deepfake.common.labels import LABEL_NAMES, SPLITS
from deepfake.data import images as image_decoder
from deepfake.sources import layouts
from deepfake.sources.archive import Archive

ROOT = Path(__file__).parent.parent.parent
TIME = Comparison(
    "a", "A", "s", peer=("p", "seconds"), ours=("o", "seconds"), at_least=8, roc_auc=0.15
)


def measured(peer_seconds: float, ours_seconds: float, roc_auc: float = 0.9) -> dict:
    return {
        "p": {"seconds": peer_seconds, "roc_auc": 0.7},
        "o": {"seconds": ours_seconds, "roc_auc": roc_auc},
    }


def pairs(comparison: Comparison, *found: dict) -> list[dict[str, float]]:
    return [pair for item in found if (pair := comparison.pair(item))]


def test_the_ratio_is_the_median_of_the_pairs_ratios():
    # Medians of each side would give 30 / 3 = 10.
    found = pairs(TIME, measured(10, 1), measured(30, 2), measured(90, 30), measured(40, 4))
    summary = TIME.summary(found[:3])
    assert (summary["ratio"], summary["lowest_ratio"], summary["highest_ratio"]) == (10, 3, 15)
    assert TIME.summary(found)["ratio"] == 10
    assert TIME.summary(found[1:3])["ratio"] == 9
    assert (summary["peer"], summary["ours"], summary["pairs"]) == (30, 2, 3)


def test_more_images_a_second_is_faster():
    rate = Comparison("a", "A", "images/s", peer=("p", "seconds"), ours=("o", "seconds"))
    (pair,) = pairs(rate, measured(100, 300))
    assert pair["ratio"] == 3


@pytest.mark.parametrize(
    ("ours", "roc_auc", "holds"),
    [(10, 0.86, True), (10, 0.84, False), (13, 0.86, False)],
    ids=["both", "worse model", "slower"],
)
def test_what_is_required_of_time_and_model_must_both_hold(ours, roc_auc, holds):
    summary = TIME.summary(pairs(TIME, measured(100, ours, roc_auc)))
    assert summary["holds"] is holds
    assert summary["required"] == "≥ 8×, ROC-AUC +0.15 or more"


def test_a_comparison_without_a_peer_has_a_bound_and_no_ratio():
    bound = Comparison("n", "N", "s", ours=("o", "seconds"), at_most=2)
    for seconds, holds in ((1.5, True), (2.5, False)):
        summary = bound.summary(pairs(bound, {"o": {"seconds": seconds}}))
        assert summary["holds"] is holds
        assert "ratio" not in summary


def test_there_is_no_pair_while_a_side_is_missing():
    assert TIME.pair({"p": {"seconds": 3.0}}) is None


def test_the_table_puts_what_is_required_beside_what_was_measured():
    bound = Comparison("n", "N", "s", ours=("o", "seconds"), at_most=2)
    rows = {
        "a": TIME.summary(pairs(TIME, measured(200, 10), measured(100, 10))),
        "n": bound.summary(pairs(bound, measured(1, 2.5))),
    }
    lines = harness.table(rows).splitlines()
    assert lines[2] == (
        "| A | 150 s | 10.0 s | ≥ 8×, ROC-AUC +0.15 or more | 15.00× (10.00 to 20.00) "
        "| 0.700 → 0.900 | yes |"
    )
    assert lines[3] == "| N | – | 2.50 s | ≤ 2 s | 2.50 s | – | **no** |"


def test_results_are_kept_pair_by_pair_and_gone_on_with(tmp_path):
    path, facts = tmp_path / "results.json", {"machine": {"cores": 2}}
    other = Comparison("b", "B", "s", ours=("o", "seconds"))
    first = harness.Results(path, facts)
    for comparison in (TIME, other):
        assert first.begin(comparison, "1234", resume=False) == 0
    first.add(TIME, TIME.pair(measured(10, 1)))
    first.add(TIME, TIME.pair(measured(30, 1)))
    # Interrupted before `b`: what was measured is on disk, and nothing that was not.
    assert list(read_json(path)["comparisons"]) == ["a"]
    again = harness.Results(path, facts)
    assert again.begin(TIME, "1234", resume=True) == 2
    again.add(TIME, TIME.pair(measured(50, 1)))
    assert read_json(path)["comparisons"]["a"]["ratio"] == 30
    # Another comparison leaves it; other code, or another machine, begins anew.
    later = harness.Results(path, facts)
    assert later.begin(other, "5678", resume=True) == 0
    later.add(other, other.pair(measured(1, 1)))
    assert list(read_json(path)["comparisons"]) == ["a", "b"]
    assert later.begin(TIME, "5678", resume=True) == 0
    assert harness.Results(path, {"machine": {"cores": 4}}).rows == {}


def test_what_comparisons_share_is_measured_once_a_repetition(tmp_path, monkeypatch):
    calls = []

    def measure(self, name):
        calls.append(name)
        self.measured[name] = {"seconds": 1.0, "rate": 1.0, "head_seconds": 1.0, "roc_auc": 0.5}

    monkeypatch.setattr(bench.Bench, "measure", measure)
    wanted = [c for c in bench.COMPARISONS if c.name in ("statistics", "last-layer", "head")]
    results = harness.Results(tmp_path / "results.json", {})
    bench.compare(bench.Bench(tmp_path, "random", []), wanted, results, 2, resume=False)
    assert calls == ["peer recipe", "pipeline, statistics", "pipeline, last layer"] * 2
    assert results.rows["head"]["pairs"] == 2


def test_every_comparison_names_measurements_that_there_are():
    for comparison in bench.COMPARISONS:
        sides = [side for side in (comparison.peer, comparison.ours) if side]
        assert {name for name, _ in sides} <= bench.MEASUREMENTS.keys()


def test_the_machine_is_described_without_its_name():
    found = harness.machine()
    assert found["packages"]["keras"]
    assert found["processor"]
    assert "/" not in json.dumps(found).replace("MB/s", "")


def test_the_chart_is_drawn(tmp_path):
    rows = {
        "a": TIME.summary(pairs(TIME, measured(200, 10), measured(100, 10))),
        "b": TIME.summary(pairs(TIME, measured(20, 10))),
    }
    harness.chart(tmp_path / "bench.png", rows, "2,000 images, 2 cores")
    with Image.open(tmp_path / "bench.png") as drawn:
        assert drawn.width > 900


@pytest.fixture
def folder(tmp_path) -> Path:
    """A dozen images, four a split, that differ in brightness by class."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for label, name in LABEL_NAMES.items():
            place = tmp_path / "images" / split / name
            place.mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 100, (40, 40, 3), dtype=np.uint8) + 120 * label
                Image.fromarray(pixels.astype("uint8")).save(place / f"{number}.jpg")
    return tmp_path / "images"


@pytest.mark.slow
def test_the_peer_reads_labels_as_we_do_and_measures(folder):
    scored = peer.recipe(folder, "random", epochs=1)
    assert {"roc_auc", "accuracy"} == scored.keys()
    batch = next(iter(peer.image_files(folder / "test", 32, 4, shuffled=False)))
    bright = batch[0].numpy().mean(axis=(1, 2, 3)) > 110
    assert (batch[1].numpy()[:, 0] == bright).all()
    embedded = peer.predict(folder, "random", 32, 4)
    assert embedded["images"] == 12
    tuned = peer.fit(
        folder, "random", size=32, batch=2, epochs=2, from_layer="block_13_expand", rate=1e-5
    )
    assert (tuned["images"], len(tuned["seconds"]), len(tuned["losses"])) == (4, 2, 2)


def test_unpacked_images_are_those_of_the_source(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    (folder / "train" / "real" / "bad.jpg").write_bytes(b"no image")
    count = images.unpack(images.settings(folder), tmp_path / "out")
    assert count == 12
    sources = {path.read_bytes() for path in folder.rglob("*.jpg")} - {b"no image"}
    assert {path.read_bytes() for path in (tmp_path / "out").rglob("*.jpg")} == sources
    assert len(list((tmp_path / "out/valid/fake").iterdir())) == 2


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scale") / "images.zip"
    assert archive.write(path, 140, portraits_per_class=3) == 140
    return path


def test_the_synthetic_archive_is_read_by_the_rules_for_kaggles(synthetic):
    settings = params.load(ROOT / "params.yaml").data
    names = layouts.ClassNames(settings.folder.real, settings.folder.fake)
    with Archive(synthetic, settings.archive) as opened:
        assert not opened.rejected
        paths = [path for path in opened.members if layouts.is_image(path)]
        tables = [path for path in opened.members if path.endswith(".csv")]
        places = [layouts.place(path, names) for path in paths]
        rows = opened.read("train.csv").decode().splitlines()
    counted = {(p.split, p.label): places.count(p) for p in places}
    assert counted == {
        (split, label): part // 2 for split, part in archive.PARTS.items() for label in (0, 1)
    }
    assert sorted(tables) == ["test.csv", "train.csv", "valid.csv"]
    assert rows[0] + "\n" == archive.HEADER
    assert len(rows) == 101
    by_label = {row.split(",")[4]: row.split(",")[3] for row in rows[1:]}
    assert by_label == {"real": "1", "fake": "0"}


def test_synthetic_images_are_distinct_whole_and_of_true_size(synthetic):
    with zipfile.ZipFile(synthetic) as opened:
        files = [opened.read(n) for n in opened.namelist() if n.endswith(".jpg")]
    assert len(set(files)) == 140
    assert 8_000 < np.mean([len(data) for data in files]) < 25_000
    assert {image_decoder.decode(data).shape for data in files[::7]} == {(256, 256, 3)}
    for data in files:
        # Decoders mend a wrong sequence of restart markers, at a cost and with a warning.
        markers = re.findall(rb"\xff[\xd0-\xd7]", data[data.index(b"\xff\xda") :])
        assert [marker[1] & 7 for marker in markers] == [n % 8 for n in range(len(markers))]
        assert len(markers) in (15, 31)


def test_a_spliced_image_has_each_row_of_its_portrait():
    template = archive.templates(1, 2)[0]

    def decoded(data: bytes) -> np.ndarray:
        # Without chroma's smoothing over the border of two rows: luminance alone.
        return np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int)

    class Chosen:
        def __init__(self, rows):
            self.rows = rows

        def integers(self, high, size):
            return np.resize(self.rows, size)

    mixed, *whole = (decoded(template.spliced(Chosen(rows))) for rows in ([0, 1], [0], [1]))
    height = archive.SIDE // len(template.rows[0])
    for row in range(len(template.rows[0])):
        inside = slice(row * height + 2, (row + 1) * height - 2)
        assert np.abs(mixed[inside] - whole[row % 2][inside]).max() <= 2


def test_the_memory_of_child_processes_counts(tmp_path):
    hold = "import time; held = bytearray(200_000_000); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/held.py").write_text(code)
    command = [sys.executable, "-c", "import subprocess, sys; "]
    command[-1] += "subprocess.run([sys.executable, '-m', 'stages.held'], check=True)"
    used = processes.watch(command, tmp_path, {"PATH": ""})
    assert used["held"].peak > 200_000_000
    assert used["held"].private > 200_000_000
    assert used["held"].seconds >= 0.9
    assert used[processes.COMMAND].peak < 200_000_000
    assert used[processes.COMMAND].seconds >= used["held"].seconds


def usage(seconds: float, peak: float) -> dict[str, float]:
    return {"seconds": seconds, "peak": peak * 1e6, "private": peak * 1e6}


def test_growth_beyond_the_size_is_a_fault():
    sizes = {
        "100": {"data": {"ingest": usage(1, 300), "metadata": usage(1, 300)}},
        "1000": {"data": {"ingest": usage(20, 340), "metadata": usage(10, 350)}},
    }
    lines = scale.table(sizes).splitlines()
    assert lines[2] == (
        "| ingest | 1.0 s | 300 MB (300) | – | 20.0 s | 340 MB (340) | – | 2.00× | 1.13× | yes |"
    )
    assert lines[3].endswith("| 1.00× | 1.17× | **no**: memory grows |")
    sizes["1000"]["data"]["ingest"]["peak"] = 3.1e9
    assert "above 3 GB, memory grows" in scale.table(sizes)


def test_the_full_run_is_extrapolated_from_the_slice():
    steps = {
        "data": {"ingest": usage(60, 1)},
        "narrow": {"embed": usage(100, 1), "train": usage(540, 1)},
        "slice": {"slice embed": usage(9, 1) | {"each": 0.1, "images": 10}},
        "nothing": {"seconds": 2.5},
    }
    said = scale.statements({"10": {}, "36000": steps}, cores=2)
    assert "2.50 s (required ≤ 2 s: **no**)" in said[0]
    assert "about 1.2 h on 2 cores: embed 1.0 h, at 10 images a second" in said[1]
    assert "everything else 10 min" in said[1]
    assert "360 images a second" in said[2]


def test_a_table_is_put_in_its_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for text in ("| a |", "| b |"):
        harness.put(page, "bench", text)
    assert page.read_text() == "before\n<!-- bench -->\n| b |\n<!-- /bench -->\nafter\n"
    with pytest.raises(PipelineError, match="no <!-- scale -->"):
        harness.put(page, "scale", "")


def test_the_page_has_the_tables_of_the_committed_results():
    page = (ROOT / bench.PAGE).read_text()
    compared = read_json(ROOT / bench.RESULTS)["comparisons"]
    assert f"<!-- bench -->\n{harness.table(bench.ordered(compared))}\n<!-- /bench -->" in page
    worth = engines.table(read_json(ROOT / engines.RESULTS)["models"])
    assert f"<!-- engines -->\n{worth}\n<!-- /engines -->" in page
    grown = scale.report(read_json(ROOT / scale.RESULTS))
    assert f"<!-- scale -->\n{grown}\n<!-- /scale -->" in page


def test_features_are_worth_what_their_heads_reach():
    rng = np.random.default_rng(0)
    labels = {split: (np.arange(40) % 2).astype("i1") for split in SPLITS}
    told = {
        split: (rng.normal(size=(40, 1, 3)) + 4 * values[:, None, None]).astype("f")
        for split, values in labels.items()
    }
    noise = {split: rng.normal(size=(40, 1, 3)).astype("f") for split in SPLITS}
    settings = params.load(ROOT / "params.yaml")
    row = engines.worth(told, told, labels, settings, (), seeds=2)
    assert row["cosine"] == pytest.approx(1)
    assert min(row["valid"], row["test"]) > 0.95
    row = engines.worth(noise, told, labels, settings, (), seeds=2)
    assert row["cosine"] < 0.9
    assert row["test"] < 0.8
