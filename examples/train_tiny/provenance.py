"""Write `provenance.json`: every source of the weights, the used files, and their frequency in the scenes."""

import argparse
import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fetch import SOURCES
from sources import PACKS


def count_people(names: list[str]) -> dict[str, int]:
    """Count the icons of people by the gender in their names, and the icons with a skin tone."""
    count: Counter[str] = Counter()
    for name in names:
        parts = re.split("[-]", name)
        if re.search(r"tone\d", name):
            count["with a skin tone"] += 1
        if {"woman", "women", "girl", "princess", "mermaid"} & set(parts):
            count["women and girls"] += 1
        elif {"man", "men", "boy", "prince", "merman"} & set(parts):
            count["men and boys"] += 1
        elif {"person", "people", "child", "baby", "adult"} & set(parts):
            count["no gender said"] += 1
    return dict(count)


def build_record(work: Path, more: list[Path]) -> dict[str, Any]:
    """Build the record from the lists of the other steps."""
    index = json.loads((work / "sprites.json").read_text())
    scenes = json.loads((work / "scenes.json").read_text())
    icon_counts = Counter(style for style, _ in index)
    styles = {pack.package: pack.style for pack in PACKS}
    sources = []
    for source in SOURCES:
        entry: dict[str, Any] = asdict(source)
        if source.package in styles:
            entry["icons used"] = icon_counts[styles[source.package]]
        sources.append(entry)
    object_counts = Counter(thing["style"] for scene in scenes for thing in scene["things"])
    return {
        "sources": sources,
        "scenes": len(scenes),
        "captions a scene": len(json.loads((work / "captions.json").read_text())[0]),
        "further scenes": [len(json.loads((folder / "scenes.json").read_text())) for folder in more],
        "scenes by kind": dict(Counter(scene["kind"] for scene in scenes)),
        "things shown by style": dict(object_counts),
        "people among icons": count_people([name for _, name in index]),
        "left out": "skin-tone and facing-right variants, flags of regions, clock faces, keycaps",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="additional folders of scenes")
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/model"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(build_record(options.work, options.more), indent=2) + "\n"
    (options.out / "provenance.json").write_text(text)


if __name__ == "__main__":
    main()
