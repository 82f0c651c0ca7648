"""Parse the prompt editing of AUTOMATIC1111: `[from:to:when]` and the alternation `[a|b]`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from artgen.errors import UsageError
from artgen.spec.prompt_weights import check_nesting

MAX_EDITS = 1000
"""Limit of edits in a prompt, which bounds the time of `parse_schedule`."""

SCHEDULE_TOKEN = re.compile(r"(?:\\.|[^\\\[\]():|])+|[\[\]():|\\]", re.DOTALL)
NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True)
class ScheduledText:
    """Represent a prompt that is used up to and including a step.

    Attributes:
        last_step: number of the last step, 1 to the number of steps.
        text: prompt for this range of steps.
    """

    last_step: int
    text: str


@dataclass(frozen=True)
class Edit:
    """Represent `[from:to:when]` or `[a|b]`.

    Attributes:
        options: texts of the alternation, or the texts before and after `when`.
        when: step or fraction of the steps as written; None for an alternation.
        source: the edit as written.
    """

    options: tuple["Parts", ...]
    when: str | None
    source: str

    def last_steps(self, steps: int) -> range:
        """Return the last steps of the texts; of an edit with `when`, 0 or less if its first text is not used."""
        if self.when is None:
            return range(1, steps + 1)
        number = float(self.when) * (steps if "." in self.when else 1)
        last = int(max(min(number, steps), -1))
        return range(last, last + 1)

    def option(self, step: int, steps: int) -> "Parts":
        """Return the text of a step; the first step is 1."""
        index = (step - 1) % len(self.options) if self.when is None else step > self.last_steps(steps)[0]
        return self.options[index]


Parts = list[str | Edit]


@dataclass
class _Bracket:
    """Store an open bracket, and the parts and separators after it."""

    opening: str
    start: int
    parts: Parts = field(default_factory=list)
    separators: list[int] = field(default_factory=list)
    """Indices in `parts` of the separators `:` and `|`."""


def parse_edits(text: str) -> Parts:
    """Return a prompt as literal texts and edits.

    Brackets that contain an unbalanced bracket or a wrong number of colons are text. `|` is an alternation only in
    square brackets without `:`.

    Source of the rules: the grammar in AUTOMATIC1111's modules/prompt_parser.py. There, `|` outside of an alternation
    disables all edits of the prompt; here it is text, as in the examples of that file.

    Raises:
        UsageError: the prompt has too many brackets or edits.
    """
    stack = [_Bracket("", 0)]
    num_edits = 0
    for match in SCHEDULE_TOKEN.finditer(text):
        token = match[0]
        if token in ("(", "["):
            stack.append(_Bracket(token, match.start()))
            check_nesting(len(stack) - 1)
        elif token in (")", "]"):
            closed = _close(stack[-1], text, match.end())
            if closed is None:
                _flatten(stack)
                stack[0].parts.append(token)
            else:
                stack.pop()
                stack[-1].parts.extend(closed)
                num_edits += isinstance(closed[0], Edit)
        else:
            if token in (":", "|"):
                stack[-1].separators.append(len(stack[-1].parts))
            stack[-1].parts.append(token)
    if num_edits > MAX_EDITS:
        raise UsageError(
            f"A prompt can have at most {MAX_EDITS} parts such as [a:b:0.5] and [a|b], not {num_edits}.",
            "Use --prompt-weights none for a prompt without syntax.",
        )
    _flatten(stack)
    return stack[0].parts


def _flatten(stack: list[_Bracket]) -> None:
    """Convert open brackets to text."""
    for bracket in stack[1:]:
        stack[0].parts.append(bracket.opening)
        stack[0].parts.extend(bracket.parts)
    del stack[1:]


def _close(bracket: _Bracket, text: str, end: int) -> Parts | None:
    """Return the parts of a closed bracket, or None if the grammar does not allow its content."""
    closing, source = text[end - 1], slice(bracket.start, end)
    if bracket.opening + closing not in ("()", "[]"):
        return None
    colons = [i for i in bracket.separators if bracket.parts[i] == ":"]
    if closing == ")":
        return ["(", *bracket.parts, ")"] if len(colons) <= 1 else None
    if not bracket.separators:
        return ["[", *bracket.parts, "]"]
    if not colons:
        return [Edit(tuple(_split(bracket.parts, bracket.separators)), None, text[source])]
    *texts, number = _split(bracket.parts, colons)
    if len(colons) > 2 or len(number) != 1 or not isinstance(number[0], str):
        return None
    when = NUMBER.fullmatch(number[0])
    if when is None:
        return None
    return [Edit((texts[0] if len(texts) == 2 else [], texts[-1]), when[1], text[source])]


def _split(parts: Parts, separators: list[int]) -> Iterator[Parts]:
    start = 0
    for i in separators:
        yield parts[start:i]
        start = i + 1
    yield parts[start:]


def parse_schedule(text: str, steps: int) -> tuple[ScheduledText, ...]:
    """Return the prompts of all ranges of steps; the last range ends with the last step.

    `[from:to:when]` uses the first text while step <= when. `when` with a decimal point is a fraction of the steps,
    otherwise a step. `[a|b]` alternates from step to step.

    Args:
        text: prompt, or one of the prompts of a composition.
        steps: number of steps, at least 1.

    Raises:
        UsageError: the prompt has too many brackets or edits.
    """
    parts = parse_edits(text)
    last_steps = {steps}
    for edit in iterate_edits(parts):
        last_steps.update(edit.last_steps(steps))
    texts: dict[str, str] = {}  # Equal texts share memory.
    schedule = []
    for step in sorted(last_steps):
        if step >= 1:
            current = "".join(_render(parts, step, steps))
            schedule.append(ScheduledText(step, texts.setdefault(current, current)))
    return tuple(schedule)


def iterate_edits(parts: Parts) -> Iterator[Edit]:
    """Yield the edits of a prompt, outer edits first."""
    for part in parts:
        if isinstance(part, Edit):
            yield part
            for option in part.options:
                yield from iterate_edits(option)


def _render(parts: Parts, step: int, steps: int) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        else:
            yield from _render(part.option(step, steps), step, steps)
