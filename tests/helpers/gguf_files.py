"""Create GGUF files of zeros."""

import math
import struct
from collections.abc import Mapping

from artgen.registry.gguf_header import TYPES

NUMBERS = {name: number for number, (name, _, _) in TYPES.items()}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_bytes(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None, version: int = 3
) -> bytes:
    """Return a GGUF file of zeros."""
    entries = {"general.architecture": "flux"} if metadata is None else metadata
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    header += b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in entries.items())
    offset = 0
    for name, (kind, shape) in tensors.items():
        _, values, block_bytes = TYPES[NUMBERS[kind]]
        header += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        header += struct.pack("<IQ", NUMBERS[kind], offset)
        offset += -(-math.prod(shape) // values * block_bytes // 32) * 32
    return header + bytes(-len(header) % 32) + bytes(offset)
