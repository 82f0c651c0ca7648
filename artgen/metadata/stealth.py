"""Detect stealth PNG metadata: a text in the lowest bits of the pixels, column by column.

The extensions "stealth pnginfo" of AUTOMATIC1111, NovelAI and SwarmUI write it. artgen reads only the signature.
"""

import warnings
from pathlib import Path

from PIL import Image

from artgen.errors import InputFileError
from artgen.system.input_files import open_input

_SIGNATURES = ("stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp")
_NUM_BITS = 8 * len(_SIGNATURES[0])
_MAX_PIXELS = 1 << 23
_MAX_BYTES = 1 << 27


def find_stealth_signature(path: Path) -> str:
    """Return the signature in the alpha channel or the colors of a PNG or WebP image; an empty text if it has none.

    Images of more than 8 million pixels are not decoded, which would take long.
    """
    try:
        with open_input(path, _MAX_BYTES) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=("PNG", "WEBP"))
            if image.mode not in ("RGB", "RGBA") or image.width * image.height > _MAX_PIXELS:
                return ""
            columns = image.crop((0, 0, min(image.width, -(-_NUM_BITS // image.height)), image.height))
    except (InputFileError, OSError):
        return ""
    except Exception:  # decoders raise many exception types on damaged data
        return ""
    bands = columns.transpose(Image.Transpose.TRANSPOSE).convert(image.mode)
    channels = [band.tobytes() for band in bands.split()]
    colors = bytes(value for pixel in zip(*channels[:3], strict=True) for value in pixel)
    for values in (channels[3:] and channels[3], colors):
        text = _low_bits(values or b"")
        if text in _SIGNATURES:
            return text
    return ""


def _low_bits(values: bytes) -> str:
    bits = "".join(str(value & 1) for value in values[:_NUM_BITS])
    return bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits) - 7, 8)).decode("latin-1")
