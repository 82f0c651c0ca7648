"""Parse `.txt` prompt files: lines, lists, labeled prompts, and parameters texts of AUTOMATIC1111."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from artgen.errors import UsageError
from artgen.metadata.a1111_lines import has_pasted_parameters, is_parameters_line, is_template_line
from artgen.metadata.tools.json_tools import read_easydiffusion
from artgen.queue.a1111_text import external_settings, parse_parameters
from artgen.queue.entries import Entry, LineError, normal_key, setting_name
from artgen.queue.job_settings import entry_or_error, parse_settings
from artgen.queue.json_prompts import parse_json_file
from artgen.queue.keys import Keys
from artgen.queue.line_sources import NumberedLine, decode_lines
from artgen.queue.prompt_line import has_invokeai_options, parse_prompt_line
from artgen.system.external_data import parse_json

_BULLET = re.compile(r"[-*+\u2022]\s+(?=\S)")
_NUMBER = re.compile(r"(\d{1,6})[.)]\s+(?=\S)")
_SEPARATOR = re.compile(r"([-=_*~])\1{2,}")
_LABEL = re.compile(r"(?:/imagine )?(?:(?:positive )?prompt|positive):", re.IGNORECASE)
_NEGATIVE_LABEL = re.compile(r"negative(?:[ _-]prompt)?:", re.IGNORECASE)
_INVOKEAI_OPTION = re.compile(r"\s-[CSA](?:[\s\d=k]|$)")
"""Options that only InvokeAI has; the lines that may have one are parsed completely."""
_SETTING_LINE = re.compile(r"([A-Za-z][\w -]{1,30}):\s*(\S.{0,80})")
_RECORD_LINE = re.compile(rb"^(?:Seed|Steps|Width|Guidance Scale): ", re.MULTILINE)
"""Line of a record of Easy Diffusion, which has one parameter per line."""
_MAX_RECORD_BYTES = 1 << 16
_HASHTAGS = re.compile(r"#\w+(?:\s+#\w+)+")
MAX_COLUMNS = 50
"""Maximum number of columns of a line that is compared with the header of a table."""


@dataclass
class _Prompt:
    """Store the text of a job, its line, its negative prompt on a later line, and notes."""

    line: int
    text: str
    negative: str | None = None
    notes: list[str] = field(default_factory=list)


def parse_text(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the jobs of a `.txt` file in order, and an error for each invalid line."""
    if _is_json_file(data):
        yield from parse_json_file(source, data, keys)
        return
    lines = list(decode_lines(source, data))
    if len(data) <= _MAX_RECORD_BYTES and _RECORD_LINE.search(data):
        record = read_easydiffusion({"text": "\n".join(line[1] for line in lines if not isinstance(line, LineError))})
        if record is not None and record.has_prompt:
            yield entry_or_error(source, 1, external_settings, record, source)
            return
    texts = ["" if isinstance(line, LineError) else line[1] for line in lines]
    last = max((i for i, text in enumerate(texts) if is_parameters_line(text)), default=-1)
    end = _end_of_template(texts, last + 1) if last >= 0 else 0
    yield from _parse_blocks(source, lines[:end], texts[:end], keys)
    yield from _parse_plain(source, lines[end:], keys)


def _is_json_file(data: bytes) -> bool:
    """Return whether a file is a JSON list, or a JSON object of several lines."""
    text = data.strip()
    if not text.startswith(b"[") and not (text.startswith(b"{") and b"\n" in text):
        return False
    try:
        parse_json(data)
    except ValueError:
        return False
    return True


def _end_of_template(texts: Sequence[str], start: int) -> int:
    """Return the index after the lines `Template:` and `Negative Template:` that begin at `start`."""
    if start < len(texts) and is_template_line(texts[start]):
        while start < len(texts) and texts[start].strip():
            start += 1
    return start


def _parse_blocks(
    source: str, lines: Sequence[NumberedLine | LineError], texts: Sequence[str], keys: Keys
) -> Iterator[Entry | LineError]:
    """Yield a job for each parameters text. All lines since the previous text belong to it, except comments."""
    block: list[NumberedLine] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if isinstance(line, LineError):
            yield line
        elif is_parameters_line(line[1]):
            end = _end_of_template(texts, index)
            text = "\n".join([*(text for _, text in [*block, line]), *texts[index:end]])
            yield entry_or_error(source, [*block, line][0][0], parse_parameters, text, source)
            block, index = [], end
        elif has_pasted_parameters(line[1]):
            yield from _parse_plain(source, [*block, line], keys)
            block = []
        elif not line[1].lstrip().startswith("#") and not _SEPARATOR.fullmatch(line[1].strip()):
            block += [line] if block or line[1].strip() else []


def _parse_plain(source: str, lines: Sequence[NumberedLine | LineError], keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the jobs of lines that are prompts. A line `Negative prompt:` belongs to the job before it."""
    prompts = _group_lines(source, lines)
    candidates = [each.text for each in prompts if isinstance(each, _Prompt) and _INVOKEAI_OPTION.search(each.text)]
    is_invokeai = any(map(has_invokeai_options, candidates))
    for prompt in prompts:
        if isinstance(prompt, LineError):
            yield prompt
        else:
            yield entry_or_error(source, prompt.line, _parse_prompt, prompt, source, keys, is_invokeai)


def _parse_prompt(
    prompt: _Prompt, source: str, keys: Keys, is_invokeai: bool, on_note: Callable[[str], None]
) -> dict[str, Any]:
    for note in prompt.notes:
        on_note(note)
    text = prompt.text
    if has_pasted_parameters(text):
        return parse_parameters(text, source, on_note)
    if text.startswith("{") and text.endswith("}"):
        try:
            value = parse_json(text, unique_keys=True)
        except ValueError:
            value = None
        if isinstance(value, dict) and "prompt" in map(str.casefold, value):
            return parse_settings(value, keys, on_note)
        if isinstance(value, dict):
            on_note("The line is JSON without the key 'prompt'. It is used as the prompt.")
            return {"prompt": text}
    _note_other_content(text, on_note)
    line = text.removeprefix("\\") if text.startswith("\\#") else text
    values = parse_prompt_line(line, on_note, is_invokeai=is_invokeai)
    if prompt.negative is not None:
        if "negative_prompt" in values:
            raise UsageError("Cannot set negative_prompt twice.", "Remove the option or the line 'Negative prompt:'.")
        values["negative_prompt"] = prompt.negative
        on_note("The line 'Negative prompt:' after the prompt is its negative prompt.")
    return values


def _note_other_content(text: str, on_note: Callable[[str], None]) -> None:
    """Give a note about a prompt that looks like a setting (`Steps: 20`) or like the header of a table."""
    match = _SETTING_LINE.fullmatch(text)
    if match and _is_setting(match[1]):
        on_note(f"The prompt looks like the setting {match[1]!r}. Write settings as options, such as --steps 20.")
    names = text.split(",")
    if 1 < len(names) <= MAX_COLUMNS and "prompt" in map(normal_key, names) and all(map(_is_setting, names)):
        on_note("The prompt looks like the header of a table. Rename the file to .csv.")


def _is_setting(name: str) -> bool:
    try:
        setting_name(name)
    except UsageError:
        return False
    return True


def _group_lines(source: str, lines: Sequence[NumberedLine | LineError]) -> list[_Prompt | LineError]:
    """Return the prompts of lines, without comments, separators, list markers and labels."""
    marker = _list_marker([line[1].strip() for line in lines if not isinstance(line, LineError)])
    found: list[_Prompt | LineError] = []
    notes: list[str] = []
    label: re.Pattern[str] | None = None
    for line in lines:
        if isinstance(line, LineError):
            found.append(line)
            continue
        number, text = line[0], line[1].strip()
        if text.startswith("#"):
            if _HASHTAGS.fullmatch(text):
                notes.append(f"Line {number} is a comment, because it begins with '#'. Begin a prompt with '\\#'.")
        elif _SEPARATOR.fullmatch(text):
            notes.append(f"Lines such as '{text[:3]}' are separators and not prompts.")
        elif text:
            if marker is not None and (match := marker.match(text)):
                text = text[match.end() :]
                notes.append("The file is a list. The list markers are not part of the prompts.")
            for pattern in (_LABEL, _NEGATIVE_LABEL):
                if match := pattern.match(text):
                    label, text = pattern, text[match.end() :].strip()
                    if label is _LABEL:
                        notes.append("The label before the prompt is not part of the prompt.")
            if text:
                _add_prompt(source, found, _Prompt(number, text, notes=notes), is_negative=label is _NEGATIVE_LABEL)
                notes, label = [], None
    return found


def _add_prompt(source: str, found: list[_Prompt | LineError], prompt: _Prompt, *, is_negative: bool) -> None:
    """Add a prompt, or set the negative prompt of the last prompt."""
    last = found[-1] if found else None
    if not is_negative:
        found.append(prompt)
    elif isinstance(last, _Prompt) and last.negative is None:
        last.negative = prompt.text
        last.notes += prompt.notes
    elif not isinstance(last, LineError):
        error = UsageError("Cannot use a negative prompt without a prompt before it.", "a red fox -n 'bad hands'")
        found.append(LineError(source, prompt.line, error))


def _list_marker(texts: Sequence[str]) -> re.Pattern[str] | None:
    """Return the pattern of the list markers if every prompt of several has one, numbers in ascending order."""
    prompts = [text for text in texts if text and not text.startswith("#")]
    if len(prompts) < 2:
        return None
    if all(map(_BULLET.match, prompts)):
        return _BULLET
    numbers = [match and int(match[1]) for match in map(_NUMBER.match, prompts)]
    first = numbers[0]
    return _NUMBER if first is not None and numbers == list(range(first, first + len(numbers))) else None
