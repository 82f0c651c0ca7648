"""Read and validate the header of a safetensors file, without unpickling and without loading tensors.

A safetensors file contains an 8-byte little-endian length, JSON of that length (name -> dtype, shape, offsets) and the
tensors' bytes (https://github.com/huggingface/safetensors#format). The header is untrusted: its size, its number of
dimensions and all its values are bounded before they are used.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, RefusedError
from artgen.system.counts import counted
from artgen.system.external_data import parse_json
from artgen.system.files import wrap_read_errors
from artgen.system.input_files import is_regular_file

_DOWNLOAD_HINT = "Download it again."
PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".bin", ".pth", ".pkl", ".pickle"})
_PICKLE_PROTOCOLS = (b"\2", b"\3", b"\4", b"\5")
MAX_HEADER_BYTES = 10 << 20
"""Largest accepted header. Parsing it takes at most 30 times its size; checkpoints have headers below 1 MiB. The limit
of the safetensors library is 100 MB."""
MAX_NAME_LENGTH = 200
"""Characters of a tensor's name in messages."""
MAX_DIMENSIONS = 8
"""Largest number of dimensions of a tensor; convolutions of videos have 5."""
MAX_VALUES = 64
"""Largest number of values that `read_small_tensor` reads."""
_VALUE_CODES = {"F64": "d", "F32": "f", "F16": "e", "BF16": "f"}
DTYPE_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8, "I8": 8, "U8": 8,
    "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsHeader:
    """Store a safetensors header.

    Attributes:
        tensors: name -> (dtype, shape).
        metadata: free text written by the author of the file.
        file_size_bytes: size of the complete file.
    """

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    metadata: Mapping[str, str]
    file_size_bytes: int

    @property
    def dtype(self) -> str:
        """Return the dtype of most values in the file; `none` if it has no values."""
        counts: dict[str, int] = {}
        for dtype, shape in self.tensors.values():
            counts[dtype] = counts.get(dtype, 0) + math.prod(shape)
        return max(counts, key=lambda name: counts[name]) if counts else "none"

    @property
    def parameter_count(self) -> int:
        """Return the number of values in the file."""
        return sum(math.prod(shape) for _, shape in self.tensors.values())


def reject_pickle(path: Path) -> None:
    """Reject a pickle by its suffix, without opening the file.

    Raises:
        RefusedError: the suffix is one of `PICKLE_SUFFIXES`.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise RefusedError(
            f"Cannot open '{path.name}': a {path.suffix} file is a Python pickle and can run code when it is read.",
            f"Use a .safetensors version of the model, or run `artgen models convert '{path}'`, which runs no code of "
            "the file.",
        )


def reject_pickled_content(path: Path) -> None:
    """Reject a pickle whose suffix is that of another file, by its first bytes.

    Raises:
        RefusedError: the content is a pickle.
        InputFileError: the path is not a regular file, or it cannot be read.
    """
    if is_pickled_content(path):
        raise RefusedError(
            f"Cannot open '{path.name}': its content is a Python pickle, which can run code when it is read.",
            f"Rename it to '{path.stem}.pt', and run `artgen models convert '{path.stem}.pt'`, which runs no code of "
            "the file.",
        )


def is_pickled_content(path: Path) -> bool:
    """Return whether a file begins like a pickle, or like a zip file, as PyTorch writes them.

    Raises:
        InputFileError: the path is not a regular file, or it cannot be read.
    """
    if not is_regular_file(path):
        raise InputFileError(f"Cannot read '{path}': it is not a regular file.", "Save the data to a file.")
    with wrap_read_errors(path), path.open("rb") as file:
        start = file.read(9)
    is_pickle = start[:1] == b"\x80" and start[1:2] in _PICKLE_PROTOCOLS and start[8:] != b"{"
    return is_pickle or start.startswith(b"PK\x03\x04")


def read_header(path: Path) -> SafetensorsHeader:
    """Read and validate a safetensors header: JSON, known dtypes, offsets without gaps, and the file's length.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the path is not a regular file, or the file is unreadable, truncated, not safetensors, or its
            header is larger than `MAX_HEADER_BYTES`; the message contains the reason.
    """
    entries, size, data_start = _read_entries(path)
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputFileError(f"'{path}' is damaged: its metadata are not texts.", _DOWNLOAD_HINT)
    return SafetensorsHeader(_check_entries(path, entries, size, data_start), metadata, size)


def read_small_tensor(path: Path, name: str) -> tuple[float, ...]:
    """Return the values of a floating-point tensor with at most `MAX_VALUES` values.

    Raises:
        InputFileError: the file has no such tensor.
    """
    entries, _, data_start = _read_entries(path)
    dtype, shape, (begin, end) = _parse_entry(entries.get(name))
    count = math.prod(shape)
    if dtype not in _VALUE_CODES or count > MAX_VALUES:
        raise InputFileError(
            f"Cannot use '{path}': the tensor '{name[:MAX_NAME_LENGTH]}' is missing, or it is not a list of at most "
            f"{MAX_VALUES} floating-point values.",
            _DOWNLOAD_HINT,
        )
    with wrap_read_errors(path), path.open("rb") as file:
        file.seek(data_start + begin)
        data = file.read(end - begin)
    if dtype == "BF16":  # the upper half of an F32 value
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    if len(data) != count * struct.calcsize(_VALUE_CODES[dtype]):
        raise InputFileError(f"'{path}' is truncated.", _DOWNLOAD_HINT)
    return struct.unpack(f"<{count}{_VALUE_CODES[dtype]}", data)


def are_finite(path: Path, names: Iterable[str]) -> bool:
    """Return whether all values of some small floating-point tensors are finite.

    Raises:
        InputFileError: the file cannot be read, or lacks a tensor.
    """
    import numpy as np  # rarely necessary

    entries, _, data_start = _read_entries(path)
    for name in names:
        dtype, _, (begin, end) = _parse_entry(entries.get(name))
        with wrap_read_errors(path), path.open("rb") as file:
            file.seek(data_start + begin)
            data = file.read(end - begin)
        if dtype == "BF16":  # the upper half of an F32 value
            values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(data, {"F64": "<f8", "F16": "<f2"}.get(dtype or "", "<f4"))
        if not np.isfinite(values).all():
            return False
    return True


def _read_entries(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the entries of the header, the size of the file, and the position of the first tensor."""
    reject_pickle(path)
    if not is_regular_file(path):
        raise InputFileError(
            f"Cannot read '{path}': a safetensors file must be a regular file, not a pipe.", "Save the data to a file."
        )
    with wrap_read_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if size == 0:
            raise InputFileError(f"'{path}' is empty.", _DOWNLOAD_HINT)
        if length < 2 or start[:2] == b"PK" or file.read(1) != b"{":
            raise InputFileError(f"'{path}' is not a safetensors file.", "Pass a .safetensors file or a model folder.")
        if length > MAX_HEADER_BYTES:
            raise InputFileError(
                f"Cannot read '{path}': its header has {length:,} bytes, and artgen reads at most "
                f"{MAX_HEADER_BYTES:,}.",
                _DOWNLOAD_HINT,
            )
        raw = b"{" + file.read(length - 1)
    if len(raw) < length:
        raise InputFileError(f"'{path}' is truncated: its header ends after {counted(size, 'byte')}.", _DOWNLOAD_HINT)
    return _parse_header(path, raw), size, 8 + length


def _parse_header(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        return dict(parse_json(raw, unique_keys=True))
    except ValueError as error:
        reason = f"its header is not valid: {error}"
    raise InputFileError(f"'{path}' is damaged or not a safetensors file: {reason}.", _DOWNLOAD_HINT)


def _check_entries(
    path: Path, entries: Mapping[str, Any], size: int, data_start: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> (dtype, shape); check that the tensors' bytes fill the file without gaps."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        dtype, shape, span = _parse_entry(entry)
        if dtype is None:
            raise InputFileError(
                f"'{path}' is damaged: the header's entry '{name[:MAX_NAME_LENGTH]}' is not valid.", _DOWNLOAD_HINT
            )
        tensors[name] = (dtype, shape)
        spans.append(span)
    expected_size = data_start
    for begin, end in sorted(spans):
        if data_start + begin != expected_size:
            raise InputFileError(f"'{path}' is damaged: its tensors overlap or have gaps.", _DOWNLOAD_HINT)
        expected_size = data_start + end
    if size != expected_size:
        state = "truncated" if size < expected_size else "damaged"
        raise InputFileError(
            f"'{path}' is {state}: it has {counted(size, 'byte')} instead of {expected_size:,}.", _DOWNLOAD_HINT
        )
    return tensors


def _parse_entry(entry: object) -> tuple[str | None, tuple[int, ...], tuple[int, int]]:
    """Return (dtype, shape, span of bytes) of a tensor; the dtype is None if a value is not valid."""
    invalid = None, (), (0, 0)
    if not isinstance(entry, dict):
        return invalid
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (isinstance(dtype, str) and dtype in DTYPE_BITS and isinstance(shape, list) and isinstance(offsets, list)):
        return invalid
    # JSON's true is a bool, which is an int in Python.
    are_sizes = all(type(value) is int and value >= 0 for value in (*shape[: MAX_DIMENSIONS + 1], *offsets[:3]))
    if not are_sizes or len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        return invalid
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * DTYPE_BITS[dtype]:
        return invalid
    return dtype, tuple(shape), (begin, end)
