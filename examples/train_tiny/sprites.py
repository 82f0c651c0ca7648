"""Render every icon once, as a square RGBA sprite for the scenes.

Writes `sprites.npy`, uint8 of shape (icons, side, side, 4) with straight alpha, and `sprites.json`, the list of
[style, name] in the same order.
"""

import argparse
import io
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image
from sources import PACKS, Icon, read_icons


def rasterize(icon: Icon, side: int) -> np.ndarray | None:
    """Render an icon as uint8 RGBA of shape (side, side, 4), centered; None if it cannot be rendered."""
    try:
        png = resvg_py.svg_to_bytes(svg_string=icon.svg, width=side, skip_system_fonts=True)
    except ValueError:
        return None
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    if image.size != (side, side):
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        canvas = Image.new("RGBA", (side, side))
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = canvas
    box = image.getchannel("A").getbbox()
    if box is None:
        return None
    return np.asarray(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    icons = [icon for pack in PACKS for icon in read_icons(options.data, pack)]
    with ProcessPoolExecutor() as pool:
        sprites = list(pool.map(partial(rasterize, side=options.side), icons, chunksize=32))
    rendered = [(i, s) for i, s in zip(icons, sprites, strict=True) if s is not None]
    options.work.mkdir(parents=True, exist_ok=True)
    np.save(options.work / "sprites.npy", np.stack([sprite for _, sprite in rendered]))
    index = [[icon.style, icon.name] for icon, _ in rendered]
    (options.work / "sprites.json").write_text(json.dumps(index))
    print(f"{len(rendered)} of {len(icons)} icons rendered")


if __name__ == "__main__":
    main()
