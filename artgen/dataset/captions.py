"""Read the caption of a training image from its text file, or build it from its file name."""

import os
import re
import string
from pathlib import Path
from typing import NamedTuple

from artgen.errors import InputFileError, UsageError
from artgen.metadata import parse_a1111
from artgen.metadata.a1111_lines import has_parameters
from artgen.system.external_data import decode_text, read_limited

TEMPLATE_FIELDS = ("folder", "stem", "name")

MAX_CAPTION_BYTES = 65_536

MAX_CLIP_TOKENS = 77
"""Maximum input length of CLIP's text encoder in tokens, including the start and the end token."""

_CAMERA_FILE_NAME = re.compile(
    r"(img|dsc|dscn|dscf|pxl|mvi|image|picture|photo|screenshot|untitled|scan)?[ \d]*|[0-9a-f]{12,}", re.I
)
_TOKEN_PATTERN = re.compile(r"[^\W\d_]+|\d|(?:[^\s\w]|_)+")


def check_template(template: str | None) -> None:
    """Check the fields of a caption template.

    Raises:
        UsageError: the template contains an unknown or empty field, a format specification or an unpaired brace.
    """
    hint = "Use the fields {folder}, {stem} and {name}. Write a literal brace twice."
    try:
        parts = list(string.Formatter().parse(template or ""))
    except ValueError as error:
        raise UsageError(f"Cannot parse the caption template {template!r}: {error}.", hint) from None
    for _, field, format_spec, conversion in parts:
        if field is not None and (field not in TEMPLATE_FIELDS or format_spec or conversion):
            suffix = (f"!{conversion}" if conversion else "") + (f":{format_spec}" if format_spec else "")
            raise UsageError(f"Cannot use the field {{{field}{suffix}}} in a caption template: it is unknown.", hint)


class Caption(NamedTuple):
    """Represent a caption, one line of text, and a note about its file; the note may be empty."""

    text: str
    note: str = ""


def read_caption(path: Path) -> Caption | None:
    """Return the text of a caption file with its lines joined, or None if the file does not exist.

    Of a parameters text of AUTOMATIC1111, only the prompt is the caption.

    Raises:
        ValueError: the file is unreadable, too long, or not UTF-8 text. The message is a clause.
    """
    if not os.path.lexists(path):
        return None
    try:
        data = read_limited(path, MAX_CAPTION_BYTES)
    except InputFileError as error:
        raise ValueError(error.message.removesuffix(".")) from None
    text = decode_text(data)
    if not has_parameters(text):
        return Caption(" ".join(text.split()))
    prompt = str(parse_a1111(text).fields.get("prompt", ""))
    note = "the caption is the prompt of the parameters text of AUTOMATIC1111; the other parameters are ignored"
    return Caption(" ".join(prompt.split()), note)


def caption_from_path(name: str, folder: Path, template: str | None) -> str:
    """Build a caption from the path of an image: with a template, or `water lilies, monet` for monet/water-lilies.jpg.

    Underscores and hyphens become spaces. File names of cameras and numbers are ignored; the caption is then the name
    of the folder.

    Args:
        name: path of the image relative to `folder`, with `/`.
        folder: top folder of the data set; its name is the `{folder}` of images that are not in a subfolder.
        template: caption template, or None.
    """
    *parents, file = name.split("/")
    parent = readable_name(parents[-1] if parents else folder.resolve().name)
    stem = readable_name(file.rpartition(".")[0] or file)
    if template is not None:
        path = readable_name(name.rpartition(".")[0] or name)
        return " ".join(template.format(folder=parent, stem=stem, name=path).split())
    title = re.sub(r"[\s(]*\d+\)?$", "", stem)
    if _CAMERA_FILE_NAME.fullmatch(stem) or not title:
        return parent
    return f"{title}, {parent}" if parents else title


def readable_name(name: str) -> str:
    """Replace underscores and hyphens by spaces: `water_lilies-02` becomes `water lilies 02`."""
    return " ".join(re.sub(r"[_\-]+", " ", name).split())


def min_token_count(caption: str) -> int:
    """Return a lower bound of the number of CLIP tokens of a caption, including the start and the end token.

    The tokenizer first splits a text into words, digits and runs of punctuation; each part has at least one token.
    """
    return len(_TOKEN_PATTERN.findall(caption)) + 2
