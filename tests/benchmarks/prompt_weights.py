"""Measure the effect of prompt weights with the bundled model, and write the section `prompt_weights` of `RESULTS.md`.

    python tests/benchmarks/prompt_weights.py [SEEDS]

Generates each prompt with each weight, each rule of `--prompt-weights` and the same SEEDS (6) seeds. Two measures: the
share of the color of an object that has the weighted hue, and the score of `artgen anomaly --prompt` for the prompt
without weights. Also writes the sheet `docs/images/prompt-weights.png`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import results
from PIL import Image

from artgen import GeneratedImage, Txt2Img, generate_all
from artgen.engine.anomaly.detector import AnomalyDetector
from artgen.events import no_op
from artgen.images.contact_sheet import Cell, ContactSheet, render_sheet
from artgen.jobs.anomaly import Anomaly, prepare_anomaly_job

WEIGHTS = (0.5, 0.75, 1.0, 1.25, 1.5)
RULES = ("a1111", "comfy")
STEPS = 12
PROMPTS = {
    "a (red:{}) and yellow car": "red",
    "a (blue:{}) house": "blue",
    "a (red:{}) car": "red",
    "a (green:{}) fish": "green",
}
"""Prompt -> name of the hue of the weighted word."""
HUES = {"red": 0.0, "green": 1 / 3, "blue": 2 / 3}
MAX_HUE_DISTANCE = 1 / 12
"""30 degrees."""
MIN_OBJECT_LEVELS = 40
"""A pixel belongs to the object if it differs from white by more than this number of gray levels."""
SCORED = {"a (blue:{}) house": "a blue house", "a (red:{}) and yellow car": "a red car"}
"""Prompt -> text that describes a normal image for `artgen anomaly`."""
SCORED_WEIGHTS = (0.5, 1.0, 1.5)
SHEET_SEED = 3
SHEET_ROWS = {
    "a (red:W) and yellow car, a1111": [(f"a (red:{w}) and yellow car", "a1111", f"{w:g}") for w in WEIGHTS],
    "the same, comfy": [(f"a (red:{w}) and yellow car", "comfy", f"{w:g}") for w in WEIGHTS],
    "a (blue:W) house, a1111": [(f"a (blue:{w}) house", "a1111", f"{w:g}") for w in WEIGHTS],
    "a house AND a tree :W": [(f"a house AND a tree :{w}", "a1111", f"{w:g}") for w in (0.0, 0.3, 0.6, 1.0, 1.5)],
    "a [red:blue:W] car": [(f"a [red:blue:{w}] car", "a1111", f"{w:g}") for w in (0.05, 0.25, 0.5, 0.7, 0.9)],
}
"""Label of a row -> prompt, rule and label of each cell."""
SHEET = Path(__file__).parents[2] / "docs" / "images" / "prompt-weights.png"
SHEET_CELL_PX = 112
TITLE = """## `prompt_weights.py`: the effect of prompt weights

Share of the color of the object that is within 30 degrees of the weighted hue, weighted by saturation and value; mean
and standard deviation over the seeds. The last columns count the seeds for which the share changes in the expected
direction."""
SCORE_TITLE = """The score of `artgen anomaly --method latent --prompt TEXT` of these images (rule a1111): the model's
log-likelihood ratio without and with the text. A lower score means that the text describes the image better."""


def color_share(image: Image.Image, color: str) -> float:
    """Return the share of the color of the object within 30 degrees of a hue, weighted by saturation and value."""
    hsv = np.asarray(image.convert("HSV"), np.float32) / 255
    is_object = (255 - np.asarray(image).astype(int)).max(axis=2) > MIN_OBJECT_LEVELS
    amount = hsv[..., 1] * hsv[..., 2] * is_object
    distance = np.abs((hsv[..., 0] - HUES[color] + 0.5) % 1 - 0.5)
    return float((amount * (distance < MAX_HUE_DISTANCE)).sum() / max(float(amount.sum()), 1e-6))


def images_of(prompt: str, rule: str, seeds: Sequence[int]) -> list[Image.Image]:
    """Generate one image per seed with the bundled model, in one batch."""
    requests = [
        Txt2Img(prompt=prompt, model="tiny", seed=seed, steps=STEPS, prompt_weights=rule, device="cpu")
        for seed in seeds
    ]
    outcomes = generate_all(requests, batch_size=len(requests))
    return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]


def generate_images(seeds: Sequence[int]) -> dict[tuple[str, str, float], list[Image.Image]]:
    """Return the images of each prompt, rule and weight. Both rules give the same image for the weight 1."""
    images: dict[tuple[str, str, float], list[Image.Image]] = {}
    for prompt in PROMPTS:
        for rule in RULES:
            for weight in WEIGHTS:
                earlier = images.get((prompt, RULES[0], weight)) if weight == 1 else None
                images[prompt, rule, weight] = earlier or images_of(prompt.format(weight), rule, seeds)
                print(prompt, rule, weight, flush=True)
    return images


def share_table(images: dict[tuple[str, str, float], list[Image.Image]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the table of the color shares and its numbers."""
    rows, data = [], []
    for prompt, color in PROMPTS.items():
        for rule in RULES:
            shares = {w: [color_share(image, color) for image in images[prompt, rule, w]] for w in WEIGHTS}
            cells = [f"{np.mean(shares[w]):.2f} ± {np.std(shares[w], ddof=1):.2f}" for w in WEIGHTS]
            rising = sum(high > low for low, high in zip(shares[1.0], shares[1.5], strict=True))
            falling = sum(low < high for low, high in zip(shares[0.5], shares[1.0], strict=True))
            count = len(shares[1.0])
            rows.append(
                f"| `{prompt.format('W')}` | {rule} | {' | '.join(cells)} | {falling} of {count} "
                f"| {rising} of {count} |"
            )
            data.append({"prompt": prompt, "rule": rule, **_summary(shares, 2), "less": falling, "more": rising})
    names = " | ".join(f"W = {w:g}" for w in WEIGHTS)
    head = [f"| prompt | rule | {names} | less at 0.5 | more at 1.5 |", "|---|---|" + "---|" * (len(WEIGHTS) + 2)]
    return head + rows, data


def score_table(images: dict[tuple[str, str, float], list[Image.Image]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the table of the scores of `artgen anomaly --prompt` and its numbers."""
    rows, data = [], []
    for prompt, text in SCORED.items():
        request = Anomaly(method="latent", prompt=text, model="tiny", device="cpu", noise_samples=1)
        detector = AnomalyDetector(prepare_anomaly_job(request), no_op)
        scores = {weight: _scores(detector, images[prompt, "a1111", weight]) for weight in SCORED_WEIGHTS}
        cells = [f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" for values in scores.values()]
        better = sum(high < low for low, high in zip(scores[0.5], scores[1.5], strict=True))
        rows.append(f"| `{prompt.format('W')}` | {text} | {' | '.join(cells)} | {better} of {len(scores[1.0])} |")
        data.append({"prompt": prompt, "text": text, **_summary(scores, 3), "lower": better})
    names = " | ".join(f"W = {w:g}" for w in SCORED_WEIGHTS)
    head = [f"| prompt | text | {names} | lower at 1.5 than at 0.5 |", "|---|---|" + "---|" * (len(SCORED_WEIGHTS) + 1)]
    return head + rows, data


def _summary(values: Mapping[float, Sequence[float]], digits: int) -> dict[str, dict[str, float]]:
    """Return the mean and the standard deviation at each weight, rounded."""
    return {
        "mean": {f"{weight:g}": round(float(np.mean(each)), digits) for weight, each in values.items()},
        "deviation": {f"{weight:g}": round(float(np.std(each, ddof=1)), digits) for weight, each in values.items()},
    }


def _scores(detector: AnomalyDetector, images: Sequence[Image.Image]) -> list[float]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        found = []
        for image in images:
            image.save(path)
            found.append(detector.score(path, None).score)
    return found


def save_sheet() -> None:
    """Write the sheet of `SHEET_ROWS`."""
    rows = [
        [Cell(None, label, images_of(prompt, rule, [SHEET_SEED])[0]) for prompt, rule, label in row]
        for row in SHEET_ROWS.values()
    ]
    sheet = render_sheet(ContactSheet(rows, row_labels=tuple(SHEET_ROWS)), cell_px=SHEET_CELL_PX)
    sheet.quantize(256, dither=Image.Dither.NONE).save(SHEET, optimize=True)


def main() -> None:
    """Run the measurements."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
    images = generate_images(seeds)
    shares, share_data = share_table(images)
    print("\n".join(shares), flush=True)
    scores, score_data = score_table(images)
    text = [TITLE, f"\n{results.today()}, {results.machine()}, {STEPS} steps, {len(seeds)} seeds.\n", *shares]
    text += ["", SCORE_TITLE, "", *scores]
    results.write("prompt_weights", "\n".join(text), {"shares": share_data, "scores": score_data})
    save_sheet()


if __name__ == "__main__":
    main()
