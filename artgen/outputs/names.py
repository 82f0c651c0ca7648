"""File name templates: `{index:05}-{seed}-{prompt}` and what may become part of a name.

A template is fixed fields between literal text, not `str.format`: no attribute of any object can be reached.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath

from artgen.errors import UsageError
from artgen.system.temporary import TEMPORARY_PREFIX

NUMERIC_FIELDS = frozenset({"index", "seed", "steps", "width", "height"})
TEMPLATE_FIELDS = (
    "index", "seed", "prompt", "stem", "model", "scheduler", "steps", "guidance", "strength", "width", "height",
    "date", "time", "hash",
)  # fmt: skip
"""What can stand in braces. A number after a colon: the zero-padded width of a whole number, else most characters."""

MAX_NAME_BYTES = 255
"""Longest file name on common file systems, in UTF-8 bytes."""

MAX_PROMPT_CHARS = 80
"""Characters of a prompt in a name where the template says nothing else (`{prompt:40}`)."""

_TOKEN_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FORBIDDEN_CHARS = frozenset('<>:"/\\|?*')
_RESERVED_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class TemplateToken:
    """A literal (`field` is empty) or a field with its number after the colon (0 when there is none)."""

    literal: str = ""
    field: str = ""
    width: int = 0


@dataclass(frozen=True)
class Template:
    """One component of a path: tokens in order."""

    tokens: tuple[TemplateToken, ...]

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields in use."""
        return frozenset(token.field for token in self.tokens if token.field)

    def render(self, values: Mapping[str, str], suffix: str = "", reserved_bytes: int = 0) -> str:
        """Put values in. Text without a field is the user's own and stays as it is.

        Otherwise the result has at most 255 bytes together with `suffix` and `reserved_bytes` bytes to come.
        The prompt gives way first when the name is too long, then the longest other value, then the end. A name
        that would be empty, or consist of dots, becomes "picture".

        Args:
            values: raw values by field name; a missing one counts as empty.
            suffix: appended as it is, such as `.png`.
            reserved_bytes: bytes kept free, for a number or another suffix.
        """
        if not self.fields:
            return "".join(token.literal for token in self.tokens) + suffix
        room = MAX_NAME_BYTES - len(suffix.encode("utf-8")) - reserved_bytes
        parts = [token.literal if not token.field else _field_value(token, values) for token in self.tokens]
        while (excess := sum(len(_encode_utf8(part)) for part in parts) - room) > 0:
            index = self._longest_field(parts)
            if index is None:
                break
            parts[index] = _truncate_utf8(parts[index], max(len(_encode_utf8(parts[index])) - excess, 0))
        literal = "".join(token.literal for token in self.tokens)
        name = _truncate_utf8("".join(parts), room)
        name = re.sub(r"-{2,}", "-", name) if "--" not in literal else name
        name = name.rstrip("-. ")
        if not literal.startswith(("-", ".")):
            name = name.lstrip("-. ")
        if not name.strip(". "):
            name = "picture"
        if _RESERVED_NAMES.fullmatch(name):
            name = f"_{name}"
        return name + suffix

    def _longest_field(self, parts: list[str]) -> int | None:
        fields = [index for index, token in enumerate(self.tokens) if token.field and parts[index]]
        prompts = [index for index in fields if self.tokens[index].field == "prompt"]
        candidates = prompts or fields
        return max(candidates, key=lambda index: len(parts[index]), default=None)

    def index_pattern(self) -> re.Pattern[str]:
        """A pattern that finds the index (group "index") in names this template could have made."""
        pieces = []
        named = False
        for token in self.tokens:
            if token.field == "index" and not named:
                pieces.append("(?P<index>[0-9]{1,12})")
                named = True
            else:
                pieces.append(".*?" if token.field else re.escape(token.literal))
        return re.compile("".join(pieces) + r"[^/]*", re.DOTALL)


def parse_template(text: str) -> Template:
    """Read one component of a path; `{{` and `}}` are braces.

    Raises:
        UsageError: an unknown field, a width that is not 1..255, or a brace without its partner.
    """
    known = f"Known fields: {', '.join('{' + field + '}' for field in TEMPLATE_FIELDS)}; {{{{ and }}}} are braces."
    tokens: list[TemplateToken] = []
    position = 0
    for match in _TOKEN_PATTERN.finditer(text):
        if match.start() > position:
            tokens.append(TemplateToken(literal=text[position : match.start()]))
        position = match.end()
        if match[0] in ("{{", "}}"):
            tokens.append(TemplateToken(literal=match[0][0]))
            continue
        if match[1] is None:
            raise UsageError(f"'{text}' has a single '{match[0]}'", known)
        name, separator, width = match[1].partition(":")
        if name not in TEMPLATE_FIELDS:
            raise UsageError(f"'{{{match[1]}}}' in '{text}' is no field of a file name", known)
        if separator and not (re.fullmatch(r"[0-9]{1,3}", width) and 1 <= int(width) <= MAX_NAME_BYTES):
            raise UsageError(f"'{width}' in '{{{match[1]}}}' is not a number from 1 to {MAX_NAME_BYTES}", known)
        tokens.append(TemplateToken(field=name, width=int(width or 0)))
    if position < len(text):
        tokens.append(TemplateToken(literal=text[position:]))
    return Template(tuple(tokens))


def sanitize_component(text: str) -> str:
    """Make a value fit for a part of a file name on any system.

    NFC; white space becomes `-`; separators, characters Windows forbids and control, format and undecodable characters
    become `_`; dots, dashes and spaces at the ends are dropped. The result may be empty.
    """
    spaced = re.sub(r"\s+", "-", unicodedata.normalize("NFC", text).strip())
    cleaned = "".join("_" if _is_forbidden(character) else character for character in spaced)
    return re.sub(r"^[-. ~]+|[-. ]+$", "", re.sub(r"-{2,}", "-", cleaned))


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN_CHARS or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"}


def _field_value(token: TemplateToken, values: Mapping[str, str]) -> str:
    value = sanitize_component(values.get(token.field, ""))
    if token.field in NUMERIC_FIELDS:
        return value.zfill(token.width) if value else value
    limit = token.width or (MAX_PROMPT_CHARS if token.field == "prompt" else MAX_NAME_BYTES)
    return value[:limit].rstrip("-. ")


def _encode_utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _truncate_utf8(text: str, max_bytes: int) -> str:
    """At most `max_bytes` bytes of UTF-8, without cutting a character."""
    data = _encode_utf8(text)
    return text if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", "ignore").rstrip("-. ")


def template_values(record: Mapping[str, object], stem: str | None) -> dict[str, str]:
    """Raw values of all fields but the index; `hash` is of the record, `date` and `time` are now, here."""
    now = datetime.now().astimezone()
    text = {key: "" if value is None else str(value) for key, value in record.items()}
    canonical = json.dumps(dict(record), sort_keys=True, default=str)
    return {
        **{
            name: text.get(name, "") for name in ("seed", "prompt", "scheduler", "steps", "strength", "width", "height")
        },
        "stem": stem or PurePath(text.get("image", "")).stem or "picture",
        "model": re.sub(r"\.safetensors$", "", re.split(r"[\\/]", text.get("model", "").rstrip("\\/"))[-1]),
        "guidance": text.get("guidance_scale", ""),
        "date": now.strftime("%Y-%m-%d"),
        "time": now.strftime("%H%M%S"),
        "hash": hashlib.sha256(canonical.encode()).hexdigest()[:10],
    }


def next_index(folder: Path, template: Template) -> int:
    """One more than the highest index among the folder's files that the template could have named; 1 if none."""
    pattern = template.index_pattern()
    highest = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(TEMPORARY_PREFIX) and (match := pattern.fullmatch(entry.name)):
                    highest = max(highest, int(match["index"]))
    except OSError:
        return 1
    return highest + 1
