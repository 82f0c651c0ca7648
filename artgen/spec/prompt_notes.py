"""Find the parts of a prompt that probably have another meaning than their author intended."""

import re
from collections.abc import Callable, Iterator

from artgen.spec.prompt_checks import excerpt, iterate_values
from artgen.spec.prompt_schedule import iterate_edits, parse_edits
from artgen.spec.prompt_weights import AND, BREAK, Break, parse_a1111_weights, parse_composition

HIGH_WEIGHT = 2
MAX_EXAMPLES = 3

_UNESCAPED = re.compile(r"\\[()\[\]\\]|[()\[\]]")
_LONE_BACKSLASH = re.compile(r"\\(?:[()\[\]\\]|(?P<lone>[^()\[\]\\]?))", re.DOTALL)
_LIKE_EDIT = re.compile(r"\\.|\[([^\[\]\\]*)\]", re.DOTALL)
_LAST_WEIGHT = re.compile(r"(?<=\s):\s*[-+]?(?:[0-9]+\.?|[0-9]*\.[0-9]+)\s*\Z")
_FULL_WIDTH_WEIGHT = re.compile("[(（][^()（）]{1,200}：[0-9.]{1,10}[)）]")


def syntax_notes(text: str, rule: str) -> Iterator[str]:
    """Yield notes about a prompt whose syntax was checked.

    Args:
        text: prompt or negative prompt.
        rule: a1111, comfy or none.
    """
    if rule == "none":
        return
    values = list(iterate_values(text))
    high = (value for value in values if abs(value.weight(rule) or 0) > HIGH_WEIGHT)
    yield from _note(
        (f"'{excerpt(value.text) or f'(:{value.value})'}' ({value.weight(rule):g})" for value in high),
        lambda listed: f"A weight above {HIGH_WEIGHT} often distorts the image: {listed}.",
    )
    texts = (value for value in values if value.weight(rule) is None)
    yield from _note(
        (f"'({excerpt(value.text)}:{excerpt(value.value)})'" for value in texts),
        lambda listed: rf"No number follows the colon, which is text: {listed}. Write (word:1.2) for a weight.",
    )
    yield from _note(
        (f"'{match[0]}'" for match in _FULL_WIDTH_WEIGHT.finditer(text)),
        lambda listed: f"Full-width punctuation is text: {listed}. Write (word:1.2) for a weight.",
    )
    if rule == "comfy":
        yield from _comfy_notes(text)
    else:
        yield from _a1111_notes(text)


def _note(examples: Iterator[str], message: Callable[[str], str]) -> Iterator[str]:
    """Yield one note about all examples."""
    found = list(dict.fromkeys(examples))
    more = f" and {len(found) - MAX_EXAMPLES} more" if len(found) > MAX_EXAMPLES else ""
    if found:
        yield message(", ".join(found[:MAX_EXAMPLES]) + more)


def _comfy_notes(text: str) -> Iterator[str]:
    names = ["BREAK"] if BREAK.search(text) else []
    names += ["AND"] if AND.search(text) else []
    names += [f"'{excerpt(edit.source)}'" for edit in iterate_edits(parse_edits(text))]
    yield from _note(iter(names), lambda listed: f"Text with --prompt-weights comfy, as in ComfyUI: {listed}.")


def _a1111_notes(text: str) -> Iterator[str]:
    parts = parse_composition(text)
    for part in parts:
        if isinstance(parse_a1111_weights(part.text)[-1], Break):
            yield f"BREAK at the end of '{excerpt(part.text)}' has no effect: no text follows it."
        round_depth, square_depth = _open_brackets(part.text)
        for name, depth, effect in (("(", round_depth, "raises"), ("[", square_depth, "lowers")):
            if depth:
                yield (
                    f"'{name}' without a closing bracket {effect} the weight of the rest of '{excerpt(part.text)}'. "
                    rf"Write \{name} for a bracket that is text."
                )
    lone = (match["lone"] for match in _LONE_BACKSLASH.finditer(text) if match["lone"] is not None)
    yield from _note(
        (f"'\\{character}'" for character in lone),
        lambda listed: rf"A backslash is removed, as in AUTOMATIC1111: {listed}. Write \\ for a backslash.",
    )
    if len(parts) == 1 and (last := _LAST_WEIGHT.search(text[-200:])):
        yield f"'{last[0].strip()}' at the end of the prompt is text: without AND it is not a weight."
    yield from _edit_notes(text)


def _open_brackets(text: str) -> tuple[int, int]:
    """Return the numbers of round and square brackets that are not closed."""
    depths = {"(": 0, "[": 0}
    for match in _UNESCAPED.finditer(text):
        if match[0] in depths:
            depths[match[0]] += 1
        elif opening := {")": "(", "]": "["}.get(match[0]):
            depths[opening] = max(depths[opening] - 1, 0)
    return depths["("], depths["["]


def _edit_notes(text: str) -> Iterator[str]:
    like_edits = (match[0] for match in _LIKE_EDIT.finditer(text) if match[1] and ":" in match[1])
    yield from _note(
        (f"'{excerpt(source)}'" for source in like_edits if not any(iterate_edits(parse_edits(source)))),
        lambda listed: (
            f"Text with a lower weight: {listed}. Write [from:to:0.5] to change the prompt after half of the steps."
        ),
    )
