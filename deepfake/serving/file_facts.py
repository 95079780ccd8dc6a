"""What an image file says about itself: format, compression, camera, software, provenance.

Nothing here is proof: whoever writes a file can write this, too. The signature of a C2PA manifest
shows that a file is as its signer left it, whoever that is.
"""

import io
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from PIL import ExifTags, Image

from deepfake.common.text import shown
from deepfake.data import images
from deepfake.serving import content_credentials

# IPTC's word for how an image came about, in XMP: trainedAlgorithmicMedia is a generated one.
_SOURCE_TYPE = re.compile(r"digitalsourcetype/(\w{1,60})", re.IGNORECASE)
# Where programs that generate images leave their settings in a PNG.
_GENERATOR_KEYS = ("parameters", "prompt", "workflow", "Dream", "sd-metadata")
_MOST_XMP = 1_000_000
_MOST_CHUNKS = 100_000


def file_facts(data: bytes) -> dict[str, Any]:
    """Read what an image file says about itself; no pixel is decoded.

    Text of the file is escaped and cut to 200 characters.

    Args:
        data: the file.

    Returns:
        `format`, `mode`, `bytes`, `width`, `height` (pixels as stored), `bits_per_pixel`,
        `jpeg_quality`, `subsampling`, `progressive` (as `data.images.Facts`); `camera`, `software`,
        `taken`, `colour_profile`, `source_type`, `generator` (text, or None where it says
        nothing); `has_exif`, `has_icc`, `has_gps` (the position itself is not returned); and
        `c2pa`, None or what `content_credentials.read` returns.

    Raises:
        BadImage: the bytes are no image, as far as the header shows it.
    """
    header = asdict(images.facts(data))
    said = _Said(data)
    return {
        "bytes": len(data),
        **header,
        "camera": said.camera(),
        "software": said.exif_text(ExifTags.Base.Software) or _text(said.info.get("Software")),
        "taken": said.taken(),
        "has_gps": said.has_gps,
        "colour_profile": _profile(said.info.get("icc_profile")),
        "source_type": _source_type(said.info),
        "generator": next(
            filter(None, (_text(said.info.get(key)) for key in _GENERATOR_KEYS)), None
        ),
        "c2pa": content_credentials.read(data, header["format"]),
    }


def lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`file_facts` in words: what each fact is about, and the fact."""
    found = [
        ("format", f"{facts['format']}, {facts['mode']}"),
        ("size", f"{facts['width']:,} x {facts['height']:,} pixels, {facts['bytes']:,} bytes"),
    ]
    if facts["jpeg_quality"] is not None:
        kind = "progressive" if facts["progressive"] else "baseline"
        chroma = f"chroma {facts['subsampling']}, {kind}"
        found.append(("JPEG", f"quality about {facts['jpeg_quality']}, {chroma}"))
    found += [
        ("camera", facts["camera"] or "not named"),
        ("software", facts["software"] or "not named"),
        ("date", facts["taken"] or "none"),
        ("position", "recorded (GPS)" if facts["has_gps"] else "none"),
        ("colour profile", facts["colour_profile"] or ("none", "unnamed")[facts["has_icc"]]),
    ]
    if facts["source_type"]:
        found.append(("source type", facts["source_type"]))
    if facts["generator"]:
        found.append(("generator", facts["generator"]))
    return found + content_credentials.lines(facts["c2pa"])


class _Said:
    """The EXIF of an image file, and what else Pillow reads beside its pixels.

    Attributes:
        info: text and colour profile, by Pillow's names.
        has_gps: whether there is a position.
    """

    def __init__(self, data: bytes) -> None:
        self.info: dict[Any, Any] = {}
        self.has_gps = False
        self._exif: dict[int, Any] = {}
        try:
            image = Image.open(io.BytesIO(data), formats=images.FORMATS)
            self.info = dict(image.info)
            if image.format == "PNG":  # Pillow would decode it, as EXIF may come after the pixels
                if found := _exif_of_png(data):
                    image.info["exif"] = found
                exif = Image.Image.getexif(image)
            else:
                exif = image.getexif()
            self._exif = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
            self.has_gps = bool(exif.get_ifd(ExifTags.IFD.GPSInfo))
        except Exception:
            # The bytes may come from anyone, and Pillow raises anything on a bad part of them. A
            # file may be a good image all the same, and then says nothing more.
            pass

    def exif_text(self, tag: int) -> str | None:
        return _text(self._exif.get(tag))

    def camera(self) -> str | None:
        """Maker and model; most makers begin the model with their name."""
        maker, model = self.exif_text(ExifTags.Base.Make), self.exif_text(ExifTags.Base.Model)
        if maker and model and not model.lower().startswith(maker.lower()):
            return f"{maker} {model}"
        return model or maker

    def taken(self) -> str | None:
        original = self.exif_text(ExifTags.Base.DateTimeOriginal)
        return original or self.exif_text(ExifTags.Base.DateTime)


def _exif_of_png(data: bytes) -> bytes | None:
    """The chunk `eXIf` of a PNG, wherever it is."""
    place = 8  # behind the signature
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            break
        size, name = struct.unpack_from(">I4s", data, place)
        if name == b"eXIf":
            return data[place + 8 : place + 8 + size]
        place += 12 + size  # with the length, the name and the checksum
    return None


def _text(value: Any) -> str | None:
    """Text of the file as it may be shown; None if there is none."""
    if isinstance(value, bytes):
        value = value[:1000].decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    return shown(value.strip(" \0\t\r\n")) or None


def _profile(profile: Any) -> str | None:
    """The name of a colour profile."""
    if not isinstance(profile, bytes):
        return None
    from PIL import ImageCms

    try:
        return _text(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))))
    except Exception:  # as for EXIF
        return None


def _source_type(info: Mapping[Any, Any]) -> str | None:
    """IPTC's digital source type in XMP, such as `trainedAlgorithmicMedia`."""
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, bytes):
        packet = packet[:_MOST_XMP].decode("utf-8", "replace")
    match = _SOURCE_TYPE.search(packet[:_MOST_XMP]) if isinstance(packet, str) else None
    return match[1] if match else None
