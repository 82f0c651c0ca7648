"""Test that GGUF headers are read within bounds, and that damaged and unsupported files are refused by name."""

import contextlib
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf_files import gguf_bytes, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artgen import registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError
from artgen.registry.checkpoint_content import inspect_file
from artgen.registry.gguf_header import _original_shape, read_gguf_header

FLUX = {
    "double_blocks.0.img_attn.norm.key_norm.scale": ("F32", (128,)),
    "img_in.weight": ("F16", (3072, 64)),
    "guidance_in.in_layer.weight": ("Q4_K", (3072, 256)),
}
UNET = {
    "input_blocks.0.0.weight": ("F16", (320, 4, 3, 3)),
    "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": ("Q8_0", (320, 768)),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flux1-dev-Q4_K_S.gguf"
    path.write_bytes(gguf_bytes(FLUX))
    return path


def test_names_types_and_shapes_are_read(file: Path) -> None:
    header = read_gguf_header(file)
    assert header.tensors == FLUX
    assert header.metadata == {"general.architecture": "flux"}
    found = inspect_file(file)
    assert (found.architecture, found.kind, found.format, found.dtype) == ("flux", "unet", "gguf", "Q4_K")


def test_the_first_bytes_decide_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "renamed.safetensors"
    path.write_bytes(gguf_bytes(FLUX))
    assert inspect_file(path).format == "gguf"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (FLUX, "a Flux.1 dev file without all of its components"),
        ({**FLUX, "x.weight": ("IQ2_S", (1, 256))}, "it has tensors of the type IQ2_S, which diffusers does not read"),
        (UNET, "it is a GGUF file of a UNet, and diffusers reads only GGUF files of transformers"),
        ({"blk.0.attn_q.weight": ("Q4_K", (256, 256))}, "it is a language model"),
        ({"enc.blk.0.attn_q.weight": ("Q8_0", (32, 32))}, "it is a T5 text encoder"),
        ({"head.modulation": ("F32", (1, 2, 32))}, "it is a video model"),
    ],
)
def test_unsupported_files_are_refused_by_name(
    tmp_path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], message: str
) -> None:
    path = tmp_path / "flux1-dev.gguf"
    path.write_bytes(gguf_bytes(tensors))
    with pytest.raises(ModelUnavailableError, match=message):
        registry.resolve_model(str(path), offline=True)


def huge(*values: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", *values)


DAMAGE: dict[str, Any] = {
    "empty": b"",
    "not GGUF": b"PK\3\4" + bytes(100),
    "old version": gguf_bytes(FLUX, version=1),
    "too many tensors": huge(3, 2**60, 0),
    "too many entries": huge(3, 0, 2**60),
    "endless text": huge(3, 0, 1) + struct.pack("<Q", 2**62),
    "endless array": huge(3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 0, 2**62),
    "array of arrays": huge(3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1),
    "many dimensions": huge(3, 1, 0) + text("a") + struct.pack("<I", 2**31),
    "unknown type": huge(3, 1, 0) + text("a") + struct.pack("<IQIQ", 1, 32, 4000, 0),
    "part of a block": huge(3, 1, 0) + text("a") + struct.pack("<IQIQ", 1, 33, 8, 0),
    "large dimension": huge(3, 1, 0) + text("a") + struct.pack("<IQIQ", 1, 2**63, 0, 0),
    "truncated": gguf_bytes(FLUX)[:-64],
    "undecodable name": huge(3, 1, 0) + struct.pack("<Q", 2) + b"\xff\xfe" + bytes(40),
    "two tensors with one name": huge(3, 2, 0) + 2 * (text("a") + struct.pack("<IQIQ", 1, 8, 0, 0)) + bytes(99),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_headers_raise_one_error_quickly(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(DAMAGE[name])
    start = time.process_time()
    for read in (read_gguf_header, lambda path: registry.resolve_model(str(path), offline=True)):
        with pytest.raises(InputFileError) as caught:
            read(path)
        assert len(caught.value.message) < 500
    assert time.process_time() - start < 5


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 250), value=st.integers(0, 255), cut=st.integers(0, 300))
def test_changed_bytes_never_raise_another_error(tmp_path: Path, position: int, value: int, cut: int) -> None:
    data = bytearray(gguf_bytes(FLUX))
    data[position] = value
    for content in (data, data[:cut]):
        path = tmp_path / "changed.gguf"
        path.write_bytes(content)
        with contextlib.suppress(ArtgenError):
            registry.resolve_model(str(path), offline=True)


def test_original_shapes_with_many_sides_are_refused_in_bounded_time() -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match="original shape"):
        _original_shape("x", (2,), {"comfy.gguf.orig_shape.x": (1 << 60,) * 500_000})
    assert time.monotonic() - start < 5
