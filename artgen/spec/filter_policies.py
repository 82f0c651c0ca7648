"""Define the policies of output filters: tables `[filters.NAME]` of a configuration file, and the preset `strict`.

[filters.family]
words = ["example", "words.txt"]
action = "refuse"

[filters.images]
filter_model = "OWNER/NAME"
labels = ["nsfw"]
threshold = 0.5
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.spec.fields import describe_value

FILTERS_TABLE = "filters"
"""Table of a configuration file with a table for each policy."""

NO_FILTER = "none"
"""Name that selects no filter, also if the configuration has a default."""

STRICT = "strict"

EXAMPLE_WORDS = "example"
"""Name of the word list that ships with artgen."""

ACTIONS = ("refuse", "note")

DEFAULT_THRESHOLD = 0.5

_NAME = re.compile(r"[\w-]{1,40}", re.ASCII)

_EXAMPLE = "Write a table [filters.NAME] with words, safety_checker or filter_model."


@dataclass(frozen=True)
class FilterPolicy:
    """Describe an output filter. The attributes have the names of the keys of its table.

    Attributes:
        name: name of the policy.
        words: files with words, or `example`.
        safety_checker: run the model's own safety checker; a model without one is refused.
        filter_model: hub id or folder of an image classifier; None without one.
        labels: labels of the classifier that the filter looks for.
        threshold: probability of the labels from which on an image matches, above 0 to 1.
        action: refuse: a matching image is not saved; note: it is saved, with a note.
        folder: folder to which relative paths refer.
    """

    name: str
    words: tuple[str, ...] = ()
    safety_checker: bool = False
    filter_model: str | None = None
    labels: tuple[str, ...] = ()
    threshold: float = DEFAULT_THRESHOLD
    action: str = "refuse"
    folder: Path = Path()

    @property
    def refuses(self) -> bool:
        """Return whether a matching image is refused."""
        return self.action == "refuse"

    @property
    def is_strict(self) -> bool:
        """Return whether this is the preset `strict`."""
        return self.name == STRICT

    def path(self, text: str) -> Path:
        """Return the path that a text of the table means. `~` is the home folder of the user."""
        return self.folder / os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises for an unknown ~user


STRICT_POLICY = FilterPolicy(STRICT, words=(EXAMPLE_WORDS,), safety_checker=True)


def split_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of filters, each once: `("a,b", "a")` is `("a", "b")`.

    Raises:
        UsageError: a name is not a text, all names are empty, or `none` is combined with another name.
    """
    if not _is_list_of_names(names):
        raise UsageError(f"filter must be a list of names, not {describe_value(names)}.", "--filter strict")
    found = tuple(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))
    if names and not found:
        raise UsageError("filter needs the name of a filter, but the text is empty.", "--filter none")
    if NO_FILTER in found and len(found) > 1:
        others = ",".join(name for name in found if name != NO_FILTER)
        raise UsageError(f"Cannot combine --filter none with other filters: {others}.", f"--filter {others}")
    return found


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def parse_policies(value: Any, path: Path) -> dict[str, FilterPolicy]:
    """Return the policies of the table `filters` of a configuration file, by name.

    Raises:
        InputFileError: the table is invalid.
    """
    title = f"Invalid configuration file '{path}'"
    if not isinstance(value, Mapping) or not all(isinstance(each, Mapping) for each in value.values()):
        raise InputFileError(f"{title}: '{FILTERS_TABLE}' must contain a table for each filter.", _EXAMPLE)
    return {name: _parse_policy(name, table, title, path.parent) for name, table in value.items()}


def _parse_policy(name: str, table: Mapping[str, Any], title: str, folder: Path) -> FilterPolicy:
    def refuse(message: str, hint: str = "") -> InputFileError:
        return InputFileError(f"{title}: [filters.{name}]: {message}", hint)

    if not _NAME.fullmatch(name) or name in (NO_FILTER, STRICT):
        reason = "the name is reserved" if name in (NO_FILTER, STRICT) else "a name has letters, digits, - and _"
        raise refuse(f"{reason}.", _EXAMPLE)
    values = {key.replace("-", "_"): each for key, each in table.items()}
    for key, each in values.items():
        if key not in _CHECKS:
            from artgen.spec.synonyms import similar_names

            close = next(iter(similar_names(key, _CHECKS)), "")
            hint = f"Did you mean '{close}'?" if close else f"Keys: {', '.join(_CHECKS)}."
            raise refuse(f"unknown key: {key!r}.", hint)
        expected, is_valid = _CHECKS[key]
        if not is_valid(each):
            raise refuse(f"{key} must be {expected}, not {describe_value(each)}.")
    texts: dict[str, Any] = {key: _texts(values[key]) for key in ("words", "labels") if key in values}
    fields: dict[str, Any] = {**values, **texts, "folder": folder}
    policy = FilterPolicy(name, **fields)
    if not (policy.words or policy.safety_checker or policy.filter_model):
        raise refuse("it has no words, no safety_checker and no filter_model.", 'words = ["example"]')
    if policy.filter_model and not policy.labels:
        raise refuse("filter_model needs labels.", 'labels = ["nsfw"]')
    if unused := [key for key in ("labels", "threshold") if key in values and not policy.filter_model]:
        raise refuse(f"{unused[0]} needs filter_model.", 'filter_model = "OWNER/NAME"')
    return policy


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_list_of_texts(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_threshold(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


_CHECKS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "words": ("a list of files", _is_list_of_texts),
    "safety_checker": ("true or false", lambda value: isinstance(value, bool)),
    "filter_model": ("a hub id or a folder", _is_text),
    "labels": ("a list of labels of the filter_model", _is_list_of_texts),
    "threshold": ("a number above 0, at most 1", _is_threshold),
    "action": (f"{' or '.join(ACTIONS)}", lambda value: value in ACTIONS),
}
"""Keys of a table: what a value must be, and whether it is that."""
