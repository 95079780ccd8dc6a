"""What a file says about itself: EXIF, profile, XMP, generator, C2PA."""

import io
import sys

import pytest
from PIL import Image, ImageCms, ImageFile
from PIL.PngImagePlugin import PngInfo

from deepfake.data.images import BadImage
from deepfake.serving import content_credentials
from deepfake.serving.file_facts import file_facts, lines
from tests.support.content_credentials import signed
from tests.support.making import encoded, noise

IMAGE = noise(1, 48, 32)


def exif(**values) -> Image.Exif:
    made = Image.Exif()
    made[0x010F] = values.get("maker", "Nikon")
    made[0x0110] = values.get("model", "D90")
    made[0x0131] = values.get("software", "GIMP 2.10")
    made.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    if values.get("gps"):
        made.get_ifd(0x8825)[1] = "N"
    return made


def test_exif_is_told_without_the_place():
    facts = file_facts(encoded(IMAGE, "JPEG", quality=80, exif=exif(gps=True)))
    told = dict(lines(facts))
    assert told["format"] == "JPEG, RGB"
    assert told["size"].startswith("48 x 32 pixels, ")
    assert told["JPEG"] == "quality about 80, chroma 4:2:0, baseline"
    assert told["camera"] == "Nikon D90"
    assert told["software"] == "GIMP 2.10"
    assert told["date"] == "2024:05:06 07:08:09"
    assert told["position"] == "recorded (GPS)"
    assert told["C2PA manifest"] == "none"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_exif_is_read_and_pixels_are_not(format, monkeypatch):
    said, silent = encoded(IMAGE, format, exif=exif()), encoded(IMAGE, format)
    loaded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: loaded.append(image))
    assert file_facts(said)["camera"] == "Nikon D90"
    assert file_facts(silent)["camera"] is None
    assert not loaded


def test_exif_behind_the_pixels_of_a_png_is_found():
    data = encoded(IMAGE, "PNG", exif=exif(gps=True))
    begin = data.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
    last = data.index(b"IEND") - 4
    late = data[:begin] + data[end:last] + data[begin:end] + data[last:]
    found = file_facts(late)
    assert (found["camera"], found["has_gps"]) == ("Nikon D90", True)


def test_a_file_that_says_nothing():
    told = dict(lines(file_facts(encoded(IMAGE, "PNG"))))
    assert "JPEG" not in told
    assert told["camera"] == told["software"] == "not named"
    assert told["position"] == told["date"] == told["colour profile"] == "none"


def test_maker_is_not_repeated():
    assert file_facts(encoded(IMAGE, "JPEG", exif=exif(model="NIKON Z 6")))["camera"] == "NIKON Z 6"


def test_text_of_the_file_is_escaped_and_cut():
    hostile = exif(maker="", model="\x1b[31m" + "x" * 5000, software="\u202egpj")
    facts = file_facts(encoded(IMAGE, "JPEG", exif=hostile))
    assert facts["camera"].startswith("\\x1b[31mxxx")
    assert len(facts["camera"]) == 200
    assert facts["camera"].isprintable()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 30])
def test_damaged_exif_harms_nothing(damage):
    assert file_facts(encoded(IMAGE, "JPEG", exif=damage))["camera"] is None


def test_what_generators_leave():
    text = PngInfo()
    text.add_text("parameters", "a portrait, Steps: 20, Sampler: Euler")
    png = file_facts(encoded(IMAGE, "PNG", pnginfo=text))
    assert dict(lines(png))["generator"] == "a portrait, Steps: 20, Sampler: Euler"
    kind = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    jpeg = file_facts(encoded(IMAGE, "JPEG", xmp=b"<x:xmpmeta>" + kind + b"</x:xmpmeta>"))
    assert dict(lines(jpeg))["source type"] == "trainedAlgorithmicMedia"


def test_the_profile_is_named():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    named = dict(lines(file_facts(encoded(IMAGE, "JPEG", icc_profile=profile))))
    assert "sRGB" in named["colour profile"]
    broken = dict(lines(file_facts(encoded(IMAGE, "JPEG", icc_profile=b"no profile"))))
    assert broken["colour profile"] == "unnamed"


@pytest.mark.parametrize("data", [b"", b"<html>", encoded(IMAGE, "PNG")[:20]])
def test_no_image(data):
    with pytest.raises(BadImage):
        file_facts(data)


@pytest.mark.parametrize(("format", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png")])
def test_signed_file(format, mime):
    pytest.importorskip("c2pa")
    data = signed(encoded(IMAGE, format), mime)
    told = dict(lines(file_facts(data)))
    assert told["C2PA manifest"].startswith("valid: as its signer left it")
    assert told["C2PA generator"] == "Test Camera 1.2"
    assert told["C2PA signer"] == "Test Signer"
    assert told["C2PA actions"] == "c2pa.created (trainedAlgorithmicMedia)"


def test_signed_file_that_was_changed():
    pytest.importorskip("c2pa")
    data = bytearray(signed(encoded(IMAGE, "JPEG")))
    data[-40] ^= 1
    found = file_facts(bytes(data))["c2pa"]
    assert (found["state"], found["problems"]) == ("Invalid", ["assertion.dataHash.mismatch"])
    assert dict(lines(file_facts(bytes(data))))["C2PA manifest"].startswith("INVALID: changed")


def test_text_of_the_manifest_is_escaped():
    pytest.importorskip("c2pa")
    found = content_credentials.read(signed(encoded(IMAGE, "JPEG"), generator="\x1b[2J"), "JPEG")
    assert found["generator"] == "\\x1b[2J 1.2"


def test_manifest_that_cannot_be_read():
    pytest.importorskip("c2pa")
    data = signed(encoded(IMAGE, "JPEG"))
    at = data.index(b"jumdc2pa")
    broken = data[: at + 60] + bytes(200) + data[at + 260 :]
    with Image.open(io.BytesIO(broken)) as image:
        image.load()  # it is a good image all the same
    assert "there is one that cannot be read" in str(lines(file_facts(broken)))


def test_manifest_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert content_credentials.read(b"..jumdc2pa..", "JPEG") == {
        "error": "there is one; to read it, install c2pa-python"
    }
