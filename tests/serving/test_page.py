"""The running page in a browser: what users drop on it, on a phone, by keyboard, two at once."""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.ports import free_port
from deepfake.serving import words
from deepfake.serving.detector import Detector
from deepfake.serving.faces import crop, find_faces
from tests.support.serving import faces

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("streamlit", reason="streamlit is not installed")
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


def environment(home: Path) -> dict[str, str]:
    """Of a server that leaves all its files in `home`."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**known, "PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(home / "tmp")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "tmp").mkdir()
    return home


@pytest.fixture(scope="module")
def address(exported: Path, home: Path) -> Iterator[str]:
    """Where the page of the small detector is; one server for all tests."""
    address = f"http://localhost:{(port := free_port())}"
    command = [sys.executable, "-m", "deepfake.serving.page", "--port", str(port)]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--model", str(exported)],
            cwd=home,
            env=environment(home),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(server, address)
        yield address
        server.send_signal(signal.SIGINT)
        server.wait(30)
    finally:
        server.kill()
        server.wait()
    assert "Traceback" not in (home / "log").read_text()


def _wait(server: "subprocess.Popen[bytes]", address: str) -> None:
    for _ in range(240):
        assert server.poll() is None
        with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
            return
        time.sleep(0.25)
    raise AssertionError("the page does not answer")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        # Chromium's sandbox does not work for root, as whom containers run.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as a new user; no browser may ask any other server for anything."""
    contexts, hosts = [], set()

    def opened(width: int = 1280, height: int = 900) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: hosts.add(re.split("[/?]", request.url, maxsplit=3)[2]))
        page.goto(address)
        page.get_by_role("heading", name="What the model knows").wait_for()
        page.get_by_role("button", name="Upload", exact=True).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {host for host in hosts if host} == {address.removeprefix("http://")}


def drop(page: Any, *paths: Path) -> None:
    page.set_input_files("input[type=file]", [str(path) for path in paths])


def complete(page: Any, images: int) -> None:
    """Wait until the page shows all that it knows of an image, with this many images."""
    page.get_by_role("heading", name="What the file says").wait_for()
    page.locator("[data-testid=stImage] img").nth(images - 1).wait_for()


def said(page: Any) -> str:
    """The box that tells the verdict or the refusal of the image in detail."""
    box = page.locator("[data-testid=stAlert]").first
    box.wait_for()
    return str(box.inner_text())


def downloaded(page: Any, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(download.value.path()).read_text()


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return faces(tmp_path_factory.mktemp("portraits"), 20)


def test_one_image(visit: Callable[..., Any], portraits: list[Path], detector: Detector) -> None:
    page = visit()
    drop(page, portraits[1])
    (expected,) = detector.predict(portraits[1])
    page.get_by_role("heading", name="What the file says").wait_for()
    assert expected.score is not None
    assert words.percent(expected.score) in said(page)
    assert str(expected.verdict) in said(page).lower()
    assert "128 x 128 pixels" in page.get_by_role("table").first.inner_text()
    assert page.get_by_alt_text("face-1.jpg, as uploaded, the face framed").count() == 1
    assert page.get_by_alt_text("The face in face-1.jpg, cut out").count() == 1


def test_the_crop_is_scored_if_asked_for(
    visit: Callable[..., Any], portraits: list[Path], detector: Detector, tmp_path: Path
) -> None:
    image = Image.new("RGB", (500, 300), "grey")
    image.paste(Image.open(portraits[1]).resize((200, 200)), (250, 60))
    image.save(tmp_path / "wide.png")
    pixels = np.asarray(image)
    (face,) = find_faces(pixels)
    page = visit()
    drop(page, tmp_path / "wide.png")
    assert words.percent(detector.score(pixels)) in said(page)
    page.get_by_text("Settings").click()
    page.get_by_role("radiogroup").get_by_text("The crop around the face").click()
    page.get_by_text("The crop around the face (scored)").wait_for()
    assert words.percent(detector.score(crop(pixels, face))) in said(page)


def test_twenty_images_with_the_scores_of_the_detector(
    visit: Callable[..., Any], portraits: list[Path], detector: Detector
) -> None:
    page = visit()
    drop(page, *portraits)
    rows = list(csv.DictReader(downloaded(page, "Download as CSV").splitlines()))
    expected = detector.predict(portraits)
    assert [row["name"] for row in rows] == [path.name for path in portraits]
    assert [float(row["score"]) for row in rows] == pytest.approx(
        [one.score for one in expected], abs=1e-6
    )
    assert [row["verdict"] for row in rows] == [one.verdict for one in expected]
    report = downloaded(page, "Download as report (HTML)")
    assert all(f"<td>{path.name}</td>" in report for path in portraits)
    assert report.rstrip().endswith("</html>")


def test_bad_files_are_refused_by_name(
    visit: Callable[..., Any], portraits: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "cut.jpg").write_bytes(portraits[0].read_bytes()[:1500])
    (tmp_path / "text *bold*.jpg").write_text("no image at all\n" * 50)
    page = visit()
    drop(page, tmp_path / "cut.jpg")
    page.get_by_text("cut.jpg cannot be used: truncated").wait_for()
    drop(page, tmp_path / "text *bold*.jpg")
    page.get_by_role("heading", name="One image").wait_for()
    # What is typed while the page is drawn again may be lost.
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    choice = page.get_by_role("combobox", name="Image to look at")
    choice.press_sequentially("bold")
    page.get_by_role("option", name="text *bold*.jpg: refused, not an image").wait_for()
    choice.press("Enter")
    page.get_by_text("text *bold*.jpg cannot be used: not an image").wait_for()
    assert "2 refused" in page.get_by_text("2 images:").inner_text()


def test_fifty_megapixels_are_scored(
    visit: Callable[..., Any], portraits: list[Path], tmp_path: Path
) -> None:
    large = Image.open(portraits[0]).resize((8000, 6250))
    large.save(tmp_path / "large.jpg")
    page = visit()
    drop(page, tmp_path / "large.jpg")
    page.get_by_text("8,000 x 6,250 pixels").wait_for()
    assert "probability" in said(page)


def test_an_image_without_a_face_is_outside_what_the_model_knows(
    visit: Callable[..., Any], tmp_path: Path
) -> None:
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    page = visit()
    drop(page, tmp_path / "wall.png")
    page.get_by_text("Outside what the model knows: No face was found").wait_for()


def test_two_users_at_once_see_their_own_images(
    visit: Callable[..., Any], portraits: list[Path]
) -> None:
    pages = [visit(), visit()]
    for page, path in zip(pages, portraits[2:4], strict=True):
        drop(page, path)
    for page, own, others in zip(pages, (2, 3), (3, 2), strict=True):
        page.get_by_alt_text(f"face-{own}.jpg, as uploaded").wait_for()
        assert page.get_by_text(f"face-{others}.jpg").count() == 0


def test_the_overlay_follows_its_slider(visit: Callable[..., Any], portraits: list[Path]) -> None:
    page = visit()
    drop(page, portraits[0])
    overlay = page.get_by_alt_text("The square that the model sees")
    overlay.wait_for()
    before = overlay.get_attribute("src")
    slider = page.get_by_role("slider", name="Opacity of the colours")
    slider.press("Home")
    playwright.expect(overlay).not_to_have_attribute("src", before)
    assert slider.input_value() == "0"


def test_nothing_of_an_upload_is_left_on_disk(
    visit: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")  # 4 MB: too much for a buffer in memory
    page = visit()
    before = set(home.rglob("*"))
    drop(page, tmp_path / "noise.png")
    page.get_by_text("1,200 x 1,200 pixels").wait_for()
    assert set(home.rglob("*")) == before


def test_an_upload_that_is_broken_off_leaves_nothing(
    visit: Callable[..., Any], address: str, home: Path, portraits: list[Path]
) -> None:
    page, before = visit(), set(home.rglob("*"))
    with page.expect_request("**/upload_file/**") as sent:
        drop(page, portraits[0])
    said(page)
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    head = (
        f"PUT {sent.value.url.removeprefix(address)}0 HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=xx\r\nContent-Length: 9000000\r\n"
        f"Cookie: {cookies}\r\nX-Xsrftoken: {sent.value.headers['x-xsrftoken']}\r\n\r\n"
        '--xx\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
    )
    port = int(address.rsplit(":", 1)[1])
    with socket.create_connection(("localhost", port)) as connection:
        connection.sendall(head.encode() + bytes(3_000_000))
    drop(page, portraits[1])
    page.get_by_role("heading", name="Results").wait_for()
    assert set(home.rglob("*")) == before


def test_a_phone_shows_it_without_scrolling_sideways(
    visit: Callable[..., Any], portraits: list[Path]
) -> None:
    page = visit(390, 844)
    drop(page, *portraits[:3])
    complete(page, 3)
    main = "document.querySelector('[data-testid=stMain]')"
    assert page.evaluate(f"{main}.scrollWidth <= {main}.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_screen_reader_finds_headings_in_order_and_a_text_for_each_image(
    visit: Callable[..., Any], portraits: list[Path]
) -> None:
    page = visit()
    drop(page, portraits[0])
    complete(page, 3)
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    texts = page.evaluate(
        "[...document.querySelectorAll('[data-testid=stMain] img')].map(i=>i.alt)"
    )
    assert len(texts) == 3
    assert all(texts)


def test_the_keyboard_reaches_settings_and_upload(visit: Callable[..., Any]) -> None:
    page = visit()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText"))
    assert any("Settings" in text for text in reached)
    assert any("Upload" in text or "Browse" in text for text in reached)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    """Runs the page for a model without a browser."""
    from streamlit.testing.v1 import AppTest

    def running(model: Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(model)])
        return AppTest.from_file(str(ROOT / "deepfake/serving/app.py"), default_timeout=60).run()

    return running


def test_a_folder_that_is_no_detector_is_named(app: Callable[..., Any], tmp_path: Path) -> None:
    page = app(tmp_path)
    assert not page.exception
    assert "is not an exported detector" in page.error[0].value


def test_registered_models_are_offered_where_there_is_a_registry(
    app: Callable[..., Any], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfake.serving import registry

    version = registry.Registered("deepfake", "3", ("champion",), {}, "models:/deepfake/3")
    monkeypatch.setattr(registry, "registered", lambda: [version])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    page = app(exported)
    assert page.selectbox[0].options == [str(exported)]
    page.checkbox[0].check().run()
    assert page.selectbox[0].options == [str(exported), "models:/deepfake/3"]


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with closing(socket.create_server(("localhost", 0))) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "deepfake.serving.page", "--port", str(port)]
        ended = subprocess.run(
            command, env=environment(tmp_path), capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: port {port} is taken by another program")
    assert ended.stderr.count("\n") == 1
