"""Test the text that shows an image in a terminal: the protocols, the size, and the decoded pixels."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from terminal_images_decoder import decode_blocks, decode_iterm2, decode_kitty

from artgen.system import terminal_images
from artgen.system.terminal_images import (
    RESERVED_ROWS,
    TerminalSize,
    half_blocks,
    has_true_color,
    image_text,
    select_protocol,
)

KITTY = {"TERM": "xterm-kitty"}
ITERM2 = {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}


def noise_image(width: int, height: int) -> Image.Image:
    """Return an image whose PNG file is large, with text in its metadata."""
    image = Image.effect_noise((width, height), 100).convert("RGB")
    image.info["comment"] = "untrusted \x1b[2J"
    return image


@pytest.mark.parametrize("size", [(64, 64), (100, 37), (37, 100), (1, 1)])
@pytest.mark.parametrize(("environment", "decode"), [(KITTY, decode_kitty), (ITERM2, decode_iterm2)])
def test_pixels_survive_the_protocol_and_metadata_does_not(
    size: tuple[int, int], environment: Mapping[str, str], decode: Callable[[str], Any]
) -> None:
    image = noise_image(*size)
    decoded, arguments = decode(image_text(image, TerminalSize(80, 24), environment))
    assert decoded.tobytes() == image.tobytes()
    assert decoded.info == {}
    assert int(arguments.get("c") or arguments["width"]) == max(1, round(size[0] / 10))


@pytest.mark.parametrize("environment", [KITTY, ITERM2])
def test_large_image_is_reduced_to_the_terminal(environment: Mapping[str, str]) -> None:
    text = image_text(noise_image(4000, 1000), TerminalSize(60, 24, (8, 16)), environment)
    decoded, _ = (decode_kitty if environment is KITTY else decode_iterm2)(text)
    assert decoded.size == (480, 120)


@pytest.mark.parametrize("size", [(20, 12), (20, 13), (1, 1), (1, 9)])
def test_half_blocks_show_two_pixels_per_character(size: tuple[int, int]) -> None:
    image = noise_image(*size)
    decoded = decode_blocks(half_blocks(image, TerminalSize(80, 24), true_color=True))
    assert decoded.tobytes() == image.tobytes()


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 200), st.integers(1, 60), st.booleans())
def test_half_blocks_fit_the_terminal(width: int, height: int, columns: int, rows: int, true_color: bool) -> None:
    lines = half_blocks(Image.new("RGB", (width, height), "teal"), TerminalSize(columns, rows), true_color=true_color)
    assert len(lines) <= max(1, rows - RESERVED_ROWS)
    texts = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    assert {len(text) for text in texts} == {len(texts[0])}
    assert len(texts[0]) <= columns
    assert set("".join(texts)) == {"\u2580"}
    if width >= 8 and height >= 8 and min(columns, rows) >= 20:  # otherwise rounding dominates
        shown_ratio = len(texts[0]) / (2 * len(lines))
        assert 0.5 < shown_ratio / (width / height) < 2 or min(len(texts[0]), len(lines)) <= 2


@pytest.mark.parametrize(
    ("pixel", "number"),
    [((0, 0, 0), 16), ((255, 255, 255), 231), ((255, 0, 0), 196), ((128, 128, 128), 244), ((8, 8, 8), 232)],
)
def test_256_colors_are_the_nearest(pixel: tuple[int, int, int], number: int) -> None:
    lines = half_blocks(Image.new("RGB", (1, 2), pixel), TerminalSize(80, 24), true_color=False)
    assert lines == [f"\x1b[38;5;{number};48;5;{number}m\u2580\x1b[0m"]


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        (KITTY, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        (ITERM2, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, "blocks"),
        ({}, "blocks"),
        ({**KITTY, "TMUX": "/tmp/tmux,1,0"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2"}, "blocks"),
        ({**ITERM2, "STY": "1.pts"}, "blocks"),
        ({**KITTY, "ZELLIJ": "0"}, "blocks"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": ""}, "blocks"),
    ],
    ids=str,
)
def test_protocol_follows_the_terminal_and_multiplexers_get_blocks(environment: dict[str, str], protocol: str) -> None:
    assert select_protocol(environment) == protocol


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"COLORTERM": "truecolor"}, True),
        ({"COLORTERM": "24bit"}, True),
        ({"TERM": "xterm-direct"}, True),
        ({"WT_SESSION": "1"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM_PROGRAM": "Apple_Terminal"}, False),
        ({}, False),
    ],
)
def test_true_color_is_used_where_the_environment_names_it(environment: dict[str, str], expected: bool) -> None:
    assert has_true_color(environment) == expected


def test_size_of_something_that_is_not_a_terminal_has_defaults() -> None:
    with Path("file").open("w") as file:
        assert terminal_images.terminal_size(file) == TerminalSize(80, 24)
