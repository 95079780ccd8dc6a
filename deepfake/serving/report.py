"""A report on many images, as one HTML page or a PDF, written to disk as the scores come."""

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake.common.errors import PipelineError
from deepfake.common.files import replacing
from deepfake.data import images
from deepfake.serving.description import Description
from deepfake.serving.detector import Prediction

SUFFIXES = (".html", ".pdf")
# Images of which a report shows a thumbnail; of about 4 kB each.
THUMBNAILS = 2_000
THUMBNAIL_PIXELS = 112


class Report(Protocol):
    """A report that is being written."""

    def add(self, prediction: Prediction, thumbnail: bytes | None) -> None:
        """Add a row.

        Args:
            prediction: of an image.
            thumbnail: a small JPEG of it; None for what was refused, and after `THUMBNAILS` rows.
        """

    def finish(self) -> None:
        """Write what comes last; called once, after all rows."""


@contextmanager
def writing(path: Path | str, description: Description) -> Iterator[Report]:
    """Write a report: yields it for its rows, and puts it in place at the end of the block.

    Args:
        path: of the report, `.html` or `.pdf`; there is no file if the block fails.
        description: of the detector.

    Raises:
        PipelineError: the path ends in something else, the disk is full, or a PDF is wanted and
            `fpdf2` is not installed.
    """
    path = require_suffix(path)
    with replacing(path) as partial:
        if path.suffix.lower() == ".html":
            from deepfake.serving.report_html import HtmlReport

            with HtmlReport(partial, description) as page:
                yield page
                page.finish()
            return
        from deepfake.serving.report_pdf import PdfReport

        report = PdfReport(partial, description)
        yield report
        report.finish()


def require_suffix(path: Path | str) -> Path:
    """The path of a report.

    Raises:
        PipelineError: it ends in neither `.html` nor `.pdf`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise PipelineError(f"a report is an .html or a .pdf file; received {path}")
    return path


def thumbnail(data: bytes) -> bytes | None:
    """A JPEG of at most `THUMBNAIL_PIXELS` each way; None if the file is no usable image."""
    try:
        return images.with_pixels(data, _small)
    except images.BadImage:
        return None


def _small(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


class Counts(Counter[str]):
    """How many images got each verdict, or were refused."""

    def count(self, prediction: Prediction) -> None:
        self[prediction.verdict or "refused"] += 1

    def sentence(self) -> str:
        """Such as `20 images: 9 fake, 8 real, 2 uncertain, 1 refused`."""
        total = self.total()
        known = ("fake", "real", "uncertain", "refused")
        parts = ", ".join(f"{self[name]:,} {name}" for name in known if self[name])
        return f"{total:,} {'image' if total == 1 else 'images'}: {parts or 'none'}"


def now() -> str:
    """The time at which a report is written."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
