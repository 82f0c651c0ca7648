"""What to learn from, and how."""

from dataclasses import dataclass
from pathlib import Path

from artgen.declarations import option


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """The pictures to learn from."""

    folder: Path | None = option(
        None,
        "A folder of pictures; its sub-folders are classes. Captions: `fox.txt` beside fox.png, else `metadata.jsonl` "
        "(file_name, text), else `provenance.jsonl` (file_name, source, author, licence, consent, text), else "
        "--caption-template, else the names of folder and file.",
        flags=("--folder",),
        positional=True,
    )
    caption_template: str | None = option(
        None,
        "The caption of a picture that has none of its own, with {folder}, {stem} and {name} for its names: "
        '"a painting by {folder}".',
        metavar="TEXT",
    )
    require_licence: bool = option(
        False, "Leave out pictures of which provenance.jsonl names no licence.", flags=("--require-licence",)
    )
    licences: str | None = option(
        None,
        "Leave out pictures under any other licence than these SPDX names: CC0-1.0,MIT.",
        metavar="NAMES",
    )
    resolution: int | None = option(
        None,
        "Pixels a side of a square; other shapes get at most its area. [the model's own]",
        minimum=16,
        maximum=4096,
    )
    min_side: int | None = option(
        None,
        "Leave out pictures with a shorter side than this, in pixels. [half the resolution]",
        minimum=1,
        maximum=4096,
    )
    crop: str = option("center", "Which part of a picture is kept where shapes differ.", choices=("center", "random"))
    flip: bool = option(False, "Mirror pictures at random, half of the time.", flags=("--flip",))
    duplicates: str = option(
        "drop",
        "Pictures that are there twice, as the same file, resized, compressed again or mirrored: keep all of them, "
        "drop all but the largest, or refuse to train.",
        choices=("keep", "drop", "refuse"),
    )
    unusable: str = option(
        "skip",
        "Pictures that are damaged, too small or without the licence asked for: leave them out and say so, or refuse "
        "to train.",
        choices=("skip", "refuse"),
    )
