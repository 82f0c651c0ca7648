"""Split A1111 text into the prompts and the `Key: value` pairs.

sd-parsers is not used: it drops values that contain a colon or a comma (`Lora hashes`, `ControlNet 0`), reads `Negative
prompt:` inside a prompt as its end, and needs the parameters in the last line.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

NEGATIVE_PREFIX = "Negative prompt:"

KNOWN_KEYS = frozenset(
    {
        "steps", "sampler", "schedule type", "cfg scale", "seed", "size", "model hash", "model", "denoising strength",
        "clip skip", "version", "lora hashes", "hashes", "vae hash", "rng", "distilled cfg scale", "scheduler",
    }
)  # fmt: skip
"""Keys of parameters. Other text with colons, such as the data of a camera, does not have them."""

COMMON_KEYS = frozenset({"size", "model", "version", "seed", "scheduler"})
"""Known keys that the data of a camera or another text can have too."""

MIN_KNOWN_KEYS = 2

# Text from a file is parsed in linear time: each pattern has a bounded number of attempts at each position. `*+` is
# possessive: it does not return characters.
_KEY_PATTERN = re.compile(r"\s*+(\w[\w \-/.+]{0,63}?)\s{0,16}:\s*+")
_LINE_KEY_PATTERN = re.compile(r"\s*+([A-Z][\w \-]{0,40}?):(?:\s|$)")
_STEPS_PATTERN = re.compile(r"\bSteps:[ \t]{0,4}[0-9]{1,6}[ \t]{0,4},")
_JSON_DECODER = json.JSONDecoder()
_MAX_INVALID_JSON_VALUES = 100
"""Number of values of a line that start like JSON and are not JSON; an error takes time in proportion to the line."""
_MAX_SPLIT_ATTEMPTS = 20
_MAX_EVIDENCE_PAIRS = 50


@dataclass(frozen=True)
class A1111Text:
    """Store the parts of an A1111 text.

    Attributes:
        prompt: prompt without surrounding white space.
        negative_prompt: negative prompt; may be empty.
        pairs: keys and values of the parameters, in order.
        has_parameters: the text has parameters, or a line that starts with "Negative prompt:".
        has_more: the text has other prompts and parameters before, which are not read.
    """

    prompt: str
    negative_prompt: str
    pairs: tuple[tuple[str, str], ...]
    has_parameters: bool
    has_more: bool = False


def split_a1111(text: str) -> A1111Text:
    """Split the text of any tool. The function raises no errors: text without parameters gives only a prompt.

    The parameters are the last line that starts with "Steps:" or has three pairs, two of them with known keys. They can
    also follow the prompt in the same line. Lines after the parameters (`Template: ...`) are fields of their own.
    """
    lines = textwrap.dedent(text.replace("\r\n", "\n").replace("\r", "\n")).strip().split("\n")
    if all(line.startswith(">") for line in lines):  # quoted, as in a mail
        lines = [line[1:].removeprefix(" ") for line in lines]
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":  # a code block of Markdown
        lines = lines[1:-1]
    index = _find_parameter_line(lines)
    if index == len(lines):
        whole = "\n".join(lines)
        if (position := _find_inline_parameters(whole)) < len(whole):
            head = whole[:position].split("\n")
            lines, index = [*head, *whole[position:].split("\n")], len(head)
    start = _end_of_former_record(lines, index)
    prompt, negative, has_negative = _split_prompts(lines[start:index])
    if index == len(lines):
        return A1111Text(prompt, negative, (), has_negative)
    end = _end_of_parameters(lines, index)
    parameters = ", ".join(line.rstrip(" ,") for line in lines[index:end])
    pairs = (*parse_pairs(parameters), *_following_fields(lines[end:]))
    return A1111Text(prompt, negative, pairs, True, start > 0)


def _end_of_former_record(lines: list[str], index: int) -> int:
    """Return the index after the parameters of another prompt, which an empty line follows; 0 if there are none."""
    for former in range(index - 1, 0, -1):
        if lines[former].lstrip().startswith("Steps:") and _is_parameters(lines[former], 3):
            end = _end_of_parameters(lines, former)
            return end if end < index and not lines[end].strip() else 0
    return 0


def _find_parameter_line(lines: list[str]) -> int:
    """Return the index of the line with the parameters, else the number of lines."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].lstrip().startswith("Steps:") and _is_parameters(lines[index], 2):
            return index
    for index in range(len(lines) - 1, max(-1, len(lines) - 1 - _MAX_SPLIT_ATTEMPTS), -1):
        line = lines[index]
        if _is_parameters(line, 3) and not line.lstrip().startswith(NEGATIVE_PREFIX) and not _is_pasted(line):
            return index
    return len(lines)


def _is_pasted(line: str) -> bool:
    """Return whether the parameters follow a prompt in the same line: "a red fox Steps: 20, Sampler: Euler"."""
    match = _STEPS_PATTERN.search(line)
    return match is not None and line[: match.start()].rstrip()[-1:] not in ("", ",")


def _is_parameters(line: str, min_pairs: int) -> bool:
    names = [name.lower() for name, _ in _take(parse_pairs(line), _MAX_EVIDENCE_PAIRS)]
    known = KNOWN_KEYS.intersection(names)
    return (
        len(names) >= min_pairs
        and names[0] in KNOWN_KEYS
        and len(known) >= MIN_KNOWN_KEYS
        and known > COMMON_KEYS & known
    )


def _take(pairs: Iterator[tuple[str, str]], count: int) -> Iterator[tuple[str, str]]:
    for pair, _ in zip(pairs, range(count), strict=False):
        yield pair


def _end_of_parameters(lines: list[str], start: int) -> int:
    """Return the index after the parameters; a wrapped line ends with a comma or continues with known keys."""
    end = start + 1
    while end < len(lines) and lines[end].strip():
        if not lines[end - 1].rstrip().endswith(",") and not _is_parameters(lines[end], 2):
            break
        end += 1
    return end


def _following_fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Return the fields in lines after the parameters. A line without a key continues the field before it."""
    name, values = "Text after the parameters", list[str]()
    for line in lines:
        match = _LINE_KEY_PATTERN.match(line)
        if match:
            if value := "\n".join(values).strip():
                yield name, value
            name, values = match[1], [line[match.end() :]]
        else:
            values.append(line)
    if value := "\n".join(values).strip():
        yield name, value


def _find_inline_parameters(text: str) -> int:
    """Return the position of parameters that follow the prompt in the same line, else the length of the text."""
    positions = [match.start() for match in _STEPS_PATTERN.finditer(text)]
    for position in reversed(positions[-_MAX_SPLIT_ATTEMPTS:]):
        if _is_parameters(text[position:], 2):
            return position
    return len(text)


def _split_prompts(lines: list[str]) -> tuple[str, str, bool]:
    """Return the prompts, and whether "Negative prompt:" starts a line."""
    for index, line in enumerate(lines):
        if line.lstrip()[: len(NEGATIVE_PREFIX)].lower() == NEGATIVE_PREFIX.lower():
            negative = [line.lstrip()[len(NEGATIVE_PREFIX) :], *lines[index + 1 :]]
            return "\n".join(lines[:index]).strip(), "\n".join(negative).strip(), True
    prompt, _, negative_text = "\n".join(lines).partition(f" {NEGATIVE_PREFIX}")
    return prompt.strip(), negative_text.strip(), False


def parse_pairs(line: str) -> Iterator[tuple[str, str]]:
    """Split `Key: value, Key: "quoted, value", Key: {json}`. A comma inside an unquoted value belongs to the value."""
    match = _KEY_PATTERN.match(line)
    num_invalid = 0
    while match:
        name, position = match[1], match.end()
        value: list[str] = []
        if line[position : position + 1] in ('"', "{", "[") and num_invalid < _MAX_INVALID_JSON_VALUES:
            try:
                decoded, position = _JSON_DECODER.raw_decode(line, position)
                value = [decoded if isinstance(decoded, str) else json.dumps(decoded, ensure_ascii=False)]
            except (ValueError, RecursionError):
                num_invalid += 1
        match = None
        while position < len(line) and not match:
            comma = line.find(",", position)
            end = len(line) if comma < 0 else comma
            value.append(line[position:end])
            position = end + 1
            match = _KEY_PATTERN.match(line, position)
            if not match and position < len(line):
                value.append(",")
        yield name, "".join(value).strip()
