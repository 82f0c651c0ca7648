"""What a picture is called in training: its own text, or words made of its names."""

import codecs
import re
import string
from pathlib import Path

from artgen.errors import UsageError

TEMPLATE_FIELDS = ("folder", "stem", "name")

MAX_CAPTION_BYTES = 65_536

MAX_CLIP_TOKENS = 77
"""What CLIP's text encoder reads, its marks of beginning and end among them."""

_CAMERA_FILE_NAME = re.compile(
    r"(img|dsc|dscn|dscf|pxl|mvi|image|picture|photo|screenshot|untitled|scan)?[ \d]*|[0-9a-f]{12,}", re.I
)
_TOKEN_PATTERN = re.compile(r"[^\W\d_]+|\d|(?:[^\s\w]|_)+")


def check_template(template: str | None) -> None:
    """Refuse a template that cannot be filled.

    Raises:
        UsageError: an unknown field, an empty one, a format or an unpaired brace; the message has the field.
    """
    hint = "Fields are {folder}, {stem} and {name}; a brace that is meant as such is written twice."
    try:
        parts = list(string.Formatter().parse(template or ""))
    except ValueError as error:
        raise UsageError(f"The caption template {template!r} cannot be read: {error}.", hint) from None
    for _, field, form, conversion in parts:
        if field is not None and (field not in TEMPLATE_FIELDS or form or conversion):
            shown = "{" + field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            raise UsageError(f"A caption template has no field {shown}.", hint)


def read_caption(path: Path) -> str | None:
    """The text beside a picture, its lines joined; None when there is none.

    Raises:
        ValueError: it is not UTF-8 text; the message says why, with the line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("is UTF-16; UTF-8 is wanted")
    if len(data) > MAX_CAPTION_BYTES:
        raise ValueError(f"has {len(data):,} bytes; a caption has at most {MAX_CAPTION_BYTES:,}")
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is not UTF-8 text: byte 0x{line[error.start]:02x}") from None
        if "\0" in text:
            raise ValueError(f"line {number} holds a NUL character")
    return " ".join(data.removeprefix(codecs.BOM_UTF8).decode("utf-8").split())


def caption_from_path(name: str, folder: Path, template: str | None) -> str:
    """A caption made of a picture's names: the template's, or `water lilies, monet` for monet/water-lilies.jpg.

    Underscores and hyphens become spaces. Names that cameras give and mere numbers are no words; then, and for
    `{folder}` of a picture at the top, it is the folder's name.
    """
    *folders, file = name.split("/")
    around = readable_name(folders[-1] if folders else folder.resolve().name)
    stem = readable_name(file.rpartition(".")[0] or file)
    if template is not None:
        whole = readable_name(name.rpartition(".")[0] or name)
        return " ".join(template.format(folder=around, stem=stem, name=whole).split())
    words = re.sub(r"[\s(]*\d+\)?$", "", stem)
    if _CAMERA_FILE_NAME.fullmatch(stem) or not words:
        return around
    return f"{words}, {around}" if folders else words


def readable_name(name: str) -> str:
    """A name's words: `water_lilies-02` is `water lilies 02`."""
    return " ".join(re.sub(r"[_\-]+", " ", name).split())


def min_token_count(caption: str) -> int:
    """How many tokens CLIP's text encoder makes of a caption at least, marks included.

    Its tokenizer splits a text into words, digits and runs of signs first, and each of them is one token or more.
    """
    return len(_TOKEN_PATTERN.findall(caption)) + 2
