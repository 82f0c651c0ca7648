"""Test that every command refuses an unusable image in one sentence."""

import io
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

COMMANDS = {
    "img2img": ("x", "--dry-run"),
    "inpaint": ("x", "-M", "mask.png", "--dry-run"),
    "outpaint": ("x", "--expand", "8", "--dry-run"),
    "denoise": ("--dry-run",),
    "noise": (),
    "sheet": (),
    "rank": ("--prompt", "x", "--dry-run"),
    "reconstruct": (),
    "anomaly": ("--dry-run",),
}


def noise_image() -> Image.Image:
    return Image.frombytes("RGB", (64, 64), np.random.default_rng(1).bytes(3 * 64 * 64))


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise_image().save(buffer, kind)
    return buffer.getvalue()


CONTENTS = {
    "empty": b"",
    "text": b"this is a poem",
    "PDF": b"%PDF-1.7 \xff\xfe",
    **{
        f"truncated {kind}": encoded(kind)[: len(encoded(kind)) // 2] for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF")
    },
    "NaN": b"",
}


@pytest.fixture(autouse=True)
def _mask() -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (8, 8, 30, 30))
    mask.save("mask.png")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("content", CONTENTS)
def test_unusable_images_are_refused(command: str, content: str) -> None:
    if content == "NaN":
        Image.fromarray(np.full((64, 64), np.nan, np.float32)).save("in.tiff")
    Path("in.png").write_bytes(Path("in.tiff").read_bytes() if content == "NaN" else CONTENTS[content])
    result = run(command, "in.png", *COMMANDS[command], code=3)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "in.png" in lines[0]
    assert lines[0].endswith(".")


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_images_and_folders_without_images_are_refused(command: str) -> None:
    Path("folder").mkdir()
    for name in ("missing.png", "folder"):
        result = run(command, name, *COMMANDS[command], code=3)
        assert f"'{name}'" in result.stderr


@pytest.mark.parametrize("content", CONTENTS)
def test_unusable_masks_are_refused(content: str) -> None:
    noise_image().save("in.png")
    if content == "NaN":
        Image.fromarray(np.full((64, 64), np.nan, np.float32)).save("mask.tiff")
    Path("mask.png").write_bytes(Path("mask.tiff").read_bytes() if content == "NaN" else CONTENTS[content])
    result = run("inpaint", "in.png", *COMMANDS["inpaint"], code=3)
    assert result.stderr.count("error: ") == 1
    assert "mask.png" in result.stderr
