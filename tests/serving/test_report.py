"""The report: everything is in it, nothing of it is taken for markup, and it needs nothing else."""

import re
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from deepfake.common.errors import PipelineError
from deepfake.serving import report, report_html, report_pdf
from deepfake.serving.about import about
from deepfake.serving.description import Description
from deepfake.serving.detector import Prediction
from tests.support.making import image_file

DESCRIPTION = Description(
    name="probe, MobileNetV2",
    recipe="probe",
    image_size=64,
    temperature=1.0,
    threshold=0.5,
    lower=0.4,
    upper=0.6,
    error_rate=0.02,
    notes=("`valid` has few images",),
    evaluation={
        "test": {"roc_auc": {"value": 0.98, "low": 0.96, "high": 0.99}, "accuracy": {"value": 0.9}},
        "images": {"real": 150, "fake": 150},
        "source": {},
        "external": {"celeb": {"roc_auc": {"value": 0.7, "low": 0.6, "high": 0.8}}},
    },
    trained_on={"sources": ["sample"], "images": {"real": 700, "fake": 800}, "weights": "random"},
    explanation={"method": None},
    files={},
    digest="0123456789abcdef" * 4,
)
HOSTILE = '<img src=x onerror="alert(1)">\x1b[2J\udcff中.jpg'
ROWS = [
    Prediction("faces/a.jpg", 0.25, "real"),
    Prediction(HOSTILE, 0.75, "fake"),
    Prediction("faces/c.jpg", 0.5, "uncertain"),
    Prediction("faces/d.jpg", None, None, "truncated"),
]


def written(path: Path, rows=ROWS) -> Path:
    small = report.thumbnail(image_file(1, 300))
    with report.writing(path, DESCRIPTION) as page:
        for row in rows:
            page.add(row, None if row.score is None else small)
    return path


def test_page_has_counts_rows_and_the_detector(tmp_path):
    page = written(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<h1>4 images</h1>" in page
    for name in ("fake", "uncertain", "real", "refused"):
        assert f'<li><b class="{name}">1</b> {name}</li>' in page
    rows = re.findall(r"<tr><td>.*</tr>", page)
    assert len(rows) == 4
    assert "faces/a.jpg" in rows[0]
    assert "0.2500" in rows[0]
    assert 'verdict real">real' in rows[0]
    assert "refused</span>: truncated" in rows[3]
    assert "<img" not in rows[3]
    for said in ("digest 0123456789abcdef<", "ROC-AUC 0.980 (0.960 to 0.990), accuracy 0.900; on"):
        assert said in page
    for said in ("celeb, never trained on", "700 real and 800 fake images of sample", "not proof."):
        assert said in page


def test_page_needs_nothing_else_and_runs_nothing_of_a_name(tmp_path):
    page = written(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;\\x1b[2J\\udcff中.jpg" in page
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 3
    for image in images:
        assert re.fullmatch(r'<img src="data:image/jpeg;base64,[\w+/=]+" alt="">', image)
    assert "default-src 'none'" in page
    assert not re.search(r"(href|src)=.?(http|//)|@import|url\(", page)


def test_long_reports_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(report_html, "MOST_ROWS", 3)
    monkeypatch.setattr(report_html, "THUMBNAILS", 2)
    page = written(tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("<tr><td>") == 3
    assert "The first 3 of 4 images are listed." in page
    assert "The first 2 images have a thumbnail." in page
    assert "<h1>4 images</h1>" in page


@pytest.mark.parametrize("name", ["r.html", "r.pdf"])
def test_nothing_is_left_of_a_report_that_fails(tmp_path, name):
    def interrupted() -> None:
        with report.writing(tmp_path / name, DESCRIPTION) as page:
            page.add(ROWS[0], None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"a report is an \.html or a \.pdf file; received .*r"):
        written(tmp_path / "r.docx")
    assert list(tmp_path.iterdir()) == []


def text_of(pdf: bytes) -> str:
    """What a PDF shows, as its streams have it."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        try:
            # Not `zlib.decompress`: it refuses a stream whose checksum ends in the byte of "\r",
            # which the expression takes for the end of the line.
            found.append(zlib.decompressobj().decompress(stream).decode("latin-1"))
        except zlib.error:
            continue
    return "\n".join(found)


def test_pdf(tmp_path):
    data = written(tmp_path / "r.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.count(b"/DCTDecode") == 1  # one thumbnail, used three times
    shown = text_of(data)
    for said in ("4 images: 1 fake, 1 real, 1 uncertain, 1 refused", "faces/a.jpg", "0.2500"):
        assert f"({said})" in shown
    assert "refused: truncated" in shown
    assert "\\\\x1b[2J\\\\udcff\\\\u4e2d.jpg" in shown


def test_long_pdf_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(report_pdf, "MOST_ROWS", 2)
    shown = text_of(written(tmp_path / "r.pdf").read_bytes())
    assert "(The first 2 of 4 images are listed.)" in shown
    assert "faces/c.jpg" not in shown


def test_pdf_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fpdf", None)
    with pytest.raises(PipelineError, match="needs the package fpdf2: install it"):
        written(tmp_path / "r.pdf")
    assert list(tmp_path.iterdir()) == []


def test_thumbnails_are_small():
    assert report.thumbnail(b"no image") is None
    assert len(report.thumbnail(image_file(1, 1500)) or b"") < 12_000


def test_counts_are_a_sentence():
    counts = report.Counts()
    assert counts.sentence() == "0 images: none"
    counts.count(ROWS[0])
    assert counts.sentence() == "1 image: 1 real"


def test_one_threshold_leaves_nothing_uncertain():
    told = dict(about(replace(DESCRIPTION, lower=0.5, upper=0.5)))
    assert told["verdict"] == "fake from a score of 0.500 on, real below it"
    told = dict(about(DESCRIPTION))
    assert told["verdict"].startswith("fake from a score of 0.600 on, real below 0.400, uncertain")


@pytest.mark.slow
def test_page_sorts_by_score(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("there is no /usr/bin/chromium")
    path = written(tmp_path / "r.html")
    with sync_api.sync_playwright() as browsers:
        options = {"executable_path": str(chromium), "args": ["--no-sandbox"]}
        page = browsers.chromium.launch(**options).new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.goto(path.as_uri())
        cells = page.locator("td.score")
        in_order = ["–", "0.2500", "0.5000", "0.7500"]
        page.get_by_role("button", name="score").press("Enter")
        assert [text[:6] for text in cells.all_inner_texts()] == in_order
        page.get_by_role("button", name="score").click()
        assert [text[:6] for text in cells.all_inner_texts()] == in_order[::-1]
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("score")
        assert problems == []
