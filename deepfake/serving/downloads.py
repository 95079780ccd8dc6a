"""The files that the page offers for download: a CSV, and the report of `deepfake predict`."""

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deepfake.serving import report
from deepfake.serving.description import Description
from deepfake.serving.examination import Examination
from deepfake.serving.rows import csv_name


def as_csv(examined: Sequence[Examination]) -> str:
    """A row for each image: its prediction, what was scored, and whether the model knows such.

    Args:
        examined: at least one image.
    """
    text = io.StringIO()
    rows = [_row(one) for one in examined]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_report(examined: Sequence[Examination], description: Description) -> bytes:
    """The report as one HTML page.

    Args:
        examined: its rows.
        description: of the detector that scored them.
    """
    # A report is a file on disk; this one is gone before anybody receives it.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        with report.writing(path, description) as page:
            for one in examined:
                page.add(one.prediction, one.thumbnail or None)
        return path.read_bytes()


def _row(one: Examination) -> dict[str, object]:
    name = csv_name(one.prediction.name)
    scored = one.scored if one.thumbnail else ""
    return {**one.prediction.as_dict(), "name": name, "scored": scored, "remark": one.doubt or ""}
