"""Write the model card (`README.md` of the exported folder) from the records and measurements.

The numbers are from `evaluation.json`, `provenance.json` and the counters of the checkpoints; missing measurements are
omitted. The evaluation and its contact sheet are copied next to the card and added to `SHA256SUMS`.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from bias_section import bias_section
from concepts import IMAGE_COUNT_KEY, with_article
from export import sha256_sums

HEADER = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
language: en
tags: [text-to-image, diffusers, stable-diffusion, vector-art]
---

# tiny: artgen's bundled model

A text-to-image latent diffusion model for small images in the style of vector art, trained from scratch on openly
licensed icons. It is part of artgen, so that the first command works offline and tests use a real model. The folder is
a standard Stable Diffusion folder: `StableDiffusionPipeline.from_pretrained(folder)` loads it.

![64 prompts, seed 0, unselected](contact_sheet.png)

The contact sheet shows the 64 prompts of `examples/train_tiny/evaluate.py` in order, with seed 0 and unselected. It has
256 colors to keep the file small.
"""

USE = """
## Intended use

Use the model to try artgen, for teaching, for tests, and for small images of everyday objects: "a red fox in the snow",
"a purple apple", "three fish", "a small cat at the top left". Prompts are in English and have at most 30 tokens; longer
prompts are truncated. Do not use the model for photographs, for text in images, for portraits of real people, or where
a wrong image causes harm.
"""

LIMITS = """- Images are soft: fine details (eyes, spokes, letters) are blurred, most of all in small objects.
- img2img and inpainting simplify photographs, because the autoencoder was trained only on vector art.
- Icons have cultural meaning: many images follow the emoji conventions of two companies at the time of the data.
"""
ROWS = (
    ("taught", "70 %, 85 %"),
    ("others", "70 %, 85 %"),
    ("all", "70 %, 85 %"),
    ("unseen phrasing", "80 % of trained"),
    ("unknown words", "80 % of trained"),
    ("synonyms", "80 % of trained"),
)


def percent(value: float) -> str:
    """Format 0.8125 as 81 %."""
    return f"{100 * value:.0f} %"


def limits_section(evaluation: dict[str, Any], icons: int) -> str:
    """Describe the limits of the model. `icons` is the number of concepts with an icon."""
    lines = ["\n## Limits\n"]
    if concepts := evaluation.get("concepts"):
        num_trained = concepts["taught concepts"]
        lines.append(
            f"- The model was trained on {num_trained} everyday concepts (`examples/train_tiny/focus.txt`), and on few "
            f"images of {icons - num_trained:,} others. For an unknown noun, the image shows another object."
        )
        accuracies = {name: percent(concepts[name]["top 1"]) for name, _ in ROWS if name in concepts}
        if {"taught", "unseen phrasing", "unknown words", "synonyms"} <= set(accuracies):
            lines.append(
                f"- Unusual prompts reduce accuracy. Recognized trained concepts: {accuracies['taught']} with their "
                f"plain name, {accuracies['synonyms']} with a synonym, {accuracies['unseen phrasing']} in an unusual "
                f"phrase, {accuracies['unknown words']} among words that are in no training caption."
            )
        if failed := concepts["taught, among five on neither seed"]:
            names = ", ".join(failed).replace("-", " ")
            lines.append(f"- Trained concepts that are not recognized with either of two seeds: {names}.")
    if pair_score := evaluation.get("left and right"):
        both, right = percent(pair_score["both named among five"]), percent(pair_score["order right"])
        lines.append(
            f"- Prompts with two different concepts: both are recognized in {both} of images, in the order of the "
            f"prompt in {right}."
        )
    return "\n".join(lines) + "\n" + LIMITS


def data_section(provenance: dict[str, Any]) -> str:
    """Describe the data: sources with licenses and counts, and people among the icons."""
    lines = ["\n## Data\n", "| source | license | used | icons |", "|---|---|---|---|"]
    for source in provenance["sources"]:
        icons = source.get("icons used", "")
        name = f"`{source['package']}` {source['version']}"
        lines.append(f"| {name} ({source['author']}) | {source['licence']} | {source['taken']} | {icons} |")
    people = ", ".join(f"{name} {count}" for name, count in provenance["people among icons"].items())
    lines.append(
        f"\n{provenance['scenes']:,} scenes with {provenance['captions a scene']} captions each were composed from "
        f"these icons by rules. Hashes are in `provenance.json`, license texts in `LICENSES/`. "
        f"Excluded: {provenance['left out']}."
    )
    lines.append(
        f"\n**People.** Icons of people, classified by their names: {people}. Nearly all icons have the neutral "
        "yellow of emoji, so people in generated images are yellow."
    )
    return "\n".join(lines) + "\n"


def people_section(tallies: dict[str, dict[str, int]]) -> str:
    """Describe the generated images of people for prompts without gender."""
    seeds = max(sum(tally.values()) for tally in tallies.values())
    lines = [
        f"Prompts without gender, {seeds} seeds each, classified as the man's, the woman's or the neutral icon. Images "
        "of people are soft, so the classifier uses hair and clothes more than faces; only the neutral icons are "
        "frequent in the training data.\n",
        "| prompt | man | woman | neutral |",
        "|---|---|---|---|",
    ]
    for noun, tally in tallies.items():
        lines.append(f"| {with_article(noun)} | {tally['man']} | {tally['woman']} | {tally['neutral']} |")
    return "\n".join(lines) + "\n"


def training_section(options: argparse.Namespace) -> str:
    """Describe sizes, samples and minutes, from the checkpoints and the options."""
    work, before, batch = options.work, options.before, options.batch
    model = torch.load(work / "text_to_image.pt", map_location="cpu", weights_only=False)
    autoencoder = torch.load(work / "ae.pt", map_location="cpu", weights_only=False)
    million = sum(value.numel() for value in model["average"]) / 1e6
    text = (
        "\n## Training\n\nHardware: two CPU cores, shared with other work. "
        f"Autoencoder (factor 8, 16 channels): {autoencoder['seen']:,} crops and images, "
        f"{autoencoder['spent'] / 60:.0f} minutes. Text encoder and UNet ({million:.1f} million parameters, from "
        f"scratch): {before + model['step']:,} steps with batch size {batch}, {(before + model['step']) * batch:,} "
        "samples"
    )
    if before:
        text += (
            f"; the first {before * batch:,} samples cover all concepts, the others mostly the concepts of `focus.txt`"
        )
    text += f". {options.note} " if options.note else ". "
    if (work / "distilled.pt").exists():
        distillation = torch.load(work / "distilled.pt", map_location="cpu", weights_only=False)
        text += f"Distillation for synonyms and other phrases: {distillation['step']:,} steps with batch size {batch}. "
    for path in sorted(work.glob("upscale*.pt")):
        upscale = torch.load(path, map_location="cpu", weights_only=False)
        side = path.stem.removeprefix("upscale")
        text += f"Extension of the autoencoder to {side} px: {upscale['step']:,} steps with batch size 8, "
        text += f"{upscale['spent'] / 60:.0f} minutes. "
    return text + "The recipe is `examples/train_tiny/` in artgen's repository.\n"


def autoencoder_lines(work: Path, psnr: float | None) -> list[str]:
    """Describe the quality of the autoencoder on held-out renders."""
    if psnr is None:
        psnr = float((work / "ae.csv").read_text().split()[-1].split(",")[-1])
    lines = [f"| autoencoder, 64 px, held-out renders | {psnr:.1f} dB PSNR | 28 dB |"]
    for table in sorted(work.glob("upscale*.csv")):
        side = table.stem.removeprefix("upscale")
        _, _, _, decoded, around, _, edges = (float(cell) for cell in table.read_text().split()[-1].split(","))
        lines.append(f"| {side} px, decoded from smaller latents / round trip | {decoded:.1f} / {around:.1f} dB | |")
        lines.append(f"| {side} px, gradient at edges of decoded renders, relative to the renders | {edges:.2f} | |")
    return lines


def figures_section(evaluation: dict[str, Any], work: Path, psnr: float | None) -> str:
    """Return the table of measurements and goals."""
    steps, guidance = evaluation["steps"], evaluation["guidance"]
    head = f"\n## Evaluation\n\n{steps} steps in bfloat16, guidance scale {guidance:g}, unselected. "
    head += (
        "In brackets: the same metric on real renders. Background, color, count and position are measured on the "
        "trained concepts. Concepts are recognized by a small classifier of renders that was not used to train the "
        'model. In "unseen phrasing", single words are in training captions, but the phrases are not; in "unknown '
        'words", neither are.\n'
    )
    lines = [head, "| metric | result | goal |", "|---|---|---|", *autoencoder_lines(work, psnr)]
    if concepts := evaluation.get("concepts"):
        classifier = concepts["judge on real renders"]
        real = f"({percent(classifier['top 1'])}, {percent(classifier['top 5'])})"
        for name, goal in ROWS:
            if name not in concepts:
                continue
            score = concepts[name]
            group = "trained" if name == "taught" else name
            label = f"top-1, top-5 accuracy: {group}, {score[IMAGE_COUNT_KEY]} images"
            lines.append(f"| {label} | {percent(score['top 1'])}, {percent(score['top 5'])} {real} | {goal} |")
    for name, goal in (("background", "90 %"), ("object colour", "75 %"), ("count", "60 %")):
        if score := evaluation.get(name):
            result = f"{percent(score['right'])} ({percent(score['on real renders'])})"
            label = name.replace("colour", "color")
            lines.append(f"| {label} correct, {score[IMAGE_COUNT_KEY]} images | {result} | {goal} |")
    if pair_score := evaluation.get("left and right"):
        labels = {"order right": "order correct", "both named among five": "both in the top 5"}
        for key, label in labels.items():
            result = f"{percent(pair_score[key])} ({percent(pair_score[key + ' on real renders'])})"
            goal = "60 %" if key == "order right" else ""
            lines.append(f"| left and right: {label}, {pair_score[IMAGE_COUNT_KEY]} images | {result} | {goal} |")
    if speed := evaluation.get("speed"):
        lines.append(f"| 30 steps at native size after loading, two CPU cores | {speed['30 steps, s']} s | 3 s |")
        lines.append(f"| loading, without imports | {speed['loading, s']} s | 1 s |")
    text = "\n".join(lines) + "\n"
    if people := evaluation.get("people"):
        text += "\n" + people_section(people)
    return text


def similarity_section(path: Path) -> str:
    """Describe how near generated images are to training images, from the result of `examples/similar/compare.py`."""
    if not path.is_file():
        return ""
    measured = json.loads(path.read_text())
    generated, held_out = measured["generated"], measured["held-out"]
    lines = [
        f"\n## Similarity to training images\n\n`examples/similar/compare.py` compared {generated['images']} generated "
        f"images and {held_out['images']} held-out renders with {measured['training images']:,} training renders. The "
        "prompts of the generated images are the captions of the held-out renders. The score is the share of the "
        "contrast that the nearest training render explains after the best crop, mirroring and color change. A copy "
        "has the score 1. Held-out renders contain the icons of the training renders at other positions and sizes. "
        "Therefore many held-out renders equal a crop of a training render. A model that copies training images has "
        "scores near 1.\n",
        "| nearest training render | generated images | held-out renders |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {value} | {held_out[name]} |" for name, value in generated.items() if name != "images"]
    if note := measured.get("note"):
        lines.append(f"\n{note}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--evaluation", type=Path, default=Path("data/train_tiny/evaluation"))
    parser.add_argument("--before", type=int, default=0, help="steps trained without --focus")
    parser.add_argument("--batch", type=int, default=64, help="batch size of train.py")
    parser.add_argument("--note", default="", help="a sentence about the training")
    parser.add_argument("--psnr", type=float, help="PSNR of the autoencoder in dB [last value of ae.csv]")
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/model"))
    options = parser.parse_args()
    provenance = json.loads((options.out / "provenance.json").read_text())
    evaluation = json.loads((options.evaluation / "evaluation.json").read_text())
    icons = len({name for _, name in json.loads((options.work / "sprites.json").read_text())})
    audit = options.evaluation / "bias_audit.json"
    if audit.is_file():  # its table of people replaces the shorter one
        evaluation.pop("people", None)
    parts = (
        HEADER,
        USE,
        limits_section(evaluation, icons),
        data_section(provenance),
        training_section(options),
        figures_section(evaluation, options.work, options.psnr),
        bias_section(audit),
        similarity_section(options.evaluation / "similarity.json"),
    )
    (options.out / "README.md").write_text("".join(parts))
    for name in ("contact_sheet.png", "evaluation.json"):
        shutil.copyfile(options.evaluation / name, options.out / name)
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))


if __name__ == "__main__":
    main()
