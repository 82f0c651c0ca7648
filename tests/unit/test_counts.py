"""Test the counted nouns of messages, and that all messages use them."""

import ast
import itertools
import re
from pathlib import Path

import pytest

import artgen
from artgen.system.counts import counted

_COUNT = re.compile(r"len\(|count|num_|total|\bsteps\b|Counter|\bsize\b(?!\[)")
"""Expressions that are numbers of things."""

_PLURAL = re.compile(
    r" (?:(?!of)\w+ ){0,2}(?:images|files|jobs|lines|entries|prompts|steps|tensors|errors|failures|pages|seeds|frames)"
)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "image"), "1 image"),
        ((0, "image"), "0 images"),
        ((2, "image"), "2 images"),
        ((12_345, "image"), "12,345 images"),
        ((1, "process", "processes"), "1 process"),
        ((3, "image is", "images are"), "3 images are"),
    ],
)
def test_noun_agrees_with_the_number(arguments: tuple[int, str], text: str) -> None:
    assert counted(*arguments) == text


def test_messages_have_no_plural_after_a_number_that_can_be_one() -> None:
    found = []
    for path in sorted(Path(artgen.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for number, text in itertools.pairwise(parts):
                if (
                    isinstance(number, ast.FormattedValue)
                    and isinstance(text, ast.Constant)
                    and _PLURAL.match(str(text.value))
                    and _COUNT.search(ast.unparse(number.value))
                ):
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert [line for line in found if not any(text in line for text in _NEVER_ONE)] == []


_NEVER_ONE = (
    "names {len(entries)} entries of the history",
    "A job of {count:,} images is too large",
    "images; the {used} image is used",
    "lines from stdin are one prompt",
    "Using the recorded prompts of {len(found):,} images",
    "{found.num_without_subject:,} of {found.num_prompts:,} prompts",
    "{count:,} normal images are too many",
    "{num_distinct} of {num_images} normal images",
    "{num_images} images, ",
    "{num_entries:,} metadata entries",
    "{filled.steps} steps of DDPM",
    "<Morph {len(self.frames)} frames>",
    "Cannot morph {num_keys} images in {num_frames} frames: at least {least} frames",
)
"""Messages that are printed only for larger numbers."""
