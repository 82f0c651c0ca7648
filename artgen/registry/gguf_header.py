"""Read and validate the header of a GGUF file without loading tensors, torch-free.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The header is untrusted: its size, the number of its
entries, the lengths of its texts and the positions of all tensors are bounded before they are used.
"""

import io
import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

from artgen.errors import InputFileError
from artgen.registry.safetensors_header import MAX_DIMENSIONS, MAX_HEADER_BYTES, SafetensorsHeader
from artgen.system.counts import counted
from artgen.system.files import wrap_read_errors
from artgen.system.input_files import is_regular_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_TENSORS = 20_000
MAX_METADATA_ENTRIES = 1_000
MAX_TEXT_BYTES = 1 << 16
MAX_ALIGNMENT = 1 << 16
_DOWNLOAD_HINT = "Download it again."
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
}  # fmt: skip
"""Number of a ggml type -> (name, values of a block, bytes of a block)."""

LOADABLE_TYPES = frozenset(
    {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
     "IQ4_XS"}
)  # fmt: skip
"""Types that the quantizer of diffusers 0.42 reads."""


def is_gguf(path: Path) -> bool:
    """Return whether a file is a GGUF file, by its suffix or its first bytes."""
    if path.suffix.lower() == ".gguf":
        return True
    if not is_regular_file(path):
        return False
    with wrap_read_errors(path), path.open("rb") as file:
        return file.read(4) == MAGIC


def read_gguf_header(path: Path) -> SafetensorsHeader:
    """Read the names, types and shapes of the tensors of a GGUF file, and its texts.

    Shapes have torch's order; a shape that the converter flattened is restored (`comfy.gguf.orig_shape.NAME`).

    Raises:
        InputFileError: the file is not a regular file, not GGUF, truncated or damaged.
    """
    if not is_regular_file(path):
        raise InputFileError(f"Cannot read '{path}': a GGUF file must be a regular file.", "Save the data to a file.")
    with wrap_read_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        try:
            return _Reader(file, size).read()
        except (struct.error, ValueError) as error:
            reason = str(error)
    raise InputFileError(f"'{path}' is damaged or not a GGUF file: {reason}.", _DOWNLOAD_HINT)


def is_complete_header(start: bytes, size: int) -> bool:
    """Return whether the first bytes of a GGUF file of this size in bytes contain its header, or are damaged."""
    try:
        _Reader(io.BytesIO(start), size).read()
    except _TruncatedError:
        return False
    except (struct.error, ValueError):
        pass
    return True


class _TruncatedError(ValueError):
    """Report the end of the data inside the header."""


class _Reader:
    """Read the values of a header one after another, and count their bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._read = file, size, 0

    def read(self) -> SafetensorsHeader:
        if self._bytes(4) != MAGIC:
            raise ValueError("it does not start with GGUF")
        version, num_tensors, num_entries = self._scalar("<I"), self._scalar("<Q"), self._scalar("<Q")
        if version not in VERSIONS:
            raise ValueError(f"its version is {version}; expected 2 or 3")
        if num_tensors > MAX_TENSORS or num_entries > MAX_METADATA_ENTRIES:
            raise ValueError(
                f"its header announces {counted(num_tensors, 'tensor')} and {num_entries:,} metadata entries"
            )
        metadata = dict(self._entry() for _ in range(num_entries))
        entries = [self._tensor() for _ in range(num_tensors)]
        if len({name for name, *_ in entries}) != len(entries):
            raise ValueError("its header has two tensors with one name")
        self._check_positions(entries, metadata.get("general.alignment", 32))
        tensors = {name: (kind, _original_shape(name, shape, metadata)) for name, kind, shape, _, _ in entries}
        texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
        return SafetensorsHeader(tensors, texts, self._size)

    def _bytes(self, count: int) -> bytes:
        self._read += count
        if self._read > MAX_HEADER_BYTES:
            raise ValueError(f"its header has more than {counted(MAX_HEADER_BYTES, 'byte')}")
        data = self._file.read(count)
        if len(data) != count:
            raise _TruncatedError("its header is truncated")
        return data

    def _scalar(self, code: str) -> Any:
        return struct.unpack(code, self._bytes(struct.calcsize(code)))[0]

    def _text(self) -> str:
        length = self._scalar("<Q")
        if length > MAX_TEXT_BYTES:
            raise ValueError(f"a text of its header has {length:,} bytes")
        return self._bytes(length).decode("utf-8")

    def _entry(self) -> tuple[str, Any]:
        key = self._text()
        return key, self._value(self._scalar("<I"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            item, count = self._scalar("<I"), self._scalar("<Q")
            if count > MAX_HEADER_BYTES:
                raise ValueError(f"its header has an array of {count:,} values")
            if item == _STRING:
                return tuple(self._text() for _ in range(count))
            if item not in _SCALARS:
                raise ValueError(f"its header has an array of the type {item}")
            code = _SCALARS[item][1]
            return struct.unpack(f"<{count}{code}", self._bytes(count * struct.calcsize(f"<{code}")))
        if kind not in _SCALARS:
            raise ValueError(f"its header has a value of the type {kind}")
        return self._scalar(_SCALARS[kind])

    def _tensor(self) -> tuple[str, str, tuple[int, ...], int, int]:
        """Return name, type, shape, position and length in bytes."""
        name, dimensions = self._text(), self._scalar("<I")
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        shape = tuple(self._scalar("<Q") for _ in range(dimensions))[::-1]
        number, offset = self._scalar("<I"), self._scalar("<Q")
        if number not in TYPES:
            raise ValueError(f"a tensor has the type {number}")
        kind, values, block_bytes = TYPES[number]
        count = math.prod(shape)
        if count % values or (shape and shape[-1] % values):
            raise ValueError(f"the rows of the tensor '{name[:60]}' are not blocks of {values} values")
        return name, kind, shape, offset, count // values * block_bytes

    def _check_positions(self, entries: list[tuple[str, str, tuple[int, ...], int, int]], alignment: object) -> None:
        if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT:
            raise ValueError(f"its alignment is {alignment!r}")
        start = -(-self._read // alignment) * alignment
        end = 0
        for name, _, _, offset, length in sorted(entries, key=lambda entry: entry[3]):
            if offset < end or offset % alignment:
                raise ValueError(f"the tensor '{name[:60]}' overlaps another tensor")
            end = offset + length
        if start + end > self._size:
            raise ValueError(f"it is truncated: it has {counted(self._size, 'byte')} instead of {start + end:,}")


def _original_shape(name: str, shape: tuple[int, ...], metadata: dict[str, Any]) -> tuple[int, ...]:
    stored = metadata.get(f"comfy.gguf.orig_shape.{name}")
    if stored is None:
        return shape
    is_valid = isinstance(stored, tuple) and len(stored) <= MAX_DIMENSIONS
    if not is_valid or not all(isinstance(side, int) and side > 0 for side in stored):
        raise ValueError(f"the original shape of the tensor '{name[:60]}' is not valid")
    if math.prod(stored) != math.prod(shape):
        raise ValueError(f"the original shape of the tensor '{name[:60]}' has another number of values")
    return tuple(stored)
