"""Test the bundled control net: file hashes, size, the model that it fits, and a golden image."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import artgen
from artgen import Txt2Img, generate
from artgen.registry.control_nets.net_table import net_entries

ASSETS = Path(artgen.__file__).parent / "assets"
NET = ASSETS / "tiny_canny"
WEIGHTS = "diffusion_pytorch_model.safetensors"
ROOT = Path(__file__).parents[2]
MAX_WEIGHT_BYTES = 20_000_000


def test_files_have_the_recorded_hashes() -> None:
    lines = (NET / "SHA256SUMS").read_text("utf-8").splitlines()
    recorded = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    assert {"README.md", "config.json", "evaluation.json", "provenance.json", WEIGHTS} <= set(recorded)
    for name, digest in recorded.items():
        assert hashlib.sha256((NET / name).read_bytes()).hexdigest() == digest, name
    assert (NET / WEIGHTS).stat().st_size <= MAX_WEIGHT_BYTES
    assert net_entries()["canny-tiny"].bundled_folder == NET


def test_net_was_trained_for_the_bundled_model() -> None:
    """Train the net again (examples/train_control) when this test fails."""
    unet = ASSETS / "tiny" / "unet" / WEIGHTS
    recorded = json.loads((NET / "provenance.json").read_text("utf-8"))["unet sha256"]
    assert hashlib.sha256(unet.read_bytes()).hexdigest() == recorded


@pytest.mark.slow
def test_image_of_a_sketch_is_close_to_the_golden_image() -> None:
    """Other builds of torch round differently, so the images are not compared byte by byte."""
    sketch = ROOT / "examples" / "inputs" / "sketch.png"
    request = Txt2Img(prompt="a red fox", seed=0, model="tiny", control=(f"canny={sketch}",))
    expected = np.asarray(Image.open(ROOT / "tests" / "golden" / "sketch-fox.png").convert("RGB"), dtype=float)
    controlled = np.asarray(generate(request).image, dtype=float)
    uncontrolled = np.asarray(generate(request.replace(control=())).image, dtype=float)

    def psnr(image: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / max(((image - expected) ** 2).mean(), 1e-9)))

    assert psnr(controlled) > 30
    assert psnr(uncontrolled) < 20
