"""Convert the prompts, files and jobs that `artgen.batch` receives to the entries of a batch."""

import csv
import io
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from artgen.errors import UsageError
from artgen.images import IMAGE_SUFFIXES
from artgen.queue.batch_entries import batch_name, read_entries
from artgen.queue.entries import MAX_JOBS, Entry, LineError
from artgen.queue.job_settings import entry_or_error, parse_settings
from artgen.queue.keys import Keys
from artgen.queue.text_prompts import parse_text
from artgen.spec.base_requests import Request
from artgen.spec.fields import describe_value, non_default_settings
from artgen.spec.python_values import path_text, plain_value
from artgen.system.input_files import PROMPT_FILE_SUFFIXES, is_stdin

Job: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Request
PromptInput: TypeAlias = str | os.PathLike[str] | Iterable[Job]
"""Input of a batch: a path, or a list of lines, jobs and paths."""

SOURCE = "prompts"
"""Name of a list of prompts in the locations of its jobs, such as `prompts:3`, and of its folder in `outputs/`."""

_LIST_HINT = 'artgen.batch(["a red fox", "a boat at dusk"], folder="images")'


_ITEM_HINT = (
    'Use a line, a path, a request or a dictionary: {"prompt": "a red fox"}. A result has the dictionary `record`.'
)


@dataclass(frozen=True)
class BatchInputs:
    """Store the inputs of a batch.

    Attributes:
        name: name of the default folder.
        items: paths, and entries of lines and jobs, in order.
        ignore_columns: columns and keys to ignore; see `Keys.parse`.
    """

    name: str
    items: Sequence[Path | Entry | LineError]
    ignore_columns: str | None

    def entries(self, values: dict[str, Any], folder: Path, on_note: Callable[[str], None]) -> list[Entry | LineError]:
        """Return the entries of all inputs. See `read_entries`."""
        found: list[Entry | LineError] = []
        for item in self.items:
            if isinstance(item, Path):
                found += read_entries([item], self.ignore_columns, values, folder, on_note)
            else:
                found.append(item)
        return found

    def sweep_images(self) -> Sequence[Path]:
        """Return the input image of a sweep, or an empty list.

        Raises:
            UsageError: an input is not an image.
        """
        images = [item for item in self.items if isinstance(item, Path) and item.suffix.lower() in IMAGE_SUFFIXES]
        if len(images) < len(self.items):
            raise UsageError(
                "Cannot combine a list of prompts or a prompt file with a sweep.",
                'Use prompt="a red fox" and sweep={"steps": [2, 6]}.',
            )
        return images


def parse_inputs(prompts: PromptInput | None, ignore_columns: str | None) -> BatchInputs:
    """Return the inputs of a batch.

    Args:
        prompts: path, or list of lines, jobs and paths; None for no input.
        ignore_columns: columns and keys to ignore.

    Raises:
        UsageError: an input has another type, or `ignore_columns` is not a list.
    """
    keys = Keys.parse(ignore_columns)
    if prompts is None:
        return BatchInputs(SOURCE, (), ignore_columns)
    if isinstance(prompts, str | os.PathLike):
        path = Path(path_text(prompts, "prompts", "prompts.txt"))
        _check_is_path(path)
        return BatchInputs("stdin" if is_stdin(path) else batch_name(path), (path,), ignore_columns)
    if isinstance(prompts, Mapping | Request | bytes) or not isinstance(prompts, Iterable):
        raise UsageError(f"prompts must be a path or a list, not {describe_value(prompts)}.", _LIST_HINT)
    items: list[Path | Entry | LineError] = []
    for number, item in enumerate(itertools.islice(prompts, MAX_JOBS + 1), 1):  # the planner reports the limit
        items += _parse_item(number, item, keys)
    paths = [item for item in items if isinstance(item, Path)]
    return BatchInputs(batch_name(paths[0]) if len(paths) == len(items) and paths else SOURCE, items, ignore_columns)


def _check_is_path(path: Path) -> None:
    """Check that a text is a path and not a prompt.

    Raises:
        UsageError: no such file exists, and the text has no suffix of a prompt file or of an image.
    """
    if not is_stdin(path) and not os.path.lexists(path) and not _has_known_suffix(path):
        raise UsageError(
            f"Cannot read {describe_value(str(path))}: no file or folder has this name.",
            f"Prompts are a list: {_LIST_HINT}.",
        )


def _has_known_suffix(path: Path) -> bool:
    return path.suffix.lower() in (*PROMPT_FILE_SUFFIXES, *IMAGE_SUFFIXES)


def _parse_item(number: int, item: Any, keys: Keys) -> Iterable[Path | Entry | LineError]:
    """Return the path, or the entries of one item of a list. Comments and empty lines have no entries."""
    if isinstance(item, str):
        text = item.removesuffix("\n").removesuffix("\r")
        if os.path.lexists(text) or (_has_known_suffix(Path(text)) and not any(map(str.isspace, text))):
            return [Path(text)]
        return _parse_line(number, text, keys)
    if isinstance(item, os.PathLike):
        return [Path(item)]
    if isinstance(item, Request):
        series = {} if item.seed is None else {"seed": str(item.seed)}
        return [Entry(SOURCE, number, {**non_default_settings(item), **series, "task": item.task})]
    if not isinstance(item, Mapping):
        reason = UsageError(f"Cannot use {describe_value(item)} as a job.", _ITEM_HINT)
        return [LineError(SOURCE, number, reason)]
    values = {key: _plain(value) for key, value in item.items()}
    return [entry_or_error(SOURCE, number, parse_settings, values, keys)]


def _parse_line(number: int, text: str, keys: Keys) -> Iterable[Entry | LineError]:
    if "\n" in text or "\r" in text:
        reason = UsageError("The line contains a line break.", f'Use a dictionary: {{"prompt": {text[:40]!r}}}.')
        return [LineError(SOURCE, number, reason)]
    data = text.encode("utf-8", "surrogateescape")
    return [replace(each, line=number) for each in parse_text(SOURCE, data, keys)]


def _plain(value: Any) -> Any:
    """Return a value as in a JSON file: paths as texts, tuples as lists, numbers of numpy as numbers."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return plain_value(value)


def sweep_texts(sweep: Any) -> tuple[str, ...]:
    """Return the settings and values of a sweep as texts: `{"steps": [2, 6]}` is `("steps=2,6",)`.

    Args:
        sweep: setting -> values, a list or a text such as `1:5:2`; or texts such as `steps=2,6`; None for no sweep.

    Raises:
        UsageError: the value has another type.
    """
    if sweep is None:
        return ()
    if isinstance(sweep, str):
        return (sweep,)
    if isinstance(sweep, Mapping):
        return tuple(f"{name}={_values_text(values)}" for name, values in sweep.items())
    texts = tuple(sweep) if isinstance(sweep, Iterable) else ()
    if texts and all(isinstance(text, str) for text in texts):
        return texts
    raise UsageError(f"sweep must be a dictionary, not {describe_value(sweep)}.", 'sweep={"steps": [2, 6]}')


def _values_text(values: Any) -> str:
    if isinstance(values, str):
        return values
    items = values if isinstance(values, Iterable) else [values]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([str(item) for item in items])
    return buffer.getvalue()
