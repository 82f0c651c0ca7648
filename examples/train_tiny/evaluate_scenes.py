"""Evaluate the scenes of an exported model, and write a sheet of 24 prompts of first-time users.

A classifier of landscapes (`scene_classifier.py`) that the generator never uses names the kind of each image. Writes
`scenes.json` and `scene_sheet.png` to `--out`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from concept_network import load_classifier, probabilities
from concepts import IMAGE_COUNT_KEY, read_concepts
from diffusers import StableDiffusionPipeline
from landscape_kinds import KINDS
from render import load_sprites
from snapshot import generate_images, tile
from stage_captions import NOUNS, StageCaptioner
from stages import StageGenerator

SHEET = (
    "sunset over the ocean", "a misty forest at dawn", "a mountain lake with reflections", "a cabin in the snow",
    "portrait of a woman with freckles", "portrait of an old man with a beard", "two dogs and a cat",
    "abstract shapes", "a medieval castle", "a red sports car", "a cup of coffee on a table", "a cat wearing a hat",
    "an astronaut riding a horse", "a golden retriever in a garden", "a cyberpunk city at night", "a starry night",
    "a samurai in the rain", "a robot playing the guitar", "a dragon flying over mountains", "a bowl of fruit",
    "a hummingbird next to a flower", "a spaceship above a desert", "a coral reef under water", "a cozy living room",
)  # fmt: skip
UNSEEN_PHRASES = ("a postcard of {}", "my favorite view: {}", "wallpaper, {}, highly detailed", "let me see {}, please")


def scene_prompts(captioner: StageCaptioner, generator: StageGenerator, per_kind: int) -> dict[str, list[str]]:
    """Return prompts for each measurement, `per_kind` for each kind of landscape in the order of `KINDS`.

    "plain" prompts are the nouns of a kind. "captions" are new captions with times of day and weather. "unseen
    phrasing" puts the nouns into phrases that are not in the captions of the training.
    """
    plain = [NOUNS[kind][i % len(NOUNS[kind])] for kind in KINDS for i in range(per_kind)]
    captions = [captioner.landscape(generator.landscape((kind,))) for kind in KINDS for _ in range(per_kind)]
    unseen = [UNSEEN_PHRASES[i % len(UNSEEN_PHRASES)].format(noun) for i, noun in enumerate(plain)]
    return {"plain": plain, "captions": captions, "unseen phrasing": unseen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--model", type=Path, default=Path("data/train_tiny/model"))
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/evaluation"))
    parser.add_argument("--per-kind", type=int, default=10, help="prompts for each kind and measurement")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    images = generate_images(pipeline, list(SHEET), [0] * len(SHEET), 30, options.guidance)
    tile(images, 6).quantize(256).save(options.out / "scene_sheet.png", optimize=True)
    path = options.work / "scene_classifier.pt"
    classifier = load_classifier(path)
    concepts = read_concepts(options.data, options.work)
    generator = StageGenerator(concepts, load_sprites(options.work), 99)
    truth = np.repeat(np.arange(len(KINDS)), options.per_kind)
    figures: dict[str, object] = {"judge on real renders": torch.load(path, weights_only=False)["figures"]}
    for name, prompts in scene_prompts(StageCaptioner(concepts, 98), generator, options.per_kind).items():
        images = generate_images(pipeline, prompts, list(range(len(prompts))), options.steps, options.guidance)
        found = probabilities(classifier, np.stack([np.asarray(image) for image in images])).argmax(1).numpy()
        by_kind = (found == truth).reshape(len(KINDS), -1).mean(1).tolist()
        figures[name] = {
            "top 1": round(float((found == truth).mean()), 4),
            IMAGE_COUNT_KEY: len(prompts),
            "kinds": dict(zip(KINDS, by_kind, strict=True)),
        }
        print(name, json.dumps(figures[name]), flush=True)
    (options.out / "scenes.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
