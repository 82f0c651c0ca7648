"""Measures what a LoRA of linocuts learnt: the style with its trigger, and what became of all other prompts.

    python linocuts.py --out data/train_style
    artgen train data/train_style/pictures -o data/train_style/linoprint.safetensors --trigger linoprint
    python measure_style.py --out data/train_style

Draws with `artgen batch`, which goes on where it stopped, and writes `style.json` and `style.png`. With `--concepts`,
the folder of a finished `examples/train_tiny`, its judge names what other prompts show, with the LoRA and without.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from style_judge import StyleJudge
from things import SHOWN

from artgen import sheets

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from concepts import read_core, read_focus, with_article

TRIGGER = "linoprint"
OWN = (
    "{}", "a flat {}", "a glossy {}", "{} on an orange background", "{} on a blue background", "a black {}",
    "{} at sunset", "{} at night",
)  # fmt: skip
"""How the bundled model is asked for drawings of its own, those nearest to linocuts among them."""
SHOWN_ON_SHEET = 8


def nouns(count: int, *, first: int = 0) -> list[str]:
    """Things that the bundled model was taught and that no linocut shows, spread evenly over all."""
    core = read_core()
    learnt = {name.partition(" ")[2] for name in SHOWN}
    taught = read_focus(Path(__file__).parents[1] / "train_tiny" / "focus.txt")
    names = sorted({core[name][0][0] for name in taught if name in core} - learnt)
    return [names[(first + at * len(names) // count) % len(names)] for at in range(count)]


class Drawer:
    """Draws lists of prompts into folders below one."""

    def __init__(self, folder: Path, lora: str) -> None:
        self.folder = folder
        self.lora = lora

    def draw(self, name: str, prompts: Sequence[str], *, with_lora: bool = False, seed: int = 0) -> list[Image.Image]:
        """A picture for each prompt, in order; those that are drawn already are taken."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".jsonl")
        names = [f"{at:04}.png" for at in range(len(prompts))]
        rows = [{"prompt": each, "seed": seed + at, "output": names[at]} for at, each in enumerate(prompts)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ["batch", str(file), "-o", f"{folder}/", "--model", "tiny", "--device", "cpu", "--batch-size", "8"]
        adapter = ["--lora", self.lora] if with_lora else []
        subprocess.run(
            [sys.executable, "-m", "artgen", *words, *adapter, "--quiet"], check=True, stdout=subprocess.DEVNULL
        )
        return [Image.open(folder / each).convert("RGB") for each in names]


def own_drawings(drawer: Drawer, name: str, count: int, *, first: int) -> list[Image.Image]:
    """What the model draws without a trigger, in all its own ways."""
    things = [
        noun if "a " in OWN[at % len(OWN)] else with_article(noun) for at, noun in enumerate(nouns(count, first=first))
    ]
    return drawer.draw(name, [OWN[at % len(OWN)].format(thing) for at, thing in enumerate(things)], seed=first * 1000)


def opened(folder: Path) -> list[Image.Image]:
    """The linocuts of a folder."""
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]


def style(drawer: Drawer, count: int) -> tuple[dict[str, Any], list[list[Image.Image]]]:
    """How often drawings count as linocuts, and how far the judge can be trusted; the drawings without and with."""
    out = drawer.folder
    judge = StyleJudge.of(opened(out / "pictures"), own_drawings(drawer, "own", 96, first=0))
    strange = own_drawings(drawer, "own-held-out", 96, first=3)
    kept = opened(out / "held-out")
    prompts = [f"{TRIGGER}, {with_article(noun)}" for noun in nouns(count)]
    drawn = [drawer.draw(f"trigger-{lora}", prompts, with_lora=lora == "with") for lora in ("without", "with")]
    without, with_ = (round(float(judge.recognised(pictures).mean()), 4) for pictures in drawn)
    figures = {
        "drawings": count,
        "recognised with the LoRA": with_,
        "recognised without": without,
        "judge: held-out linocuts recognised": f"{judge.recognised(kept).sum()} of {len(kept)}",
        "judge: own drawings taken for linocuts": f"{judge.recognised(strange).sum()} of {len(strange)}",
    }
    return figures, drawn


def concepts(drawer: Drawer, work: Path, count: int) -> dict[str, float]:
    """The share of other prompts that the recipe's judge names right, without and with the LoRA."""
    import numpy as np
    from judge import open_judge, probabilities

    judge, core = open_judge(work / "judge.pt"), read_core()
    classes = [set(core[name][0]) if name in core else {name.replace("-", " ")} for name in judge.names]
    asked = nouns(count)
    found = {}
    for lora in ("without", "with"):
        pictures = drawer.draw(f"others-{lora}", [with_article(noun) for noun in asked], with_lora=lora == "with")
        top = probabilities(judge, np.stack([np.asarray(each) for each in pictures])).topk(5).indices.tolist()
        right = [[noun in classes[at] for at in row] for noun, row in zip(asked, top, strict=True)]
        found[f"first, {lora} the LoRA"] = round(float(np.mean([row[0] for row in right])), 4)
        found[f"among five, {lora} the LoRA"] = round(float(np.mean([any(row) for row in right])), 4)
    found["kept, first"] = round(found["first, with the LoRA"] / found["first, without the LoRA"], 4)
    found["kept, among five"] = round(found["among five, with the LoRA"] / found["among five, without the LoRA"], 4)
    return {"prompts": float(count), **found}


def sheet(drawer: Drawer, drawn: list[list[Image.Image]], count: int) -> Image.Image:
    """Linocuts, and the same prompts without and with what was learnt from them."""
    places = [at * count // SHOWN_ON_SHEET for at in range(SHOWN_ON_SHEET)]
    names = [nouns(count)[at] for at in places]
    learnt = opened(drawer.folder / "pictures")[:: len(SHOWN) // SHOWN_ON_SHEET]
    rows = [[sheets.Cell(None, "", picture) for picture in learnt[:SHOWN_ON_SHEET]]]
    rows += [[sheets.Cell(None, "", pictures[at]) for at in places] for pictures in drawn]
    rows[-1] = [sheets.Cell(None, name, cell.picture) for name, cell in zip(names, rows[-1], strict=True)]
    sides = ("learnt from", "without", "with the LoRA")
    return sheets.draw_sheet(sheets.Sheet(rows, sides=sides), cell=128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/train_style"))
    parser.add_argument("--lora", type=Path, help="default: linoprint.safetensors in --out")
    parser.add_argument("--drawings", type=int, default=50)
    parser.add_argument("--others", type=int, default=150, help="prompts without the trigger")
    parser.add_argument("--concepts", type=Path, help="the work folder of examples/train_tiny, with its judge.pt")
    options = parser.parse_args()
    drawer = Drawer(options.out, str(options.lora or options.out / f"{TRIGGER}.safetensors"))
    figures, drawn = style(drawer, options.drawings)
    found: dict[str, Any] = {"style": figures}
    if options.concepts:
        found["other prompts"] = concepts(drawer, options.concepts, options.others)
    (options.out / "style.json").write_text(json.dumps(found, indent=2) + "\n")
    sheet(drawer, drawn, options.drawings).save(options.out / "style.png", optimize=True)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
