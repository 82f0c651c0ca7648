"""Measure the result of a LoRA of linocuts: the style with its trigger, and the effect on all other prompts.

    python linocuts.py --out data/train_style
    python generated_images.py --out data/train_style
    artgen train data/train_style/images -o data/train_style/linoprint.safetensors ... (see README.md)
    python measure_style.py --out data/train_style

Missing images are generated with `artgen batch`. Writes `style.json` and `style.png`. With `--concepts`, the folder of
a finished `examples/train_tiny`, its classifier recognizes the concepts of other prompts, with and without the LoRA.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from generated_images import ImageGenerator, generate_varied_images, nouns
from linocuts import TRIGGER
from PIL import Image
from style_classifier import StyleClassifier

from artgen.images import contact_sheet

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from concepts import read_core, with_article

SHOWN_ON_SHEET = 8


def load_images(folder: Path) -> list[Image.Image]:
    """Return the linocuts of a folder."""
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]


def measure_style(generator: ImageGenerator, count: int) -> tuple[dict[str, Any], list[list[Image.Image]]]:
    """Return the fractions of images that are classified as linocuts, and the images without and with the LoRA."""
    out = generator.folder
    style_classifier = StyleClassifier.from_images(
        load_images(out / "images" / TRIGGER), generate_varied_images(generator, "known", 96, first=3)
    )
    held_out_generated = generate_varied_images(generator, "known-held-out", 64, first=5)
    held_out = load_images(out / "held-out")
    prompts = [f"{TRIGGER}, {with_article(noun)}" for noun in nouns(count)]
    generated = [
        generator.generate(f"trigger-{lora}", prompts, with_lora=lora == "with") for lora in ("without", "with")
    ]
    without, with_lora = (round(float(style_classifier.recognized(images).mean()), 4) for images in generated)
    figures = {
        "images": count,
        "recognized with the LoRA": with_lora,
        "recognized without": without,
        "classifier: held-out linocuts recognized": _count(style_classifier, held_out),
        "classifier: generated images classified as linocuts": _count(style_classifier, held_out_generated),
    }
    return figures, generated


def _count(style_classifier: StyleClassifier, images: list[Image.Image]) -> str:
    """Return the number of images that are classified as linocuts: `3 of 8`."""
    return f"{style_classifier.recognized(images).sum()} of {len(images)}"


def measure_concepts(generator: ImageGenerator, work: Path, count: int) -> dict[str, float]:
    """Return the accuracy of other prompts, without and with the LoRA, measured with the classifier of the recipe."""
    import numpy as np
    from concept_network import load_classifier, probabilities

    concept_classifier, core = load_classifier(work / "concept_classifier.pt"), read_core()
    classes = [set(core[name][0]) if name in core else {name.replace("-", " ")} for name in concept_classifier.names]
    expected = nouns(count)
    results = {}
    for lora in ("without", "with"):
        images = generator.generate(
            f"others-{lora}", [with_article(noun) for noun in expected], with_lora=lora == "with"
        )
        top = (
            probabilities(concept_classifier, np.stack([np.asarray(each) for each in images])).topk(5).indices.tolist()
        )
        correct = [[noun in classes[i] for i in row] for noun, row in zip(expected, top, strict=True)]
        results[f"first, {lora} the LoRA"] = round(float(np.mean([row[0] for row in correct])), 4)
        results[f"among five, {lora} the LoRA"] = round(float(np.mean([any(row) for row in correct])), 4)
    results["kept, first"] = round(results["first, with the LoRA"] / results["first, without the LoRA"], 4)
    results["kept, among five"] = round(
        results["among five, with the LoRA"] / results["among five, without the LoRA"], 4
    )
    return {"prompts": float(count), **results}


def sheet(generator: ImageGenerator, generated: list[list[Image.Image]], count: int) -> Image.Image:
    """Return a sheet of linocuts and of images of the same prompts, without and with the LoRA."""
    places = [i * count // SHOWN_ON_SHEET for i in range(SHOWN_ON_SHEET)]
    names = [nouns(count)[i] for i in places]
    training_images = load_images(generator.folder / "images" / TRIGGER)[::2]
    rows = [[contact_sheet.Cell(None, "", image) for image in training_images[:SHOWN_ON_SHEET]]]
    rows += [[contact_sheet.Cell(None, "", images[i]) for i in places] for images in generated]
    rows[-1] = [contact_sheet.Cell(None, name, cell.image) for name, cell in zip(names, rows[-1], strict=True)]
    sides = ("training images", "without LoRA", "with LoRA")
    return contact_sheet.render_sheet(contact_sheet.ContactSheet(rows, row_labels=sides), cell_px=128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/train_style"))
    parser.add_argument("--lora", type=Path, help="LoRA file [linoprint.safetensors in --out]")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--others", type=int, default=80, help="number of prompts without the trigger")
    parser.add_argument(
        "--concepts", type=Path, help="work folder of examples/train_tiny that contains concept_classifier.pt"
    )
    options = parser.parse_args()
    generator = ImageGenerator(options.out, str(options.lora or options.out / f"{TRIGGER}.safetensors"))
    figures, generated = measure_style(generator, options.images)
    results: dict[str, Any] = {"style": figures}
    if options.concepts:
        results["other prompts"] = measure_concepts(generator, options.concepts, options.others)
    (options.out / "style.json").write_text(json.dumps(results, indent=2) + "\n")
    sheet(generator, generated, options.images).save(options.out / "style.png", optimize=True)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
