"""Measure how often a judge recognizes the best of 8 images, compared with a random image.

The judge is the classifier of `examples/train_tiny`, which the model never uses. `--kind words` measures words of which
the model has few training images, in several contexts, such as "a chestnut on grass": an image is right if the
classifier names the concept. `--kind pairs` measures pairs, such as "a fox to the left of a mushroom": an image is
right if the classifier names the first concept among five for the left half, and the second one for the right half.
Prompts that the model always or never satisfies are not informative, so a prompt is used if 1 to 3 of its first 4
images are right. The choice does not depend on the scores.

`--kind settings` measures trained concepts in a setting, such as "a fox at sunset": an image is right if the classifier
names the concept. With guidance nearly all of these images are right, so this kind needs `--guidance-scale 1`.

    python tests/benchmarks/best_of.py --work data/train_tiny --kind settings --guidance-scale 1 --candidates 370

`--work` needs the files of `fetch.py`, `sprites.py`, `render.py` and `concept_classifier.py` of `examples/train_tiny`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import artgen

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_tiny"
sys.path.insert(0, str(EXAMPLE))

WORDS = {
    "artist": "artist", "bank": "bank", "chestnut": "chestnut", "colada": "pineapple", "compass": "compass",
    "custard": "custard", "ferry": "ferry", "neutral face": "neutral face", "notebook": "notebook", "oreo": "cookie",
    "plush": "teddy bear", "potted plant": "potted plant", "prince": "prince", "propose": "ring",
    "shopping cart": "shopping cart", "sir": "man", "suv": "suv", "symphony": "violin", "tada": "party popper",
    "teenager": "boy", "timepiece": "watch", "umbrella": "umbrella", "wax": "candle",
}  # fmt: skip
"""Words of which the model has few training images, and the nouns of their concepts."""
CONTEXTS = (
    "{} under water", "a photo of {}", "a big {word}", "{} at night", "{} on a blue background", "a green {word}",
    "{} at sunset", "the best {word} in the world", "{} in the desert", "an oil painting of {}",
    "a cute {word}", "{} on a pink background", "a drawing of {}",
)  # fmt: skip
SETTINGS = ("in the snow", "at night", "on grass", "in the desert", "under water", "at sunset", "in the sky")
NUM_CANDIDATES = 8
TARGET_RATE = 0.55
FIRST_SEED = 100


class Judge:
    """Decide whether an image shows the object of a prompt, or its two objects on their sides."""

    def __init__(self, work: Path, data: Path) -> None:
        from concept_network import load_classifier
        from concepts import read_concepts, read_focus

        concepts = read_concepts(data, work)
        self._classifier = load_classifier(work / "concept_classifier.pt")
        self._nouns_of_class = [set(concepts[name].nouns) for name in self._classifier.names]
        focus = read_focus(EXAMPLE / "focus.txt")
        trained = [concepts[name] for name in self._classifier.names if name in focus]
        self.nouns = list(dict.fromkeys(concept.nouns[0] for concept in trained))

    def is_right(self, nouns: tuple[str, ...], image: np.ndarray) -> bool:
        """Return whether an image (H, W, 3) shows its object, or both halves show their objects."""
        from concept_network import probabilities
        from prompt_adherence import halves

        parts, count = (np.stack(halves(image)), 5) if len(nouns) == 2 else (image[None], 1)
        top = probabilities(self._classifier, parts).topk(count).indices.tolist()
        return all(any(noun in self._nouns_of_class[i] for i in row) for noun, row in zip(nouns, top, strict=True))


def word_prompts() -> dict[str, tuple[str, ...]]:
    """Return prompts and the nouns of their concepts."""
    from concepts import with_article

    return {
        context.format(with_article(word), word=word): (noun,) for context in CONTEXTS for word, noun in WORDS.items()
    }


def pair_prompts(nouns: list[str], count: int) -> dict[str, tuple[str, ...]]:
    """Return prompts and their pairs of nouns."""
    from concepts import with_article

    random = np.random.default_rng(5)
    pairs = ([nouns[i] for i in random.choice(len(nouns), 2, replace=False)] for _ in range(count))
    return {f"{with_article(a)} to the left of {with_article(b)}": (a, b) for a, b in pairs}


def setting_prompts(nouns: list[str], count: int) -> dict[str, tuple[str, ...]]:
    """Return prompts and the nouns of their concepts."""
    from concepts import with_article

    random = np.random.default_rng(7)
    chosen = ((nouns[random.integers(len(nouns))], SETTINGS[random.integers(len(SETTINGS))]) for _ in range(count))
    return {f"{with_article(noun)} {setting}": (noun,) for noun, setting in chosen}


def generate(prompts: list[str], seeds: range, images: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
    """Add the images of prompts and seeds, uint8 (n, H, W, 3), that are missing."""
    for prompt in prompts:
        done = len(images.get(prompt, ()))
        if missing := [seed for seed in seeds if seed >= FIRST_SEED + done]:
            options: dict[str, Any] = {
                "seed": missing,
                "batch_size": len(missing),
                "steps": 20,
                "model": "tiny",
            } | settings
            new = np.stack([np.asarray(each.image) for each in artgen.txt2img(prompt, **options)])
            images[prompt] = np.concatenate([images[prompt], new]) if done else new


def image_scores(prompt: str, images: np.ndarray) -> list[float]:
    """Return the score of each image."""
    ranked = artgen.rank([Image.fromarray(each) for each in images], prompt, model="tiny")
    return [each.score for each in sorted(ranked, key=lambda each: each.index)]


def summary(right: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return the fraction of right images: all, and the best of the first 2, 4 and 8 of each prompt."""
    rows = np.arange(len(right))
    result: dict[str, Any] = {"prompts": len(right), "random image": round(float(right.mean()), 3)}
    for count in (2, 4, NUM_CANDIDATES):
        chosen = right[rows, scores[:, :count].argmax(1)]
        result[f"best of {count}"] = round(float(chosen.mean()), 3)
    gain = chosen - right.mean(1)
    result["gain of best of 8"] = round(float(gain.mean()), 3)
    result["standard error of the gain"] = round(float(gain.std(ddof=1) / len(right) ** 0.5), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--data", type=Path, help="[WORK/raw]")
    parser.add_argument("--kind", choices=("words", "pairs", "settings"), default="settings")
    parser.add_argument("--guidance-scale", type=float, help="[default of the model]")
    parser.add_argument("--candidates", type=int, default=130, help="number of pairs or settings before the selection")
    parser.add_argument("--prompts", type=int, default=50, help="number of prompts of the measurement")
    parser.add_argument("--images", type=Path, default=Path("best_of.npz"), help="file of the generated images")
    parser.add_argument("--out", type=Path, default=Path("best_of.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = Judge(options.work, options.data or options.work / "raw")
    images = dict(np.load(options.images)) if options.images.exists() else {}
    settings = {} if options.guidance_scale is None else {"guidance_scale": options.guidance_scale}
    random_prompts = {"pairs": pair_prompts, "settings": setting_prompts}.get(options.kind)
    nouns = random_prompts(judge.nouns, options.candidates) if random_prompts else word_prompts()
    generate(list(nouns), range(FIRST_SEED, FIRST_SEED + 4), images, settings)
    first = {prompt: [judge.is_right(names, each) for each in images[prompt][:4]] for prompt, names in nouns.items()}
    mixed = [prompt for prompt in nouns if 0 < sum(first[prompt]) < 4]
    generate(mixed, range(FIRST_SEED, FIRST_SEED + NUM_CANDIDATES), images, settings)
    np.savez(options.images, **images)
    right = {prompt: [judge.is_right(nouns[prompt], each) for each in images[prompt]] for prompt in mixed}
    mixed.sort(key=lambda prompt: abs(np.mean(right[prompt]) - TARGET_RATE))
    chosen = mixed[: options.prompts]
    scores = {prompt: image_scores(prompt, images[prompt]) for prompt in chosen}
    table = {prompt: {"right": right[prompt], "scores": scores[prompt]} for prompt in chosen}
    result = summary(np.array([right[each] for each in chosen]), np.array([scores[each] for each in chosen]))
    options.out.write_text(json.dumps({"summary": result, "prompts": table}, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
