"""What the bundled model draws by itself, with `artgen batch`: to keep it from forgetting, and to judge by.

A LoRA that sees nothing but linocuts takes every prompt for one. So the folder to learn from also holds drawings that
the model made before, under their own prompts, without the trigger (prior preservation: Ruiz et al., "DreamBooth",
CVPR 2023, arXiv 2208.12242).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from linocuts import provenance
from PIL import Image
from things import SHOWN

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from concepts import read_core, read_focus, with_article

OWN = (
    "{}", "a flat {}", "a glossy {}", "{} on an orange background", "{} on a blue background", "a black {}",
    "{} at sunset", "{} at night",
)  # fmt: skip
"""How the bundled model is asked for drawings of its own, those nearest to linocuts among them."""


def nouns(count: int, *, first: int = 0) -> list[str]:
    """Things that the bundled model was taught and that no linocut shows, spread evenly over all."""
    core = read_core()
    learnt = {name.partition(" ")[2] for name in SHOWN}
    taught = read_focus(Path(__file__).parents[1] / "train_tiny" / "focus.txt")
    names = sorted({core[name][0][0] for name in taught if name in core} - learnt)
    return [names[(first + at * len(names) // count) % len(names)] for at in range(count)]


class Drawer:
    """Draws lists of prompts into folders below one."""

    def __init__(self, folder: Path, lora: str = "") -> None:
        self.folder = folder
        self.lora = lora

    def draw(self, name: str, prompts: Sequence[str], *, with_lora: bool = False, seed: int = 0) -> list[Image.Image]:
        """A picture for each prompt, in order; those that are drawn already are taken."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".jsonl")
        names = [f"{at:04}.png" for at in range(len(prompts))]
        rows = [{"prompt": each, "seed": seed + at, "output": names[at]} for at, each in enumerate(prompts)]
        file = folder.with_suffix(".jsonl")
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        missing = "".join(json.dumps(row) + "\n" for row in rows if not (folder / str(row["output"])).exists())
        if missing:
            todo = folder / "todo.jsonl"
            todo.write_text(missing)
            words = ["batch", str(todo), "-o", f"{folder}/", "--model", "tiny", "--device", "cpu", "--batch-size", "8"]
            adapter = ["--lora", self.lora] if with_lora else []
            command = [sys.executable, "-m", "artgen", *words, *adapter, "--quiet"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return [Image.open(folder / name).convert("RGB") for name in names]


def own_drawings(drawer: Drawer, name: str, count: int, *, first: int) -> list[Image.Image]:
    """What the model draws without a trigger, in all its own ways."""
    things = [
        noun if "a " in OWN[at % len(OWN)] else with_article(noun) for at, noun in enumerate(nouns(count, first=first))
    ]
    return drawer.draw(name, [OWN[at % len(OWN)].format(thing) for at, thing in enumerate(things)], seed=first * 1000)


def captioned(folder: Path) -> None:
    """Puts the prompt of each drawing beside it, and where they come from into the folder."""
    for line in folder.with_suffix(".jsonl").read_text().splitlines():
        row = json.loads(line)
        (folder / row["output"]).with_suffix(".txt").write_text(f"{row['prompt']}\n")
    provenance(folder, "drawn by the bundled model, tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/train_style"))
    out = parser.parse_args().out / "pictures"
    drawer = Drawer(out)
    # The same things without the trigger: only it can tell what becomes a linocut.
    drawer.draw("same", [*SHOWN, *SHOWN], seed=9000)
    own_drawings(drawer, "own", 32, first=0)
    captioned(out / "same")
    captioned(out / "own")


if __name__ == "__main__":
    main()
