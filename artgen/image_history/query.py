"""Define a search of the history, and read its values. This module does not import sqlite3."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, Unpack

from artgen.errors import InputFileError, UsageError
from artgen.image_history.entry import MAX_RATING, MIN_RATING
from artgen.image_history.query_dates import DATE_HINT, parse_period, utc_text
from artgen.image_history.query_text import text_expressions
from artgen.spec.fields import describe_value
from artgen.spec.requests import TASKS
from artgen.spec.value_checks import check_choice, check_range

MAX_TAG_CHARS = 64
MAX_LIMIT = 10**9

_SIZE = re.compile(r"(>=|<=|>|<|=)?\s*(\d{1,9})(?:\s*[x\u00d7*]\s*(\d{1,9}))?\s*(\+)?")


@dataclass(frozen=True)
class SizeRange:
    """Store the sizes of a search, inclusive.

    Attributes:
        min_width, max_width: limits of the width in pixels; None has no limit.
        min_height, max_height: limits of the height in pixels; None has no limit.
        min_side, max_side: limits of the longer side in pixels; None has no limit.
    """

    min_width: int | None = None
    max_width: int | None = None
    min_height: int | None = None
    max_height: int | None = None
    min_side: int | None = None
    max_side: int | None = None


@dataclass(frozen=True)
class HistoryQuery:
    """Define a search of the history. The entries must have all given properties; the newest entries come first.

    Attributes:
        text: words in the prompt, the negative prompt, the model or the tags, see `query_text`; empty for all entries.
        model: part of the name of the model; the case is ignored. None for all models.
        model_names: other names of the same model, in lower case. Each is a complete name.
        task: task, such as `txt2img`; None for all tasks.
        lora: part of the name of a LoRA; the case is ignored. None for all entries.
        size: limits of the width and the height; None for all sizes.
        rating: smallest rating, 1 to 5; 0 finds the entries without a rating; None for all entries.
        since: earliest time, in the form of `HistoryEntry.made_utc`; None has no limit.
        until: time before which the image was made, in the same form; None has no limit.
        tags: tags that the entry must have, in lower case.
        limit: largest number of entries; None has no limit.
    """

    text: str = ""
    model: str | None = None
    model_names: tuple[str, ...] = ()
    task: str | None = None
    lora: str | None = None
    size: SizeRange | None = None
    rating: int | None = None
    since: str | None = None
    until: str | None = None
    tags: tuple[str, ...] = ()
    limit: int | None = None


class QueryValues(TypedDict, total=False):
    """Define the values of `create_query`, as a user writes them. A missing value and None do not limit the search.

    Attributes:
        model: alias of a model, or part of its name.
        task: task.
        lora: part of the name of a LoRA.
        size: `512x512`, `>=1024` (longer side), `>=1024x768`, or `1024+`.
        rating: smallest rating.
        since: date; its start is the earliest time.
        until: date; its end is the latest time.
        tags: one tag or several.
        limit: largest number of entries, >= 1.
    """

    model: str | None
    task: str | None
    lora: str | None
    size: str | None
    rating: int | None
    since: str | datetime | None
    until: str | datetime | None
    tags: str | Sequence[str]
    limit: int | None


def create_query(text: str = "", *, now: datetime | None = None, **values: Unpack[QueryValues]) -> HistoryQuery:
    """Return the search that texts describe.

    Args:
        text: words.
        now: current time. None: the time of the system.
        values: see `QueryValues`.

    Raises:
        UsageError: a value is not valid, or `since` is after `until`.
    """
    now = datetime.now().astimezone() if now is None else now
    model, size, task = values.get("model"), values.get("size"), values.get("task")
    lora, rating, limit = values.get("lora"), values.get("rating"), values.get("limit")
    for name, value in {"text": text, "model": model, "lora": lora, "size": size}.items():
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{name} must be text, not {describe_value(value)}.")
    if text.strip() and not any(text_expressions(text)):
        raise UsageError(
            f"Cannot search for {describe_value(text)}: the text contains no letter and no digit.", "fox snow"
        )
    if task is not None:
        check_choice("task", task, tuple(TASKS))
    if rating is not None:
        check_rating(rating, minimum=0)
    if limit is not None:
        check_range("limit", limit, 1, MAX_LIMIT)
    since, until = values.get("since"), values.get("until")
    earliest = None if since is None else _bound("since", since, now, end=False)
    latest = None if until is None else _bound("until", until, now, end=True)
    if earliest is not None and latest is not None and earliest >= latest:
        raise UsageError(f"since ({since}) must be before until ({until}).", "Exchange the dates.")
    return HistoryQuery(
        text=text,
        model=model or None,
        model_names=_other_names(model) if model else (),
        task=task,
        lora=lora or None,
        size=parse_size(size) if size else None,
        rating=rating,
        since=earliest,
        until=latest,
        tags=parse_tags(values.get("tags", ())),
        limit=limit,
    )


def check_rating(rating: int, *, minimum: int = MIN_RATING) -> None:
    """Check a rating.

    Raises:
        UsageError: the rating is not an integer of `minimum` to 5.
    """
    if isinstance(rating, bool) or not isinstance(rating, int) or not minimum <= rating <= MAX_RATING:
        raise UsageError(
            f"A rating is {minimum} to {MAX_RATING}, not {describe_value(rating)}.",
            f"{MAX_RATING} is the best rating, {MIN_RATING} is the worst.",
        )


def parse_size(text: str) -> SizeRange:
    """Return the limits that a text describes.

    Raises:
        UsageError: the text is not a size.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or (match[1] and match[4]):
        raise UsageError(f"size must be a size, not {describe_value(text)}.", "Examples: 512x512, 1024+, '<=768'.")
    sign = ">=" if match[4] else match[1] or "="
    sides = [int(each) for each in match.group(2, 3) if each]
    lowest = [side + (sign == ">") if sign in ("=", ">", ">=") else None for side in sides]
    highest = [side - (sign == "<") if sign in ("=", "<", "<=") else None for side in sides]
    if len(sides) == 1:
        return SizeRange(min_side=lowest[0], max_side=highest[0])
    return SizeRange(lowest[0], highest[0], lowest[1], highest[1])


def parse_tags(tags: str | Sequence[str]) -> tuple[str, ...]:
    """Return tags in the form in which they are stored: in lower case, each once, sorted.

    Raises:
        UsageError: a tag is empty, has more than 64 characters, or contains a comma, a control character or no letter.
    """
    if isinstance(tags, str):
        tags = [tags]
    if not isinstance(tags, Iterable):
        raise UsageError(f"tags must be a list of texts, not {describe_value(tags)}.")
    return tuple(sorted({parse_tag(tag) for tag in tags}))


def parse_tag(text: str) -> str:
    """Return a tag in the form in which it is stored. See `parse_tags`."""
    tag = unicodedata.normalize("NFC", " ".join(text.split()).casefold()) if isinstance(text, str) else ""
    if not tag:
        raise UsageError(f"A tag is a text, not {describe_value(text)}.", "For example: winter")
    if len(tag) > MAX_TAG_CHARS:
        raise UsageError(f"A tag has at most {MAX_TAG_CHARS} characters, not {len(tag)}.", "Use several tags.")
    if "," in tag or not tag.isprintable():
        raise UsageError(
            f"A tag cannot contain commas or control characters: {describe_value(tag)}.",
            "Tags are separated by spaces: winter 'to print'",
        )
    if tag.isdecimal():
        raise UsageError(f"A tag cannot be a number: {describe_value(tag)}.", "Add a letter.")
    if tag.startswith(("-", "history:")):
        raise UsageError(f"A tag cannot begin with '-' or 'history:': {describe_value(tag)}.", "Begin with a letter.")
    return tag


def _bound(name: str, value: str | datetime, now: datetime, *, end: bool) -> str:
    """Return the start or the end of a date, in the form of `HistoryEntry.made_utc`."""
    if isinstance(value, datetime):
        return utc_text(value)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a date, not {describe_value(value)}.", DATE_HINT)
    period = parse_period(name, value, now)
    return utc_text(period.end if end else period.start)


def _other_names(model: str) -> tuple[str, ...]:
    """Return the names of the model of an alias or a hub id: its hub id and its aliases, in lower case."""
    from artgen.registry import catalog

    try:
        known = catalog.known_models()
    except InputFileError:  # a damaged file of aliases; the search uses the name alone
        known = catalog.builtin_models() | catalog.builtin_aliases()
    lowered = {name.casefold(): info for name, info in known.items()}
    info = lowered.get(model.casefold()) or catalog.model_info(model)
    if info is None:
        return ()
    names = {info.name, info.source, *info.aliases} | {
        name for name, each in known.items() if each.source == info.source
    }
    return tuple(sorted(name.casefold() for name in names))
