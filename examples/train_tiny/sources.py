"""Read the icon packs and keyword lists of `fetch.py`."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

VARIANT_PATTERN = re.compile(
    r"-(light|medium-light|medium|medium-dark|dark)(-skin-tone)?(-|$)|-skin-tone"
    r"|facing-right|^(regional|flag-for|keycap)|o-?clock|-thirty"
)


@dataclass(frozen=True)
class Pack:
    """Represent one icon pack: package, style word in captions, and license."""

    package: str
    style: str
    license: str


PACKS = (
    Pack("@iconify-json/fluent-emoji-flat", "flat", "MIT"),
    Pack("@iconify-json/fluent-emoji", "glossy", "MIT"),
    Pack("@iconify-json/noto", "noto", "Apache-2.0"),
)


KEYWORD_PACKAGES = ("emojilib", "emojibase-data")


@dataclass(frozen=True)
class Icon:
    """Represent one icon: style word, name in the pack, and SVG."""

    style: str
    name: str
    svg: str


def folder_of(package: str) -> str:
    """Return the folder of an unpacked npm package: scope and name, joined by a hyphen."""
    return package.removeprefix("@").replace("/", "-")


def find_package(raw: Path, package: str) -> Path:
    """Return the unpacked folder of `package` in `raw`, with any version suffix."""
    found = sorted(raw.glob(folder_of(package) + "-[0-9]*"))
    if not found:
        raise SystemExit(f"Cannot find {package} in '{raw}'. Run fetch.py.")
    return found[-1]


def is_variant(name: str) -> bool:
    """Return True for variants that are skipped: skin tones, facing right, clock faces, flags of regions."""
    return VARIANT_PATTERN.search(name) is not None


def read_icons(raw: Path, pack: Pack) -> list[Icon]:
    """Return every icon of a pack as SVG, without variants, sorted by name."""
    data = json.loads((find_package(raw, pack.package) / "icons.json").read_text())
    side = data.get("width", 16)
    icons = []
    for name, icon in sorted(data["icons"].items()):
        if is_variant(name):
            continue
        box = f"0 0 {icon.get('width', side)} {icon.get('height', data.get('height', side))}"
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">{icon["body"]}</svg>'
        )
        icons.append(Icon(pack.style, name, svg))
    return icons


def read_characters(raw: Path, pack: Pack) -> dict[str, str]:
    """Return icon name -> emoji, from the pack's `chars.json`."""
    characters = json.loads((find_package(raw, pack.package) / "chars.json").read_text())
    return {name: "".join(chr(int(code, 16)) for code in codes.split("-")) for codes, name in characters.items()}


def read_synonyms(raw: Path, *packages: str) -> dict[str, list[str]]:
    """Return emoji -> English keywords of the packages (default: all of `KEYWORD_PACKAGES`), plain words only."""
    merged: dict[str, list[str]] = {}
    packages = packages or KEYWORD_PACKAGES
    if "emojilib" in packages:
        lib = json.loads((find_package(raw, "emojilib") / "dist/emoji-en-US.json").read_text())
        for emoji, keywords in lib.items():
            merged[emoji.replace("\ufe0f", "")] = [word.replace("_", " ") for word in keywords]
    if "emojibase-data" in packages:
        base = json.loads((find_package(raw, "emojibase-data") / "en/data.json").read_text())
        for entry in base:
            key = entry["emoji"].replace("\ufe0f", "")
            merged.setdefault(key, []).extend([entry["label"], *entry.get("tags", [])])
    plain = re.compile(r"^[a-z][a-z \-']+$")
    return {
        emoji: list(dict.fromkeys(w.lower() for w in keywords if plain.match(w.lower())))
        for emoji, keywords in merged.items()
    }
