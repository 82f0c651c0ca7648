"""Read the texts of EXIF data (CIPA DC-008) and decode their encodings."""

import warnings
from collections.abc import Iterator

from PIL import Image

from artgen.metadata.writing import MAX_TEXT_BYTES

_EXIF_IFD = 0x8769
_TAGS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x927C: "MakerNote",
    0x9286: "UserComment",
    0x9C9C: "XPComment",
}
"""Tags with texts. Tools write UserComment and MakerNote to both the first IFD and the EXIF IFD."""

_UTF16_TAGS = ("XPComment",)


def exif_texts(data: bytes | Image.Exif, notes: list[str]) -> dict[str, str]:
    """Return the texts of an EXIF block by the name of their tag.

    Args:
        data: block with or without the prefix `Exif\\0\\0`; may be empty.
        notes: receives a note about texts that are too long.

    Raises:
        Exception: the block is damaged; Pillow raises many exception types.
    """
    texts: dict[str, str] = {}
    for name, value in _raw_values(data):
        if isinstance(value, str):
            value = value.encode("utf-8", "replace")
        if not isinstance(value, bytes) or name in texts:
            continue
        if len(value) > 2 * MAX_TEXT_BYTES:
            notes.append(f"The EXIF text {name} is ignored: it has more than {2 * MAX_TEXT_BYTES} bytes.")
            continue
        if name in _UTF16_TAGS:
            text = value.decode("utf-16-le", "replace")
        elif name == "UserComment":
            text = decode_user_comment(value)
        else:
            text = value.decode("utf-8", "replace")
        if text.strip("\0 "):
            texts[name] = text.rstrip("\0")
    return texts


def _raw_values(data: bytes | Image.Exif) -> Iterator[tuple[str, object]]:
    exif = Image.Exif() if isinstance(data, bytes) else data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(data, bytes):
            exif.load(data)
        for values in (exif.get_ifd(_EXIF_IFD), exif):
            for tag, name in _TAGS.items():
                yield name, values.get(tag)


def decode_user_comment(data: bytes) -> str:
    """Decode the EXIF tag UserComment.

    Its first 8 bytes are the encoding. The byte order of UTF-16 is not specified, so that tools write both, with and
    without a byte order mark; some tools omit the first 8 bytes or write UTF-8 after all of them.
    """
    code, body = data[:8], data[8:]
    if code == b"JIS\0\0\0\0\0":
        return _decode_first(body, "iso2022_jp", "shift_jis", "utf-8").strip("\0 ")
    if code[:5] in (b"ASCII", b"\0\0\0\0\0", b"UNICO"):
        return _decode_unmarked(body, prefers_utf16=code[:5] == b"UNICO").strip("\0 ")
    return _decode_unmarked(data, prefers_utf16=False).strip("\0 ")


def _decode_unmarked(body: bytes, *, prefers_utf16: bool) -> str:
    """Decode UTF-16 of either byte order, or UTF-8."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", "replace")
    # The parameters are ASCII: one of the two bytes of their UTF-16 characters is zero.
    num_even, num_odd = body[::2].count(0), body[1::2].count(0)
    if not prefers_utf16 and num_even + num_odd <= len(body) // 8:
        return _decode_first(body, "utf-8", "latin-1")
    if prefers_utf16 and num_even + num_odd == 0 and _is_utf8_text(body):
        return body.decode("utf-8")
    return body.decode("utf-16-le" if num_odd > num_even else "utf-16-be", "replace").lstrip("\ufeff")


def _is_utf8_text(body: bytes) -> bool:
    """Return whether a text is UTF-8 with the parameters or the JSON of a tool."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"Steps: " in body or body.lstrip().startswith(b"{")


def _decode_first(data: bytes, *encodings: str) -> str:
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace")
