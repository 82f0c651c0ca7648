"""Convert prompt weights of NovelAI and InvokeAI to the syntax of AUTOMATIC1111."""

import re
from collections.abc import Iterator

from artgen.spec.prompt_syntax import escape

NOVELAI_FACTOR = 1.05
COMPEL_FACTORS = {"+": 1.1, "-": 0.9}
MAX_CONVERTED_CHARS = 100_000

_NOVELAI_TOKEN = re.compile(r"[{}\[\]]|(-?[0-9]{1,3}(?:\.[0-9]{1,6})?)?::")
_COMPEL_TOKEN = re.compile(r"\\.|[()]|[^\s()\\+-]+(?:[+-]+(?=[\s,.)]|$))?|\s+|.", re.DOTALL)
_COMPEL_SUFFIX = re.compile(r"\++|-+|[0-9]{1,3}(?:\.[0-9]{1,6})?(?![0-9A-Za-z])")
_COMPEL_FUNCTION = re.compile(r"\.(?:blend|and|swap)\(")
_WEIGHTED_WORD = re.compile(r"(.*?[^+-])(\++|-+)", re.DOTALL)


def convert_novelai(text: str) -> str:
    """Convert `{strong}` (1.05), `[weak]` (1/1.05) and `1.2::text::` of NovelAI. Parentheses are plain text there.

    Unclosed brackets extend to the end.
    """
    parts = []
    for fragment, weight in _novelai_parts(text[:MAX_CONVERTED_CHARS]):
        head, body, tail = _split_space(fragment)
        parts.append(_fragment_text(head, body, tail, weight))
    return "".join(parts)


def _novelai_parts(text: str) -> Iterator[tuple[str, float]]:
    level, factor, position = 0, 1.0, 0
    for token in _NOVELAI_TOKEN.finditer(text):
        if token.start() > position:
            yield text[position : token.start()], factor * NOVELAI_FACTOR**level
        position = token.end()
        if token[0].endswith("::"):
            factor = float(token[1]) if token[1] else 1.0
            level = 0
        else:
            level += 1 if token[0] in "{]" else -1
    if position < len(text):
        yield text[position:], factor * NOVELAI_FACTOR**level


def _fragment_text(head: str, body: str, tail: str, weight: float) -> str:
    """Return a text of AUTOMATIC1111 with a weight; spaces stay outside of the brackets."""
    escaped = escape(body)
    if not body or abs(weight - 1) < 5e-4:
        return f"{head}{escaped}{tail}"
    return f"{head}({escaped}:{round(weight, 3):g}){tail}"


def _split_space(text: str) -> tuple[str, str, str]:
    body = text.strip(" \n\t,")
    if not body:
        return text, "", ""
    start = text.index(body)
    return text[:start], body, text[start + len(body) :]


def convert_compel(text: str) -> str | None:
    """Convert `word++`, `(a phrase)-` and `(a phrase)1.2` of InvokeAI. Square brackets are plain text there.

    Returns:
        None for the functions `.blend()`, `.and()` and `.swap()`, which have no equivalent.
    """
    if _COMPEL_FUNCTION.search(text):
        return None
    text = text[:MAX_CONVERTED_CHARS]
    stack: list[list[str]] = [[]]
    position = 0
    while position < len(text):
        token = _COMPEL_TOKEN.match(text, position)
        if token is None:
            break
        position = token.end()
        part = token[0]
        if part == "(":
            stack.append([])
        elif part == ")" and len(stack) > 1:
            suffix = _COMPEL_SUFFIX.match(text, position)
            position = suffix.end() if suffix else position
            body = "".join(stack.pop())
            stack[-1].append(_weighted(body, suffix[0] if suffix else ""))
        elif len(part) == 2 and part[0] == "\\":
            stack[-1].append(escape(part[1]))
        elif (word := _WEIGHTED_WORD.fullmatch(part)) and len(part) < 200:
            stack[-1].append(_weighted(escape(word[1]), word[2]))
        else:
            stack[-1].append(escape(part))
    return "".join("".join(level) for level in stack)


def _weighted(body: str, suffix: str) -> str:
    """Return a text, whose characters are escaped, with the weight of a suffix."""
    if not suffix or not body.strip():
        return body
    weight = float(suffix) if suffix[0].isdigit() else COMPEL_FACTORS[suffix[0]] ** len(suffix)
    return body if weight == 1 else f"({body}:{round(weight, 3):g})"
