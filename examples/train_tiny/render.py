"""Render the training scenes: images, their ground truth, and captions.

Writes `scenes.npy` (uint8 images of shape (scenes, side, side, 3)), `scenes.json` (the ground truth, from which an
image can be rendered at any size) and `captions.json` (a list of captions per scene).
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from concepts import read_concepts, read_focus
from scenes import Scene, Sprites, Thing, render_scene
from stage_captions import StageCaptioner
from stages import StageGenerator


def load_sprites(work: Path) -> Sprites:
    """Open the sprites of `sprites.py` as a memory map."""
    pixels = np.load(work / "sprites.npy", mmap_mode="r")
    return Sprites(pixels, json.loads((work / "sprites.json").read_text()))


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """Convert a scene to JSON values. The file format has the key `colour` for `Thing.color`, the last field."""
    data = asdict(scene)
    for thing in data["things"]:
        thing["colour"] = thing.pop("color")
    return data


def scene_from_json(data: dict[str, Any]) -> Scene:
    """Convert JSON values of `scene_to_json` to a scene."""
    things = tuple(
        Thing(thing["concept"], thing["style"], thing["x"], thing["y"], thing["size"], thing["colour"])
        for thing in data["things"]
    )
    place = tuple(data["place"]) if data["place"] else None
    return Scene(data["kind"], things, data["background"], data["seed"], place, data.get("relation", ""))


def render_scenes(scenes: list[Scene], work: Path, side: int) -> np.ndarray:
    """Render scenes: uint8 of shape (scenes, side, side, 3)."""
    sprites = load_sprites(work)
    return np.stack([render_scene(scene, sprites, side) for scene in scenes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--captions", type=int, default=20, help="captions per scene")
    parser.add_argument(
        "--filler-captions", "--wrapped", type=int, default=6, help="captions per scene with filler words"
    )
    parser.add_argument("--focus", type=Path, help="use only these concepts of the core, see focus.txt")
    parser.add_argument("--kinds", help='fractions of the kinds of scenes, such as {"pair": 1.0}')
    parser.add_argument("--side", type=int, default=64, help="pixels per side")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    concepts = read_concepts(options.data, options.work)
    generator = StageGenerator(concepts, load_sprites(options.work), options.seed)
    if options.focus:
        generator.focus(read_focus(options.focus))
    if options.kinds:
        kinds = json.loads(options.kinds)
        generator.kinds = {"color" if kind == "colour" else kind: fraction for kind, fraction in kinds.items()}
    scenes = [generator.scene() for _ in range(options.scenes)]
    captioner = StageCaptioner(concepts, options.seed + 1)
    captions = [[captioner.caption(scene) for _ in range(options.captions)] for scene in scenes]
    plain = max(0, options.captions - options.filler_captions)
    for scene_captions in captions:
        scene_captions[plain:] = [captioner.with_fillers(text) for text in scene_captions[plain:]]
    (options.work / "scenes.json").write_text(json.dumps([scene_to_json(scene) for scene in scenes]))
    (options.work / "captions.json").write_text(json.dumps(captions))
    side = options.side
    parts = [scenes[i : i + 500] for i in range(0, len(scenes), 500)]
    images = np.lib.format.open_memmap(options.work / "scenes.npy", "w+", np.uint8, (len(scenes), side, side, 3))
    with ProcessPoolExecutor() as pool:
        done = 0
        for part in pool.map(partial(render_scenes, work=options.work, side=side), parts):
            images[done : done + len(part)] = part
            done += len(part)
    images.flush()
    print(f"{done} scenes rendered")


if __name__ == "__main__":
    main()
