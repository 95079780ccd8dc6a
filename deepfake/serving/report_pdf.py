"""The report as a PDF, by `fpdf2`."""

import io
from pathlib import Path
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.common.text import shown
from deepfake.serving.about import about
from deepfake.serving.description import Description
from deepfake.serving.detector import Prediction
from deepfake.serving.report import Counts, now

MOST_ROWS = 1_000  # `fpdf2` takes 8 ms for each, and keeps the whole document in memory
_FONT = "Helvetica"  # one that every PDF reader has; it holds the letters of Western Europe
_LONGEST_NAME, _LONGEST_REASON = 150, 60
_COLOURS = {"fake": (194, 65, 12), "real": (29, 111, 165)}
_GREY = (100, 100, 100)
_THUMBNAIL_MM = 17
_WIDTHS = (12, 60, 14, 24)  # of the columns, as shares


class PdfReport:
    """The PDF, A4. It is made at the end, because the counts come first.

    Args:
        path: of the PDF.
        description: of the detector.

    Raises:
        PipelineError: `fpdf2` is not installed.
    """

    def __init__(self, path: Path, description: Description) -> None:
        try:
            import fpdf
        except ImportError:
            raise PipelineError(
                "a report as PDF needs the package fpdf2: install it (`pip install fpdf2`), or "
                "name a report that ends in .html"
            ) from None
        self._path = path
        self._description = description
        self._counts = Counts()
        self._rows: list[tuple[Prediction, bytes | None]] = []
        self._fpdf: Any = fpdf

    def add(self, prediction: Prediction, thumbnail: bytes | None) -> None:
        """Add a row; see `report.Report`."""
        self._counts.count(prediction)
        if len(self._rows) < MOST_ROWS:
            self._rows.append((prediction, thumbnail))

    def finish(self) -> None:
        """Write the PDF."""
        pdf = self._fpdf.FPDF(format="A4")
        pdf.set_title("Scores of images")
        pdf.add_page()
        self._summary(pdf)
        _text(pdf, "Images", "B", 13)
        total = self._counts.total()
        if total > MOST_ROWS:
            _text(pdf, f"The first {MOST_ROWS:,} of {total:,} images are listed.")
        pdf.set_font(_FONT, size=9)
        pdf.set_draw_color(200)
        centred = {"v_align": "MIDDLE", "borders_layout": "HORIZONTAL_LINES", "padding": 1}
        with pdf.table(col_widths=_WIDTHS, line_height=5, text_align="LEFT", **centred) as table:
            table.row(("image", "name", "score", "verdict"))
            for prediction, thumbnail in self._rows:
                height = None if thumbnail is None else _THUMBNAIL_MM
                self._row(table.row(min_height=height), prediction, thumbnail)
        pdf.output(str(self._path))

    def _summary(self, pdf: Any) -> None:
        """The counts, and what the detector is."""
        _text(pdf, _known(self._counts.sentence()), "B", 15)
        _text(pdf, f"Written {_known(now())}", size=9)
        _text(pdf, "The detector", "B", 13)
        for subject, said in about(self._description):
            pdf.set_font(_FONT, "B", 10)
            pdf.write(5, f"{_known(subject)}: ")
            pdf.set_font(_FONT, "", 10)
            pdf.write(5, _known(said))
            pdf.ln(6)

    def _row(self, row: Any, prediction: Prediction, thumbnail: bytes | None) -> None:
        if thumbnail is None:
            row.cell("")
        else:
            row.cell(img=io.BytesIO(thumbnail), img_fill_width=False)
        row.cell(_known(shown(prediction.name, _LONGEST_NAME)))
        verdict = str(prediction.verdict)
        if prediction.score is None:
            row.cell("-")
            verdict = f"refused: {_known(shown(prediction.reason or '', _LONGEST_REASON))}"
        else:
            row.cell(f"{prediction.score:.4f}")
        colour = _COLOURS.get(verdict, _GREY)
        row.cell(verdict, style=self._fpdf.FontFace(color=colour, emphasis="BOLD"))


def _text(pdf: Any, text: str, style: str = "", size: int = 10) -> None:
    pdf.set_font(_FONT, style, size)
    pdf.multi_cell(0, size * 0.5, text, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(1)


def _known(text: str) -> str:
    """`text` with the letters that the font lacks escaped, such as `\\u4e2d`."""
    return text.encode("latin-1", "backslashreplace").decode("latin-1")
