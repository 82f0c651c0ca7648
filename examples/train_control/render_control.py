"""Render scenes with captions and control maps, and encode them once with the bundled model.

Writes to `--work`: `latents.npy` (float16, (scenes, 16, 8, 8)), `maps.npy` (packed bits, (scenes, 4, 2048)),
`embeddings.npy` (float16, (scenes, captions, tokens, 256)), `empty.npy` (the embedding of the empty prompt),
`scenes.json` and `captions.json`.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from captions import Captioner
from concepts import read_concepts, read_focus
from encode import encode
from render import load_sprites, render_scenes, scene_to_json
from scene_generator import SceneGenerator
from scenes import Scene
from strokes import training_maps

SIDE_PX = 128
FOCUS = Path(__file__).parents[1] / "train_tiny" / "focus.txt"
BUNDLED = Path(__file__).parents[2] / "artgen" / "assets" / "tiny"


def vary_placement(scene: Scene, random: np.random.Generator) -> Scene:
    """Move and scale the object of a scene with one object. Sketches are not always in the middle."""
    if scene.kind != "one":
        return scene
    size = random.uniform(0.45, 0.95)
    x, y = random.uniform(size / 2, 1 - size / 2, 2)
    return replace(scene, things=(replace(scene.things[0], x=float(x), y=float(y), size=float(size)),))


def mirror(scenes: list[Scene], images: np.ndarray, random: np.random.Generator) -> None:
    """Mirror half of the images in place. Images whose captions can contain left or right are unchanged."""
    for i, scene in enumerate(scenes):
        if scene.kind in {"one", "count"} and random.random() < 0.5:
            images[i] = images[i, :, ::-1].copy()


def render_part(part: tuple[int, list[Scene]], work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Render scenes and their control maps. `part` is a seed and the scenes."""
    seed, scenes = part
    images = render_scenes(scenes, work, SIDE_PX)
    random = np.random.default_rng(seed)
    mirror(scenes, images, random)
    maps = np.stack([training_maps(image, random) for image in images])
    return images, np.packbits(maps.reshape(*maps.shape[:2], -1), axis=-1)


@torch.no_grad()
def embed(pipeline: StableDiffusionPipeline, prompts: list[str]) -> np.ndarray:
    """Return the text embeddings of prompts, float16 (prompts, tokens, width)."""
    length = pipeline.tokenizer.model_max_length
    tokens = pipeline.tokenizer(
        prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    ).input_ids
    parts = [pipeline.text_encoder(tokens[i : i + 256])[0].half() for i in range(0, len(tokens), 256)]
    embeddings: np.ndarray = torch.cat(parts).numpy()
    return embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_control"))
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model that the net controls")
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--captions", type=int, default=3, help="captions per scene")
    parser.add_argument("--varied", type=float, default=0.6, help="fraction of scenes with a random size and position")
    parser.add_argument("--focus", type=Path, default=FOCUS)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    concepts = read_concepts(options.data, options.work)
    generator = SceneGenerator(concepts, load_sprites(options.work), options.seed)
    generator.focus(read_focus(options.focus))
    random = np.random.default_rng(options.seed)
    scenes = [generator.scene() for _ in range(options.scenes)]
    varied = random.random(options.scenes) < options.varied
    scenes = [vary_placement(s, random) if v else s for s, v in zip(scenes, varied, strict=True)]
    captioner = Captioner(concepts, options.seed + 1)
    captions = [[captioner.caption(scene) for _ in range(options.captions)] for scene in scenes]
    (options.work / "scenes.json").write_text(json.dumps([scene_to_json(scene) for scene in scenes]))
    (options.work / "captions.json").write_text(json.dumps(captions))
    pipeline = StableDiffusionPipeline.from_pretrained(options.model)
    parts = [(options.seed + i, scenes[i : i + 250]) for i in range(0, len(scenes), 250)]
    latents, maps = [], []
    with ProcessPoolExecutor(options.threads) as pool:
        for images, packed in pool.map(partial(render_part, work=options.work), parts):
            latents.append(encode(pipeline.vae, images, "cpu").half().numpy())
            maps.append(packed)
            print(sum(map(len, maps)), "scenes", flush=True)
    np.save(options.work / "latents.npy", np.concatenate(latents))
    np.save(options.work / "maps.npy", np.concatenate(maps))
    flat = embed(pipeline, [text for texts in captions for text in texts])
    np.save(options.work / "embeddings.npy", flat.reshape(len(scenes), options.captions, *flat.shape[1:]))
    np.save(options.work / "empty.npy", embed(pipeline, [""])[0])


if __name__ == "__main__":
    main()
