"""Test that other programs show signed files: Pillow, ImageMagick and Chromium."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from browser import CHROMEDRIVER, CHROMIUM, chromium
from PIL import Image
from tiny_signatures import KINDS, encoded, signed

from artgen.metadata.content_credentials.create_key import create_signing_key

pytest.importorskip("c2pa")

IDENTIFY = shutil.which("identify")
PIXELS = """
const image = new Image();
const done = arguments[1];
image.onerror = () => done(null);
image.onload = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  done([image.naturalWidth, ...context.getImageData(0, 0, canvas.width, canvas.height).data]);
};
image.src = arguments[0];
"""
"""Script that decodes an image, and returns its width and its pixels; null if the browser cannot decode it."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Return an unsigned and a signed file of each format."""
    folder = tmp_path_factory.mktemp("signed")
    key = create_signing_key(folder / "key")
    found = {}
    for kind in KINDS:
        found[kind] = folder / f"unsigned.{kind}", folder / f"signed.{kind}"
        found[kind][0].write_bytes(encoded(kind))
        found[kind][1].write_bytes(signed(kind, key))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_pillow_and_imagemagick_decode_signed_files(kind: str, files: dict[str, tuple[Path, Path]]) -> None:
    unsigned, file = files[kind]
    with Image.open(unsigned) as before, Image.open(file) as after:
        assert after.size == before.size
        assert after.tobytes() == before.tobytes()
    if IDENTIFY is None:
        pytest.skip("ImageMagick is not installed")
    # the signature is a hash of the decoded pixels of each frame; the format of the file does not matter
    outputs = [
        subprocess.run([IDENTIFY, "-format", "%m %wx%h %#\n", each], capture_output=True, text=True, check=True)
        for each in (unsigned, file)
    ]
    assert outputs[0].stdout == outputs[1].stdout != ""


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed")
def test_chromium_shows_signed_files(files: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>x</title>")
    with chromium() as driver:
        driver.get(page.as_uri())
        for kind, pair in files.items():
            unsigned, after = (
                driver.execute_async_script(
                    PIXELS, f"data:image/{kind};base64,{base64.b64encode(each.read_bytes()).decode()}"
                )
                for each in pair
            )
            if kind == "tiff":  # Chromium shows no TIFF files
                assert unsigned is None
                continue
            assert after is not None, kind
            assert after[0] == 32
            assert after == unsigned, kind
