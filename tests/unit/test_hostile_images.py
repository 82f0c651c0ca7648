"""Test that images over limits are refused or decoded in bounded time and memory."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_images import HOSTILE_IMAGES, write_hostile_image

from artgen import images, metadata
from artgen.errors import InputFileError

MAX_CPU_SECONDS = 20.0
MAX_EXTRA_MIB = 500

DRIVER = """
import resource, sys
from pathlib import Path
from artgen import images, metadata
from artgen.errors import InputFileError

start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    for read in (images.load_image, metadata.read_metadata):
        try:
            read(Path(name))
        except InputFileError:
            pass
    print(name, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""


@pytest.mark.parametrize("name", HOSTILE_IMAGES)
def test_hostile_images_need_bounded_time(tmp_path: Path, name: str) -> None:
    path = write_hostile_image(tmp_path, name)
    start = time.process_time()
    for read in (images.load_image, metadata.read_metadata):
        with contextlib.suppress(InputFileError):
            read(path)
    assert time.process_time() - start < MAX_CPU_SECONDS


def test_hostile_images_need_bounded_memory(tmp_path: Path) -> None:
    paths = [str(write_hostile_image(tmp_path, name)) for name in HOSTILE_IMAGES]
    ran = subprocess.run(
        [sys.executable, "-c", DRIVER, *paths], capture_output=True, text=True, check=True, timeout=600
    )
    usage = {line.split()[0]: int(line.split()[1]) for line in ran.stdout.splitlines()}
    assert usage.keys() == set(paths)
    assert max(usage.values()) < MAX_EXTRA_MIB, usage


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rle.bmp", "RLE compression and 25000000 pixels"),
        ("tall.png", "limit of a side"),
        ("wide.png", "limit of a side"),
        ("large.png", "too many pixels"),
        ("largest.png", "too many pixels"),
        ("canvas.webp", "too many pixels"),
        ("chunks.png", "chunks"),
        ("fill.jpg", "segment"),
        ("zeros.jpg", "segment"),
        ("comment.gif", "extensions"),
        ("sparse.png", "unknown format"),
        ("sparse_tail.png", "limit for an image of its size"),
    ],
)
def test_sizes_over_a_limit_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputFileError, match=reason):
        images.load_image(write_hostile_image(tmp_path, name))


@pytest.mark.parametrize(
    ("name", "number"),
    [("frames.tif", "at least 100"), ("loop.tif", "5"), ("frames.gif", "at least 2"), ("frames.webp", "200000")],
)
def test_first_of_many_frames_is_loaded(tmp_path: Path, name: str, number: str) -> None:
    loaded = images.load_image(write_hostile_image(tmp_path, name))
    assert f"contains {number} images" in loaded.notes[0]
