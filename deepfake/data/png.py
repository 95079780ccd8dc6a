"""PNG files without their text, for those that Pillow cannot read because of it."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = {b"tEXt", b"zTXt", b"iTXt"}


def without_text(data: bytes) -> bytes | None:
    """Copy a PNG without its text chunks; None if it has none, or is no PNG.

    A chunk is the length of its body (4 bytes), its type (4), the body, and a checksum (4).
    """
    if not data.startswith(SIGNATURE):
        return None
    kept = [SIGNATURE]
    found = False
    at = len(SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _TEXT:
            found = True
        else:
            kept.append(data[at:end])
        at = end
    return b"".join(kept) if found else None
