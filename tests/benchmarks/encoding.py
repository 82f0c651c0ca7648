"""How much processor time PNG files take and how large they are, by Pillow, by zlib and by ISA-L.

    python tests/benchmarks/encoding.py [ROUNDS]

Writes photographs (of scikit-image, where it is installed), pictures of the bundled model enlarged, and noise, every
way once a round, so that whatever else the machine does disturbs all of them alike; prints the processor time of one
picture in milliseconds (the mean over pictures of the median over rounds), kibibytes, and the size beside Pillow's.
"""

import io
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable

import numpy
import PIL
from isal import isal_zlib
from PIL import Image

from artgen import Txt2Img, generate
from artgen.outputs.png import _filtered, encode_png

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
PROMPTS = ("a red fox", "a lighthouse", "a cat", "a castle")
SIDES = (512, 1024)

Way = Callable[[Image.Image], bytes]


def by_pillow(**options: int) -> Way:
    def write(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        return buffer.getvalue()

    return write


def by_zlib(level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> Way:
    def write(image: Image.Image) -> bytes:
        packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
        return packer.compress(_filtered(image)) + packer.flush()

    return write


def by_isal(level: int) -> Way:
    return lambda image: isal_zlib.compress(_filtered(image), level)


WAYS: dict[str, Way] = {
    "Pillow, as it comes": by_pillow(),
    "Pillow, level 1": by_pillow(compress_level=1),
    "Pillow, level 1, runs only": by_pillow(compress_level=1, compress_type=zlib.Z_RLE),
    "Pillow, level 9": by_pillow(compress_level=9),
    "filter up, zlib level 1": by_zlib(1),
    "filter up, zlib level 1, runs only": by_zlib(1, zlib.Z_RLE),
    **{f"filter up, ISA-L level {level}": by_isal(level) for level in range(4)},
    "artgen (the whole file)": lambda image: encode_png(image, {}),
}


def pictures() -> dict[str, list[Image.Image]]:
    """By what they are called in the table."""
    drawn = [generate(Txt2Img(prompt=prompt, seed=7, model="tiny")).image for prompt in PROMPTS]
    found = {f"bundled model, {drawn[0].width}": drawn}
    try:
        from skimage import data

        photographs = [Image.fromarray(getattr(data, name)()) for name in PHOTOGRAPHS]
    except ImportError:
        photographs = []
    for side in SIDES:
        for name, images in (("photographs", photographs), ("bundled model, enlarged,", drawn)):
            if images:
                found[f"{name} {side}"] = [each.resize((side, side), Image.Resampling.LANCZOS) for each in images]
        noise = numpy.random.default_rng(0).integers(0, 256, (side, side, 3), numpy.uint8)
        found[f"noise {side}"] = [Image.fromarray(noise)]
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    kinds = pictures()
    times: dict[tuple[str, str, int], list[float]] = {}
    sizes: dict[tuple[str, str, int], int] = {}
    for _ in range(rounds):
        for kind, images in kinds.items():
            for number, image in enumerate(images):
                for name, way in WAYS.items():
                    began = time.thread_time()
                    sizes[kind, name, number] = len(way(image))
                    times.setdefault((kind, name, number), []).append(1000 * (time.thread_time() - began))
    print(f"{rounds} rounds, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, Pillow {PIL.__version__}")
    for kind, images in kinds.items():
        print(f"\n{kind:<36} {'ms':>7} {'KiB':>7} {'x Pillow':>9}")
        whole = sum(sizes[kind, "Pillow, as it comes", number] for number in range(len(images)))
        for name in WAYS:
            took = statistics.mean(statistics.median(times[kind, name, n]) for n in range(len(images)))
            size = sum(sizes[kind, name, number] for number in range(len(images)))
            print(f"{name:<36} {took:>7.1f} {size / len(images) / 1024:>7.0f} {size / whole:>9.2f}")


if __name__ == "__main__":
    main()
