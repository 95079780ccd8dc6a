"""The report as one HTML page that needs nothing else: images, style and script are inside."""

import base64
import html
import shutil
import tempfile
from pathlib import Path
from typing import Self

from deepfake.common.text import printable
from deepfake.serving.about import about
from deepfake.serving.description import Description
from deepfake.serving.detector import Prediction
from deepfake.serving.report import THUMBNAILS, Counts, now

MOST_ROWS = 50_000  # that a browser still opens and sorts

# The policy forbids the page to load anything, whatever a name in it says.
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
  style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Scores of images</title>
<style>
:root { color-scheme: light dark; --line: #8884; --fake: #c2410c; --real: #1d6fa5; --other: #777 }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 66rem; padding: 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 }
h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem }
.counts { display: flex; flex-wrap: wrap; gap: .75rem; list-style: none; padding: 0 }
.counts li { border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .9rem }
.counts b { display: block; font-size: 1.4rem }
dl { display: grid; grid-template-columns: minmax(8rem, auto) 1fr; gap: .3rem 1rem; margin: 0 }
dt { font-weight: 600 } dd { margin: 0 }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5rem } }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .5rem; text-align: left }
td:nth-child(2) { overflow-wrap: anywhere }
td.score { font-variant-numeric: tabular-nums }
td img { display: block; max-height: 5rem; max-width: 5rem; border-radius: .25rem }
th button { all: unset; cursor: pointer; font-weight: 600; text-decoration: underline dotted }
th button:focus-visible { outline: 2px solid }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
.fake { color: var(--fake) } .real { color: var(--real) }
.uncertain, .refused { color: var(--other) }
.verdict { font-weight: 600 }
.scale, .scale i { border-radius: .2rem; display: block }
.scale { background: var(--line); height: .4rem; width: 6rem }
.scale i { background: currentColor; height: 100% }
</style>
</head>
<body>
"""
_TABLE = """<h2>Images</h2>
<table>
<thead><tr><th scope="col">image</th>
<th scope="col"><button type="button">name</button></th>
<th scope="col"><button type="button">score</button></th>
<th scope="col"><button type="button">verdict</button></th></tr></thead>
<tbody>
"""
# Sorts by the value that a cell states for it, else by its text; a second press turns the order.
_TAIL = """</tbody>
</table>
<script>
const body = document.querySelector("tbody");
const value = (row, n) => row.cells[n].dataset.value ?? row.cells[n].textContent;
const compare = new Intl.Collator(undefined, {numeric: true}).compare;
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const head = button.parentElement, n = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].sort((a, b) => compare(value(a, n), value(b, n)));
  body.append(...(down ? rows.reverse() : rows));
}));
</script>
</body>
</html>
"""


class HtmlReport:
    """The page. Its rows wait in a temporary file, because the counts stand above them.

    Args:
        path: of the page.
        description: of the detector.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self._path = path
        self._description = description
        self._counts = Counts()
        folder = path.parent  # where there is room for the page, there is for its rows
        self._rows = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._rows.close()

    def add(self, prediction: Prediction, thumbnail: bytes | None) -> None:
        """Add a row; see `report.Report`."""
        self._counts.count(prediction)
        if self._counts.total() <= MOST_ROWS:
            self._rows.write(_row(prediction, thumbnail))

    def finish(self) -> None:
        """Write the page."""
        self._rows.seek(0)
        with self._path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(_HEAD)
            file.write(self._summary())
            file.write(_TABLE)
            shutil.copyfileobj(self._rows, file)
            file.write(_TAIL)

    def _summary(self) -> str:
        total = self._counts.total()
        counts = "".join(
            f'<li><b class="{name}">{self._counts[name]:,}</b> {name}</li>'
            for name in ("fake", "uncertain", "real", "refused")
        )
        facts = "".join(
            f"<dt>{html.escape(subject)}</dt><dd>{html.escape(said)}</dd>"
            for subject, said in about(self._description)
        )
        notes = ""
        if total > THUMBNAILS:
            notes = f"<p>The first {THUMBNAILS:,} images have a thumbnail.</p>"
        if total > MOST_ROWS:
            notes += f"<p>The first {MOST_ROWS:,} of {total:,} images are listed.</p>"
        return (
            f"<h1>{total:,} {'image' if total == 1 else 'images'}</h1>"
            f'<p>Written {html.escape(now())}</p><ul class="counts">{counts}</ul>'
            f"<h2>The detector</h2><dl>{facts}</dl>{notes}"
        )


def _row(prediction: Prediction, thumbnail: bytes | None) -> str:
    name = html.escape(printable(prediction.name))
    image = ""
    if thumbnail is not None:
        source = base64.b64encode(thumbnail).decode()
        image = f'<img src="data:image/jpeg;base64,{source}" alt="">'
    if prediction.score is None or prediction.verdict is None:
        reason = html.escape(printable(prediction.reason or ""))
        score = '<td class="score" data-value="-1">–</td>'
        verdict = f'<td><span class="verdict refused">refused</span>: {reason}</td>'
    else:
        value = f"{prediction.score:.6f}"
        score = (
            f'<td class="score" data-value="{value}">{prediction.score:.4f}'
            f'<span class="scale {prediction.verdict}" aria-hidden="true">'
            f'<i style="width: {prediction.score:.1%}"></i></span></td>'
        )
        verdict = f'<td class="verdict {prediction.verdict}">{prediction.verdict}</td>'
    return f"<tr><td>{image}</td><td>{name}</td>{score}{verdict}</tr>\n"
