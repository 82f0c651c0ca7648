"""Find the policies of the filters that a request selects, and read their word lists."""

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from artgen.errors import InputFileError, UsageError
from artgen.spec import settings
from artgen.spec.config import config_files, read_config_file, shared_setting
from artgen.spec.fields import describe_value
from artgen.spec.filter_policies import (
    EXAMPLE_WORDS,
    FILTERS_TABLE,
    NO_FILTER,
    STRICT,
    STRICT_POLICY,
    FilterPolicy,
    parse_policies,
    split_names,
)
from artgen.spec.filter_words import MAX_WORD_LIST_BYTES, WordList, parse_word_list
from artgen.system.command_state import cleared_after_command, register_reset
from artgen.system.external_data import read_regular
from artgen.system.files import FileIdentity, file_identity

_EXAMPLE_FILE = Path(__file__).resolve().parent.parent / "assets" / "filters" / "example.txt"

SelectedFilters = Mapping[str, tuple[FilterPolicy, tuple[WordList, ...]]]
"""Policies by name, each with its word lists."""


def configured_names() -> tuple[str, ...]:
    """Return the names of the default filters, from `ARTGEN_FILTER` or a configuration file.

    Raises:
        InputFileError: a file is not valid.
        UsageError: the variable is not a list of names.
    """
    text = os.environ.get("ARTGEN_FILTER")
    value = settings.parse_value(settings.FilterSettings, "filter", text) if text else shared_setting("filter") or ()
    return split_names((value,) if isinstance(value, str) else value)


def effective_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the filters of a request; without names, the filters of the configuration."""
    found = split_names(names) or configured_names()
    return () if found == (NO_FILTER,) else found


def combined_names(required: Iterable[str], requested: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the required filters and of further filters. A request cannot remove a required filter."""
    fixed = split_names(required)
    if fixed in ((), (NO_FILTER,)):
        return split_names(requested) or fixed
    return tuple(dict.fromkeys([*fixed, *(name for name in split_names(requested) if name != NO_FILTER)]))


def find_filters(names: Iterable[str]) -> SelectedFilters:
    """Return the policies with these names, with their word lists.

    Raises:
        UsageError: a policy is unknown.
        InputFileError: a configuration file or a word list is not valid.
    """
    return {name: _received.get(name) or _find_filter(name) for name in names}


_received: dict[str, tuple[FilterPolicy, tuple[WordList, ...]]] = {}
"""Policies of the machine that started a batch, for the other machines."""

register_reset(_received.clear)


def use_filters(filters: SelectedFilters) -> None:
    """Use the policies and word lists of another machine in place of the ones of this machine."""
    _received.update(filters)


def _find_filter(name: str) -> tuple[FilterPolicy, tuple[WordList, ...]]:
    policy = _find_policy(name)
    return policy, _word_lists(policy)


def _find_policy(name: str) -> FilterPolicy:
    policies = _policies()
    if name not in policies:
        from artgen.spec.synonyms import similar_names

        close = next(iter(similar_names(name, policies)), "")
        hint = f"Did you mean '{close}'?" if close else f"Filters: {', '.join(policies)}."
        raise UsageError(f"Unknown filter: {describe_value(name)}.", hint)  # a default is not ignored
    return policies[name]


def filter_names() -> tuple[str, ...]:
    """Return the names of all filters, for shells.

    Raises:
        InputFileError: a configuration file is not valid.
    """
    return (*_policies(), NO_FILTER)


def _policies() -> Mapping[str, FilterPolicy]:
    """Return all policies. A policy in `artgen.toml` has precedence over a policy in the user's file."""
    found = {STRICT: STRICT_POLICY}
    for path in reversed(config_files()):
        found |= parse_policies(read_config_file(path).get(FILTERS_TABLE, {}), path)
    return found


def _word_lists(policy: FilterPolicy) -> tuple[WordList, ...]:
    return tuple(_find_words(policy, text) for text in policy.words)


def _find_words(policy: FilterPolicy, text: str) -> WordList:
    path = _EXAMPLE_FILE if text == EXAMPLE_WORDS else policy.path(text)
    try:
        return _read_words(path, text, file_identity(path))
    except InputFileError as error:
        raise InputFileError(f"Cannot use the filter '{policy.name}'. {error.message}", error.hint) from error


@cleared_after_command
@lru_cache(maxsize=16)
def _read_words(path: Path, name: str, _: FileIdentity) -> WordList:
    """Return the word list in a file. The identity of the file is a part of the key."""
    return parse_word_list(read_regular(path, MAX_WORD_LIST_BYTES), name)
