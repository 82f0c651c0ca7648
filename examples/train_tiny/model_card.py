"""Write the model card (`README.md` of the exported folder) from the records and measurements.

The figures are from `evaluation.json`, `provenance.json` and the counters of the checkpoints; missing measurements are
omitted. The evaluation and its contact sheet are copied next to the card and added to `SHA256SUMS`.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from concepts import with_article
from export import sums

HEAD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
language: en
tags: [text-to-image, diffusers, stable-diffusion, vector-art]
---

# tiny: artgen's bundled model

A text-to-image latent diffusion model for small pictures in the manner of vector art, trained from nothing on openly
licensed drawings. It comes with artgen, so that the first command draws offline, and tests see real pictures. It is a
plain Stable Diffusion folder: `StableDiffusionPipeline.from_pretrained(folder)` loads it.

![64 prompts, seed 0, unselected](contact_sheet.png)

The sheet shows the 64 prompts of `examples/train_tiny/evaluate.py` in order, seed 0, unselected, in 256 colours to keep
the file small.
"""

USE = """
## Intended use

Trying artgen, teaching, tests, and small playful pictures of everyday things: "a red fox in the snow", "a purple
apple", "three fish", "a small cat at the top left". Prompts are English, at most 30 tokens; the rest is cut off.
Not for photographs, text in pictures, likenesses of persons, or anything where a wrong picture does harm.
"""

LIMITS = """- Pictures are soft: fine parts (eyes, spokes, letters) blur, small things most of all.
- Photographs given to img2img or inpainting become simplified: the autoencoder has seen vector art only.
- Icons carry meaning: many drawings follow the conventions of emoji, of two companies, of their years.
"""
ROWS = (
    ("taught", "70 %, 85 %"),
    ("others", "70 %, 85 %"),
    ("all", "70 %, 85 %"),
    ("unseen phrasing", "80 % of taught"),
    ("unknown words", "80 % of taught"),
    ("synonyms", "80 % of taught"),
)


def percent(value: float) -> str:
    """Format 0.8125 as 81 %."""
    return f"{100 * value:.0f} %"


def limits_section(found: dict[str, Any], icons: int) -> str:
    """Describe the limits of the model. `icons` is the number of concepts with a drawing."""
    lines = ["\n## Limits\n"]
    if concepts := found.get("concepts"):
        taught = concepts["taught concepts"]
        lines.append(
            f"- It was taught {taught} everyday things (`examples/train_tiny/focus.txt`); {icons - taught:,} others it "
            "has hardly seen. A noun it does not know draws something, not the thing."
        )
        named = {name: percent(concepts[name]["top 1"]) for name, _ in ROWS if name in concepts}
        if {"taught", "unseen phrasing", "unknown words", "synonyms"} <= set(named):
            lines.append(
                f"- Unusual words cost: named plainly, {named['taught']} of the taught things are recognised, by "
                f"a synonym {named['synonyms']}, in an unusual phrase {named['unseen phrasing']}, among words that no "
                f"training caption held {named['unknown words']}."
            )
        if failed := concepts["taught, among five on neither seed"]:
            lines.append(f"- Taught, but recognised with neither of two seeds: {', '.join(failed).replace('-', ' ')}.")
    if order := found.get("left and right"):
        both, right = percent(order["both named among five"]), percent(order["order right"])
        lines.append(
            f"- Asked for two different things, it draws both recognisably in {both} of pictures, in the order said in "
            f"{right}."
        )
    return "\n".join(lines) + "\n" + LIMITS


def data_section(record: dict[str, Any]) -> str:
    """Describe the data: sources with licenses and counts, and people among the icons."""
    lines = ["\n## Data\n", "| source | licence | taken | icons |", "|---|---|---|---|"]
    for source in record["sources"]:
        icons = source.get("icons used", "")
        name = f"`{source['package']}` {source['version']}"
        lines.append(f"| {name} ({source['author']}) | {source['licence']} | {source['taken']} | {icons} |")
    people = ", ".join(f"{name} {count}" for name, count in record["people among icons"].items())
    lines.append(
        f"\n{record['scenes']:,} scenes with {record['captions a scene']} captions each were composed from these icons "
        "by rule; hashes are in `provenance.json`, licence texts in `LICENSES/`. Left out: " + record["left out"] + "."
    )
    lines.append(
        f"\n**People.** Icons that show people, by what their names say: {people}. Nearly all have the neutral "
        "yellow of emoji, so people are drawn yellow."
    )
    return "\n".join(lines) + "\n"


def people_section(tallies: dict[str, dict[str, int]]) -> str:
    """Describe the images of neutral words for people."""
    seeds = max(sum(tally.values()) for tally in tallies.values())
    lines = [
        f"Neutral prompts, {seeds} seeds each, named by the judge as the man's, the woman's or the neutral icon "
        "(pictures of people are soft, so this reads hair and clothes more than faces; only the neutral icons were "
        "taught often):\n",
        "| prompt | man | woman | neutral |",
        "|---|---|---|---|",
    ]
    for noun, tally in tallies.items():
        lines.append(f"| {with_article(noun)} | {tally['man']} | {tally['woman']} | {tally['neutral']} |")
    return "\n".join(lines) + "\n"


def training_section(options: argparse.Namespace) -> str:
    """Describe sizes, samples and minutes, from the checkpoints and the options."""
    work, before, batch = options.work, options.before, options.batch
    painter = torch.load(work / "painter.pt", map_location="cpu", weights_only=False)
    encoder = torch.load(work / "ae.pt", map_location="cpu", weights_only=False)
    million = sum(value.numel() for value in painter["average"]) / 1e6
    text = (
        "\n## Training\n\nTwo CPU cores, shared with other work. "
        f"Autoencoder (factor 8, 16 channels): {encoder['seen']:,} crops and pictures, "
        f"{encoder['spent'] / 60:.0f} minutes. Text encoder and UNet ({million:.1f} million parameters, from "
        f"scratch): {before + painter['step']:,} steps of {batch}, {(before + painter['step']) * batch:,} samples"
    )
    if before:
        text += f", of which the first {before * batch:,} over all concepts, the rest mostly over those of `focus.txt`"
    text += f". {options.note} " if options.note else ". "
    if (work / "words.pt").exists():
        words = torch.load(work / "words.pt", map_location="cpu", weights_only=False)
        text += f"Then other names and other words, by distillation: {words['step']:,} steps of {batch}. "
    if (work / "up.pt").exists():
        up = torch.load(work / "up.pt", map_location="cpu", weights_only=False)
        text += f"Enlarging the autoencoder to 128 px: {up['step']:,} steps of 8, {up['spent'] / 60:.0f} minutes. "
    return text + "The recipe is `examples/train_tiny/` in artgen's repository.\n"


def autoencoder_lines(work: Path, psnr: float | None) -> list[str]:
    """Describe the quality of the autoencoder on held-out renders."""
    if psnr is None:
        psnr = float((work / "ae.csv").read_text().split()[-1].split(",")[-1])
    lines = [f"| autoencoder, 64 px, held-out renders | {psnr:.1f} dB PSNR | 28 dB |"]
    table = work / "up.csv"
    if table.exists():
        _, _, _, decoded, around, _ = (float(cell) for cell in table.read_text().split()[-1].split(","))
        lines.append(f"| 128 px, decoded from 64 px latents / round trip | {decoded:.1f} / {around:.1f} dB | |")
    return lines


def figures_section(found: dict[str, Any], work: Path, psnr: float | None) -> str:
    """Return the table of measurements and goals."""
    head = f"\n## Evaluation\n\n{found['steps']} steps in bfloat16, guidance {found['guidance']:g}, unselected. "
    head += "In brackets: the same measure on real renders. Control is measured over the taught concepts. "
    head += (
        "The judge is a small classifier of renders that the generator never saw. Of unseen phrasing, single words "
        "occur in training captions, the phrases do not; of unknown words, neither.\n"
    )
    lines = [head, "| measure | result | goal |", "|---|---|---|", *autoencoder_lines(work, psnr)]
    if concepts := found.get("concepts"):
        judge = concepts["judge on real renders"]
        real = f"({percent(judge['top 1'])}, {percent(judge['top 5'])})"
        for name, goal in ROWS:
            if name not in concepts:
                continue
            score = concepts[name]
            label = f"concept named first, among five: {name}, {score['pictures']} pictures"
            lines.append(f"| {label} | {percent(score['top 1'])}, {percent(score['top 5'])} {real} | {goal} |")
    for name, goal in (("background", "90 %"), ("object colour", "75 %"), ("count", "60 %")):
        if score := found.get(name):
            result = f"{percent(score['right'])} ({percent(score['on real renders'])})"
            lines.append(f"| {name} right, {score['pictures']} pictures | {result} | {goal} |")
    if order := found.get("left and right"):
        for key in ("order right", "both named among five"):
            result = f"{percent(order[key])} ({percent(order[key + ' on real renders'])})"
            goal = "60 %" if key == "order right" else ""
            lines.append(f"| left and right: {key}, {order['pictures']} pictures | {result} | {goal} |")
    if speed := found.get("speed"):
        lines.append(f"| 30 steps at native size after loading, two CPU cores | {speed['30 steps, s']} s | 3 s |")
        lines.append(f"| loading beyond imports | {speed['loading, s']} s | 1 s |")
    text = "\n".join(lines) + "\n"
    if people := found.get("people"):
        text += "\n" + people_section(people)
    return text


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
    record = json.loads((options.out / "provenance.json").read_text())
    found = json.loads((options.evaluation / "evaluation.json").read_text())
    icons = len({name for _, name in json.loads((options.work / "sprites.json").read_text())})
    parts = (
        HEAD,
        USE,
        limits_section(found, icons),
        data_section(record),
        training_section(options),
        figures_section(found, options.work, options.psnr),
    )
    (options.out / "README.md").write_text("".join(parts))
    for name in ("contact_sheet.png", "evaluation.json"):
        shutil.copyfile(options.evaluation / name, options.out / name)
    (options.out / "SHA256SUMS").write_text(sums(options.out))


if __name__ == "__main__":
    main()
