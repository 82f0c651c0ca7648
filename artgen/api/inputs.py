"""Convert input images of the Python API to files: paths, and files in memory for all other objects."""

import io
import math
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from artgen.errors import InputFileError, UsageError
from artgen.spec.python_values import path_text
from artgen.system.input_files import STDIN
from artgen.system.memory_file import MEMORY_NAME, MemoryFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from artgen.engine.results import GeneratedImage

    ImageInput: TypeAlias = (
        str
        | os.PathLike[str]
        | bytes
        | bytearray
        | memoryview
        | IO[bytes]
        | Image.Image
        | NDArray[np.generic]
        | GeneratedImage
    )
    """An input image: a path, the bytes of an image file, a binary file object, a PIL image, an array, a result.

    The path "history:12" is the image file of an entry of the history.

    Arrays have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), and the type uint8 (0 to 255), uint16 (0 to 65535),
    bool, or a float type (0 to 1).
    """

_FLOAT_TOLERANCE = 1e-3
"""Largest distance of a float from the range 0 to 1 that counts as a rounding error."""

_CONVERTED_MODES = {
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "HSV": "RGB",
    "I;16B": "I;16",
    "I;16N": "I;16",
}
"""Modes of PIL that no lossless format stores, and the modes that replace them."""

_TYPES = "a path, a PIL image, an array, a result of artgen, or the bytes of an image file"


def input_file(value: Any, name: str = "image") -> Path:
    """Return the file of an input image. Pixels are never changed, except for the rounding of floats to 8 bits.

    Args:
        value: image, see `ImageInput`.
        name: name of the parameter, for messages.

    Raises:
        InputFileError: a PIL image or a file object cannot be read.
        UsageError: the object has another type, or an array has another shape, type or range.
    """
    if isinstance(value, str | os.PathLike):
        if isinstance(value, MemoryFile):
            return value
        path = Path(path_text(value, name))
        if str(path).startswith("history:"):
            from artgen.api.history_functions import history_file
            from artgen.image_history.find_entry import is_entry_name

            path = history_file(str(path)) if is_entry_name(str(path)) else path
        return Path.cwd() / path if str(path) == STDIN else path
    if isinstance(value, bytes | bytearray | memoryview):
        return MemoryFile.create(MEMORY_NAME, bytes(value))
    from PIL import Image

    from artgen.engine.results import GeneratedImage

    if isinstance(value, GeneratedImage):
        return value.to_file()
    if isinstance(value, Image.Image):
        return MemoryFile.create(MEMORY_NAME, _encode_pil(value, name))
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "dtype"):
        return MemoryFile.create(MEMORY_NAME, _encode_array(value, name))
    if hasattr(value, "read"):
        return MemoryFile.create(MEMORY_NAME, _read(value, name))
    raise UsageError(f"{name} must be {_TYPES}, not {_kind(value)}.", _hint(value, name))


def _kind(value: Any) -> str:
    cls = type(value)
    return "None" if value is None else f"{'' if cls.__module__ == 'builtins' else cls.__module__ + '.'}{cls.__name__}"


def _hint(value: Any, name: str) -> str:
    if isinstance(value, list | tuple):
        return "Call the function once for each image."
    if type(value).__module__.partition(".")[0] == "torch":
        shape: Any = getattr(value, "shape", ())
        is_planar = len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (3, 4)
        array = f"{name}{'.permute(1, 2, 0)' if is_planar else ''}.cpu().numpy()"
        return f"Convert the tensor to an array (H, W, C): {array}."
    return "For example: 'fox.png'."


def _read(file: Any, name: str) -> bytes:
    try:
        if file.seekable():
            file.seek(0)  # as Pillow: a file that was just written is read from its beginning
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:  # closed, or open for writing
        raise InputFileError(
            f"Cannot read the file object of {name}: {str(error).rstrip('.')}.", "Pass its path."
        ) from error
    if not isinstance(content, bytes):
        raise UsageError(f"{name} is a file that is open in text mode.", 'Open it in binary mode: open(path, "rb").')
    return content


def _encode_pil(image: "Image.Image", name: str) -> bytes:
    """Return the bytes of a lossless file with the pixels, the color profile and the orientation of a PIL image."""
    from PIL import Image

    from artgen.metadata.input_marks import mark_in_memory
    from artgen.metadata.writing import mark_save_args

    buffer = io.BytesIO()
    try:
        image.load()
        if image.mode in _CONVERTED_MODES:
            image = image.convert(_CONVERTED_MODES[image.mode])
        is_png = image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
        names = [name for name in ("icc_profile", "transparency", "dpi") if image.info.get(name) is not None]
        kept = {name: image.info[name] for name in names}
        exif = image.getexif()
        mark = mark_in_memory(image)
        bare = image.copy()
        bare.info = {}
        if is_png:
            kept |= mark_save_args("png", mark) if mark else {}
            bare.save(buffer, "PNG", compress_level=1, **kept, **({"exif": exif} if exif else {}))
        else:
            kept.pop("transparency", None)
            bare.save(buffer, "TIFF", **kept, **({"exif": exif} if exif else {}))
    except Image.DecompressionBombError as error:
        raise InputFileError(f"{name} has too many pixels: {error}", "Scale the image down first.") from error
    except Exception as error:  # decoders raise many exception types on damaged data
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InputFileError(
            f"Cannot read the PIL image of {name}: {reason}.", "Load the image with image.load(), or pass its path."
        ) from error
    return buffer.getvalue()


def _encode_array(array: Any, name: str) -> bytes:
    """Return the bytes of a PNG file with the values of an array.

    Raises:
        UsageError: the array has another shape, type or range than `ImageInput`.
    """
    import numpy as np
    from PIL import Image

    from artgen.outputs.png import encode_png

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)) or 0 in array.shape:
        raise UsageError(
            f"{name} must have the shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}.", _shape_hint(array, name)
        )
    mode = "L" if array.ndim == 2 else {2: "LA", 3: "RGB", 4: "RGBA"}[array.shape[2]]
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        array = _round_floats(array, name)
    if array.dtype == np.uint8:
        return encode_png(Image.fromarray(np.ascontiguousarray(array), mode), {})
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        high, low = (Image.fromarray(part.astype(np.uint8), mode) for part in (array >> 8, array & 255))
        return encode_png(high, {}, low_bytes=low)
    raise UsageError(
        f"{name} must have the type uint8, uint16, bool or a float type, not {array.dtype}.",
        f"Convert values from 0 to 255: {name}.astype('uint8').",
    )


def _round_floats(array: Any, name: str) -> Any:
    import numpy as np

    lowest, highest = float(array.min()), float(array.max())
    is_low, is_high = lowest < -_FLOAT_TOLERANCE, highest > 1 + _FLOAT_TOLERANCE
    if is_low or is_high or math.isnan(lowest):
        is_signed = lowest >= -1 - _FLOAT_TOLERANCE and not is_high
        hint = f"Use ({name} + 1) / 2." if is_signed else f"Divide values from 0 to 255: {name} / 255."
        found = f"values from {lowest:g} to {highest:g}" if np.isfinite(array).all() else "NaN or infinity"
        raise UsageError(f"Floats in {name} must be 0 to 1, not {found}.", hint if "values" in found else "")
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _shape_hint(array: Any, name: str) -> str:
    if array.ndim == 4:
        return f"Pass one image: {name}[0]."
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return f"Move the channels to the end: numpy.moveaxis({name}, 0, -1)."
    return ""
