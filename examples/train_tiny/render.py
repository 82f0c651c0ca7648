"""Draws the training scenes: pictures, their truth, and captions.

Writes `scenes.npy` (uint8 pictures of shape (scenes, 64, 64, 3)), `scenes.json` (the truth, from
which any picture can be drawn again at any size) and `captions.json` (a list of captions a scene).
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from captions import Captioner
from concepts import read_concepts, read_focus
from draw import Drawer
from scenes import Scene, Sprites, Thing, compose


def open_sprites(work: Path) -> Sprites:
    """The sprites that `sprites.py` wrote, mapped from disk."""
    pixels = np.load(work / "sprites.npy", mmap_mode="r")
    return Sprites(pixels, json.loads((work / "sprites.json").read_text()))


def scene_from(data: dict[str, Any]) -> Scene:
    """A scene from its JSON form."""
    things = tuple(Thing(**thing) for thing in data["things"])
    place = tuple(data["place"]) if data["place"] else None
    return Scene(data["kind"], things, data["background"], data["seed"], place)


def compose_all(scenes: list[Scene], work: Path, side: int) -> np.ndarray:
    """Composes many scenes: uint8 of shape (scenes, side, side, 3)."""
    sprites = open_sprites(work)
    return np.stack([compose(scene, sprites, side) for scene in scenes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--captions", type=int, default=20, help="captions a scene")
    parser.add_argument("--wrapped", type=int, default=6, help="captions a scene put among filler words")
    parser.add_argument("--focus", type=Path, help="draw only these of the core, see focus.txt")
    parser.add_argument("--kinds", help='shares of the kinds of scenes, such as {"pair": 1.0}')
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    concepts = read_concepts(options.data, options.work)
    drawer = Drawer(concepts, open_sprites(options.work), options.seed)
    if options.focus:
        drawer.focus(read_focus(options.focus))
    if options.kinds:
        drawer.kinds = json.loads(options.kinds)
    scenes = [drawer.scene() for _ in range(options.scenes)]
    captioner = Captioner(concepts, options.seed + 1)
    words = [[captioner.caption(scene) for _ in range(options.captions)] for scene in scenes]
    plain = max(0, options.captions - options.wrapped)
    for some in words:
        some[plain:] = [captioner.wrapped(text) for text in some[plain:]]
    (options.work / "scenes.json").write_text(json.dumps([asdict(scene) for scene in scenes]))
    (options.work / "captions.json").write_text(json.dumps(words))
    parts = [scenes[at : at + 500] for at in range(0, len(scenes), 500)]
    pictures = np.lib.format.open_memmap(options.work / "scenes.npy", "w+", np.uint8, (len(scenes), 64, 64, 3))
    with ProcessPoolExecutor() as pool:
        done = 0
        for part in pool.map(partial(compose_all, work=options.work, side=64), parts):
            pictures[done : done + len(part)] = part
            done += len(part)
    pictures.flush()
    print(f"{done} scenes drawn")


if __name__ == "__main__":
    main()
