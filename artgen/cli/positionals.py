"""What the words of a command mean: pictures, a prompt; and settings that say the same in two ways."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from artgen.errors import UsageError
from artgen.spec.settings import CanvasSettings, Img2ImgInput, PromptSettings, SizeSettings

OptionalImages = Annotated[
    list[Path] | None,
    typer.Argument(help="OptionalImages, and folders of them.", metavar="[PICTURE]...", show_default=False),
]
RequiredImages = Annotated[
    list[Path], typer.Argument(help="OptionalImages, and folders of them.", metavar="PICTURE...")
]
ImagesAndPrompt = Annotated[
    list[str] | None,
    typer.Argument(
        help="Pictures or folders of them, then what to draw; `-` reads it from stdin.",
        metavar="[PICTURE]... [PROMPT]",
        show_default=False,
    ),
]


def split_positionals(
    positionals: Sequence[str] | None, source: Img2ImgInput, prompt: PromptSettings
) -> tuple[list[Path], PromptSettings]:
    """Which of a command's words are pictures, and which is the prompt.

    The first word is a picture unless --image gave one; so is every other that exists or is called like one. A single
    other word is the prompt.

    Raises:
        UsageError: words that are neither.
    """
    from artgen.images import IMAGE_SUFFIXES

    pictures = [source.image] if source.image else []
    others: list[str] = []
    for word in positionals or []:
        if not pictures or Path(word).suffix.lower() in IMAGE_SUFFIXES or os.path.lexists(word):
            pictures.append(Path(word))
        else:
            others.append(word)
    if prompt.prompt:
        others.insert(0, prompt.prompt)
    if len(others) > 1:
        raise UsageError(f"Unexpected {others[1]!r}: the prompt is given already.", "Quote a prompt of many words.")
    return pictures, read_prompt(dataclasses.replace(prompt, prompt=others[0] if others else ""))


def read_prompt(prompt: PromptSettings) -> PromptSettings:
    """The prompt itself, read from stdin when it is `-`.

    Raises:
        UsageError: stdin is not UTF-8 text.
    """
    if prompt.prompt != "-":
        return prompt
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"The prompt on stdin is not UTF-8 text (byte {error.start}).") from error
    return dataclasses.replace(prompt, prompt=text)


def resolve_size(canvas: CanvasSettings, size: SizeSettings) -> CanvasSettings:
    """`--size` and `--width --height` brought together.

    Raises:
        UsageError: both are given.
    """
    if size.size is None:
        return canvas
    if canvas.width is not None or canvas.height is not None:
        raise UsageError("--size and --width/--height were both given.", "Leave one out.")
    from artgen import images

    width, height = images.parse_size(size.size)
    return CanvasSettings(width=width, height=height)
