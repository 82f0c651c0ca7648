"""Decode the text that shows an image in a terminal back to the image."""

import base64
import io
import re

from PIL import Image

from artgen.system.terminal_images import KITTY_CHUNK_CHARS


def decode_kitty(text: str) -> tuple[Image.Image, dict[str, str]]:
    """Return the image of kitty sequences, and the arguments of the first one."""
    sequences = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", text)
    assert re.sub(r"\x1b_G[^;]*;[A-Za-z0-9+/=]*\x1b\\", "", text) == "\n"
    arguments = [dict(part.split("=") for part in control.split(",")) for control, _ in sequences]
    assert [each["m"] for each in arguments] == ["1"] * (len(sequences) - 1) + ["0"]
    assert all(len(chunk) <= KITTY_CHUNK_CHARS and len(chunk) % 4 == 0 for _, chunk in sequences)
    data = base64.b64decode("".join(chunk for _, chunk in sequences))
    return Image.open(io.BytesIO(data)), arguments[0]


def decode_iterm2(text: str) -> tuple[Image.Image, dict[str, str]]:
    """Return the image of an iTerm2 sequence, and its arguments."""
    found = re.fullmatch(r"\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\x07\n", text)
    assert found is not None
    arguments = dict(part.split("=") for part in found[1].split(";"))
    data = base64.b64decode(found[2])
    assert int(arguments["size"]) == len(data)
    return Image.open(io.BytesIO(data)), arguments


def decode_blocks(lines: list[str]) -> Image.Image:
    """Return the image of half blocks with 24-bit colors."""
    rows: list[list[tuple[int, ...]]] = []
    for line in lines:
        above: list[tuple[int, ...]] = []
        below: list[tuple[int, ...]] = []
        upper: tuple[int, ...] = ()
        lower: tuple[int, ...] = ()
        assert line.endswith("\x1b[0m")
        for codes, block in re.findall(r"\x1b\[([\d;]+)m|(\u2580)", line):
            for kind, *numbers in re.findall(r"([34]8);2;(\d+);(\d+);(\d+)|49", codes):
                color = tuple(map(int, filter(None, numbers)))
                upper, lower = (color, lower) if kind == "38" else (upper, color)
            if block:
                above.append(upper)
                below.append(lower)
        rows += [above, below] if below[0] else [above]
    image = Image.new("RGB", (len(rows[0]), len(rows)))
    image.putdata([pixel for row in rows for pixel in row])
    return image
