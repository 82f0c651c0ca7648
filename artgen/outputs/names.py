"""Parse and render file name templates such as `{index:05}-{seed}-{prompt}`.

A template contains literal text and a fixed set of fields. It does not use `str.format`, which gives access to object
attributes. Values are sanitized: a value never adds a path separator, and a name fits into the file system's limit.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from artgen.errors import UsageError
from artgen.system.file_names import (
    MAX_NAME_BYTES,
    RESERVED_NAMES,
    encode_utf8,
    sanitize_component,
    truncate_utf8,
)
from artgen.system.input_files import input_stem
from artgen.system.temporary import TEMPORARY_PREFIX

NUMERIC_FIELDS = frozenset({"index", "seed", "steps", "width", "height"})
TEMPLATE_FIELDS = (
    "index", "seed", "prompt", "stem", "model", "scheduler", "steps", "guidance", "strength", "width", "height",
    "date", "time", "hash",
)  # fmt: skip
"""Field names. A number after a colon is the zero-padded width of a numeric field, else the maximum of characters."""

MAX_PROMPT_CHARS = 80
"""Characters of the prompt in a name if the template has no number (`{prompt:40}`)."""

EMPTY_NAME = "image"
"""Name to use if all values are empty."""

_TOKEN_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class TemplateToken:
    """Represent a literal (`field` is empty) or a field with the number after its colon (0 without a number)."""

    literal: str = ""
    field: str = ""
    width: int = 0


@dataclass(frozen=True)
class Template:
    """Represent one component of a path as a sequence of tokens."""

    tokens: tuple[TemplateToken, ...]

    @property
    def fields(self) -> frozenset[str]:
        """Return the names of the fields in the template."""
        return frozenset(token.field for token in self.tokens if token.field)

    def render(self, values: Mapping[str, str], suffix: str = "", reserved_bytes: int = 0) -> str:
        """Return the name for these values. A template without fields is returned unchanged.

        Otherwise the name, `suffix` and `reserved_bytes` together have at most 255 bytes. If the name is too long, the
        prompt is shortened first, then the longest other value, then the end. A name that is empty or contains only
        dots becomes `EMPTY_NAME`.

        Args:
            values: raw values by field name; a missing value is empty.
            suffix: text to append unchanged, such as `.png`.
            reserved_bytes: bytes to keep free for a number or another suffix.
        """
        if not self.fields:
            return self._literal() + suffix
        max_bytes = MAX_NAME_BYTES - len(suffix.encode("utf-8")) - reserved_bytes
        parts = [token.literal if not token.field else _field_value(token, values) for token in self.tokens]
        while (excess := sum(len(encode_utf8(part)) for part in parts) - max_bytes) > 0:
            index = self._longest_field(parts)
            if index is None:
                break
            parts[index] = truncate_utf8(parts[index], max(len(encode_utf8(parts[index])) - excess, 0))
        return self._clean_up(truncate_utf8("".join(parts), max_bytes)) + suffix

    def index_pattern(self) -> re.Pattern[str]:
        """Return a pattern that finds the index (group `index`) in the names that this template can create."""
        pieces = []
        has_group = False
        for token in self.tokens:
            if token.field == "index" and not has_group:
                pieces.append("(?P<index>[0-9]{1,12})")
                has_group = True
            else:
                pieces.append(".*?" if token.field else re.escape(token.literal))
        return re.compile("".join(pieces) + r"[^/]*", re.DOTALL)

    def _literal(self) -> str:
        return "".join(token.literal for token in self.tokens)

    def _longest_field(self, parts: list[str]) -> int | None:
        fields = [index for index, token in enumerate(self.tokens) if token.field and parts[index]]
        prompts = [index for index in fields if self.tokens[index].field == "prompt"]
        return max(prompts or fields, key=lambda index: len(parts[index]), default=None)

    def _clean_up(self, name: str) -> str:
        """Remove the separators of empty values. Keep separators that the user typed."""
        literal = self._literal()
        if "--" not in literal:
            name = re.sub(r"-{2,}", "-", name)
        name = name.rstrip("-. ")
        if not literal.startswith(("-", ".")):
            name = name.lstrip("-. ")
        if not name.strip(". "):
            name = EMPTY_NAME
        return f"_{name}" if RESERVED_NAMES.fullmatch(name) else name


def parse_template(text: str) -> Template:
    """Parse one component of a path; `{{` and `}}` are literal braces.

    Raises:
        UsageError: The text contains an unknown field, a number outside 1 to 255, or a single brace.
    """
    hint = f"Known fields: {', '.join('{' + field + '}' for field in TEMPLATE_FIELDS)}; {{{{ and }}}} are braces."
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
            raise UsageError(f"'{text}' has a single '{match[0]}'.", hint)
        name, separator, width = match[1].partition(":")
        if name not in TEMPLATE_FIELDS:
            raise UsageError(f"'{{{match[1]}}}' in '{text}' is not a field of a file name.", hint)
        if separator and not (re.fullmatch(r"[0-9]{1,3}", width) and 1 <= int(width) <= MAX_NAME_BYTES):
            raise UsageError(f"'{width}' in '{{{match[1]}}}' is not a number from 1 to {MAX_NAME_BYTES}.", hint)
        tokens.append(TemplateToken(field=name, width=int(width or 0)))
    if position < len(text):
        tokens.append(TemplateToken(literal=text[position:]))
    return Template(tuple(tokens))


def template_values(record: Mapping[str, object], stem: str | None) -> dict[str, str]:
    """Return the raw values of all fields except `index`. `date` and `time` are the current local time.

    Args:
        record: record of the image.
        stem: value of `{stem}`; None selects the file name of the record's input image.
    """
    now = datetime.now().astimezone()
    texts = {key: "" if value is None else str(value) for key, value in record.items()}
    canonical = json.dumps(dict(record), sort_keys=True, default=str)
    copied = ("seed", "prompt", "scheduler", "steps", "strength", "width", "height")
    return {
        **{name: texts.get(name, "") for name in copied},
        "stem": stem or input_stem(texts.get("image", "")) or EMPTY_NAME,
        "model": re.sub(r"\.safetensors$", "", re.split(r"[\\/]", texts.get("model", "").rstrip("\\/"))[-1]),
        "guidance": texts.get("guidance_scale", ""),
        "date": now.strftime("%Y-%m-%d"),
        "time": now.strftime("%H%M%S"),
        "hash": hashlib.sha256(canonical.encode()).hexdigest()[:10],
    }


def next_index(folder: Path, template: Template) -> int:
    """Return the highest index among the folder's files that match the template, plus 1; 1 without such a file."""
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


def _field_value(token: TemplateToken, values: Mapping[str, str]) -> str:
    value = sanitize_component(values.get(token.field, ""))
    if token.field in NUMERIC_FIELDS:
        return value.zfill(token.width) if value else value
    max_chars = token.width or (MAX_PROMPT_CHARS if token.field == "prompt" else MAX_NAME_BYTES)
    return value[:max_chars].rstrip("-. ")
