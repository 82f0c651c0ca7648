"""Write safetensors files with given tensor names and shapes. Does not import torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

SD1_SHAPES: Shapes = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "cond_stage_model.transformer.text_model.embeddings.position_ids": (77,),
    "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
    "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
}
"""Tensors by which a checkpoint of Stable Diffusion 1 is detected."""

DTYPE_BYTES = {"F8_E4M3": 1, "F16": 2, "BF16": 2, "F32": 4}


def _header(shapes: Shapes, metadata: Mapping[str, str] | None, dtype: str) -> tuple[bytes, int]:
    """Return the bytes before the data, and the number of data bytes."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, shape in shapes.items():
        size = DTYPE_BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, offset


def filled_bytes(shapes: Shapes, fill: int = 0) -> bytes:
    """Return the content of a file of fp16 tensors in which every data byte is `fill`."""
    header, data_bytes = _header(shapes, None, "F16")
    return header + bytes([fill]) * data_bytes


def zero_file(path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None, dtype: str = "F16") -> Path:
    """Create a file of zeros with these tensors. The file is sparse: the data takes no disk space."""
    header, data_bytes = _header(shapes, metadata, dtype)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + data_bytes)
    return path
