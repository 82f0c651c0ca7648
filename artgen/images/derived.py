"""Mark images that artgen derives from other images, such as frames, contact sheets and heat maps.

Folder runs skip these images. The mark is in the first or last bytes of the file, so that it is found without decoding.
"""

from pathlib import Path

from PIL.PngImagePlugin import PngInfo

_MARK = "artgen (derived image)"
_SEARCHED_BYTES = 4096


def derived_save_args(format_name: str, xmp: bytes = b"") -> dict[str, object]:
    """Return the arguments of `Image.save` that write the mark.

    Args:
        format_name: `png`, `jpeg`, `webp` or `gif`.
        xmp: XMP packet of the image; empty for none. GIF files do not contain it.
    """
    if format_name == "png":
        text = PngInfo()
        text.add_text("Software", _MARK)
        if xmp:
            text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8"))
        return {"pnginfo": text}
    if format_name == "webp":  # WebP has no comments
        return {"xmp": (xmp or b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>") + derived_comment()}
    return {"comment": _MARK.encode(), **({"xmp": xmp} if xmp and format_name == "jpeg" else {})}


def derived_comment() -> bytes:
    """Return the mark as a comment of XML, for the end of an XMP packet."""
    return f"<!-- {_MARK} -->".encode()


def is_derived(path: Path) -> bool:
    """Return whether a regular file has the mark. False if it cannot be read."""
    try:
        size = path.stat().st_size
        if size == 0:  # reading a file of the kernel such as /proc/kmsg can block
            return False
        with path.open("rb") as file:
            start = file.read(_SEARCHED_BYTES)
            file.seek(max(0, size - _SEARCHED_BYTES))
            return _MARK.encode() in start + file.read(_SEARCHED_BYTES)
    except OSError:
        return False
