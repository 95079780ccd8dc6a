"""The arithmetic of a comparison and what is written of it: pairs, ratios, table, results, chart.

A comparison is measured in pairs, the peer and then ours, so that whatever disturbs the machine for
a while disturbs both. Its ratio is the median of the pairs' ratios, above 1 where ours is faster.
"""

import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake.common.environment import cores, installed_version
from deepfake.common.errors import PipelineError
from deepfake.common.files import read_json, write_json, write_text
from deepfake.reporting.drawing import COLORS, drawing
from deepfake.tracking import lineage

PACKAGES = ("dvc", "keras", "mlflow", "numpy", "openvino", "pillow", "tensorflow")

Measurement = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and what must hold.

    Attributes:
        name: how `--only` names it.
        title: what it says in table and chart.
        unit: `s`, the fewer the better, or `images/s`, the more the better.
        peer, ours: measurement and quantity in it; without a peer there is no ratio.
        at_least: the ratio required.
        at_most: the value of ours required, in `unit`.
        roc_auc: ours less the peer's, on test, required; None: neither side has one.
    """

    name: str
    title: str
    unit: str
    ours: tuple[str, str]
    peer: tuple[str, str] | None = None
    at_least: float | None = None
    at_most: float | None = None
    roc_auc: float | None = None

    def pair(self, measured: dict[str, Measurement]) -> dict[str, float] | None:
        """A pair from the measurements of one repetition; None while one side is missing."""
        sides = {"peer": self.peer, "ours": self.ours}
        if any(side and side[0] not in measured for side in sides.values()):
            return None
        found: dict[str, float] = {}
        for name, side in sides.items():
            if side:
                found[name] = measured[side[0]][side[1]]
                if self.roc_auc is not None:
                    found[f"{name}_roc_auc"] = measured[side[0]]["roc_auc"]
        if self.peer:
            faster = found["ours"] / found["peer"]
            found["ratio"] = faster if self.unit != "s" else 1 / faster
        return found

    def summary(self, pairs: list[dict[str, float]]) -> dict[str, Any]:
        """The medians over the pairs, the ratio's range, and whether what must hold does."""
        result: dict[str, Any] = {"title": self.title, "unit": self.unit, "pairs": len(pairs)}
        for key in ("peer", "ours", "ratio", "peer_roc_auc", "ours_roc_auc"):
            values = [pair[key] for pair in pairs if key in pair]
            if values:
                result[key] = statistics.median(values)
        if self.peer:
            ratios = [pair["ratio"] for pair in pairs]
            result["lowest_ratio"], result["highest_ratio"] = min(ratios), max(ratios)
        checks = []
        if self.at_least is not None:
            checks.append(result["ratio"] >= self.at_least)
        if self.at_most is not None:
            checks.append(result["ours"] <= self.at_most)
        if self.roc_auc is not None:
            apart = [pair["ours_roc_auc"] - pair["peer_roc_auc"] for pair in pairs]
            result["roc_auc_difference"] = statistics.median(apart)
            checks.append(result["roc_auc_difference"] >= self.roc_auc)
        result["required"] = self.required()
        result["required_ratio"] = self.at_least
        result["holds"] = all(checks) if checks else None
        return result

    def required(self) -> str:
        """What must hold, in words."""
        parts = []
        if self.at_least is not None:
            parts.append(f"≥ {self.at_least:g}×")
        if self.at_most is not None:
            parts.append(f"≤ {self.at_most:g} {self.unit}")
        if self.roc_auc is not None:
            parts.append(f"ROC-AUC {self.roc_auc:+g} or more")
        return ", ".join(parts) or "–"


class Results:
    """The results file: rewritten after each pair, so that an interrupted bench keeps what it had.

    Comparisons that are not measured again are kept, if they are of the same machine and data.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            former = read_json(path)
            if all(former.get(key) == value for key, value in facts.items()):
                self.rows = former["comparisons"]

    def begin(self, comparison: Comparison, revision: str, *, resume: bool) -> int:
        """Make place for new pairs; returns how many there are already, to go on from."""
        row = self.rows.get(comparison.name)
        if resume and row and row["revision"] == revision:
            return len(row["measured"])
        self.rows[comparison.name] = {"revision": revision, "measured": []}
        return 0

    def add(self, comparison: Comparison, pair: dict[str, float]) -> None:
        """Add a pair and write the file."""
        row = self.rows[comparison.name]
        measured = [*row["measured"], pair]
        self.rows[comparison.name] = {
            **comparison.summary(measured),
            "revision": row["revision"],
            "measured": measured,
        }
        write_json(self.path, {**self.facts, "comparisons": self.complete()})

    def complete(self) -> dict[str, dict[str, Any]]:
        """The comparisons that have a pair, by name."""
        return {name: row for name, row in self.rows.items() if row["measured"]}


def machine() -> dict[str, Any]:
    """What was measured on: processor, cores, memory, versions; nothing that names the machine."""
    import psutil

    return {
        "processor": lineage.processor(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in PACKAGES},
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The comparisons as a Markdown table."""
    lines = [
        "| comparison | peer | ours | required | measured | test ROC-AUC | holds |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows.values():
        unit, holds = row["unit"], {True: "yes", False: "**no**", None: "–"}[row["holds"]]
        cells = [
            row["title"],
            _quantity(row.get("peer"), unit),
            _quantity(row["ours"], unit),
            row["required"],
            _measured(row),
            _roc_auc(row),
            holds,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    digits = 0 if value >= 100 else 1 if value >= 3 else 2
    return f"{value:,.{digits}f} {unit}"


def _measured(row: dict[str, Any]) -> str:
    if "ratio" not in row:
        return _quantity(row["ours"], row["unit"])
    return f"{row['ratio']:.2f}× ({row['lowest_ratio']:.2f} to {row['highest_ratio']:.2f})"


def _roc_auc(row: dict[str, Any]) -> str:
    found = [row.get(f"{side}_roc_auc") for side in ("peer", "ours")]
    return " → ".join(f"{value:.3f}" for value in found if value is not None) or "–"


def put(path: Path, name: str, text: str) -> None:
    """Put generated text into a page, between its comments `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        PipelineError: the page has no such place.
    """
    page = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise PipelineError(f"{path} has no {begin.strip()} … {end} to put the table in")
    write_text(path, f"{before}{begin}{text}\n{end}{after}")


def chart(path: Path, rows: dict[str, dict[str, Any]], title: str) -> None:
    """The ratios as horizontal bars, each with a line at what is required."""
    shown = [row for row in rows.values() if "ratio" in row][::-1]
    with drawing(path, 9.0, 1.4 + 0.55 * len(shown)) as (_, axes):
        longest = max(
            [row["ratio"] for row in shown] + [row["required_ratio"] or 1 for row in shown]
        )
        for place, row in enumerate(shown):
            met = row["holds"] is not False
            axes.barh(place, row["ratio"], 0.6, color=COLORS["image"] if met else "#c0504d")
            spread = [[row["ratio"] - row["lowest_ratio"]], [row["highest_ratio"] - row["ratio"]]]
            axes.errorbar(row["ratio"], place, xerr=spread, color="#303030", capsize=3, linewidth=1)
            needed = row["required_ratio"]
            text = f"{row['ratio']:.1f}×"
            if needed:
                axes.plot(
                    [needed, needed], [place - 0.42, place + 0.42], color="black", linewidth=2
                )
                text += f"  (required {needed:g}×)"
            end = max(row["highest_ratio"], needed or 0)
            axes.text(end + 0.02 * longest, place, text, va="center")
        axes.set_yticks(range(len(shown)), [row["title"].replace("`", "") for row in shown])
        axes.set(
            xlabel="times as fast as plain Keras (line: required; red: not reached)",
            title=title,
            xlim=(0, longest * 1.6),
        )
        axes.set_ylim(-0.7, len(shown) - 0.3)
