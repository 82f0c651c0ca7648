"""Read the dates of a search of the history: `yesterday`, `3d`, `2 weeks ago`, `monday`, `2026-11` and ISO 8601.

Dates without a time zone are in the local time zone.
"""

import calendar
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from artgen.errors import UsageError
from artgen.image_history.entry import UTC_FORMAT
from artgen.spec.fields import describe_value

DATE_HINT = "Examples: today, yesterday, monday, 3d, '2 weeks', 2026-11, 2026-11-30, '2026-11-30 18:00'."

_DURATION = re.compile(r"(\d{1,6})\s*([a-z]+)(?:\s+ago)?")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_UNITS = {
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "minute"),
    **dict.fromkeys(("h", "hour", "hours"), "hour"),
    **dict.fromkeys(("d", "day", "days"), "day"),
    **dict.fromkeys(("w", "week", "weeks"), "week"),
    **dict.fromkeys(("month", "months"), "month"),
    **dict.fromkeys(("y", "year", "years"), "year"),
}
_WEEKDAYS = [name.casefold() for name in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")]


class Period(NamedTuple):
    """Represent the time that a date names: a moment, a day, a month or a year.

    Attributes:
        start: begin, in UTC.
        end: end, in UTC; it is not part of the period unless it equals `start`.
    """

    start: datetime
    end: datetime


def parse_period(name: str, text: str, now: datetime) -> Period:
    """Return the time that a text names.

    Args:
        name: name of the setting, for messages.
        text: a date, see the module.
        now: current time with the local time zone.

    Raises:
        UsageError: the text is not a date, or the year is not 1 to 9999.
    """
    words = " ".join(text.casefold().split())
    try:
        period = _named_period(words, now) or _duration(words, now) or _iso_period(words.upper())
    except (ValueError, OverflowError):
        period = None
    if period is None:
        raise UsageError(f"{name} must be a date, not {describe_value(text)}.", DATE_HINT)
    return period


def utc_text(moment: datetime) -> str:
    """Return a time in the form of `HistoryEntry.made_utc`."""
    return moment.astimezone(UTC).strftime(UTC_FORMAT)


def _named_period(words: str, now: datetime) -> Period | None:
    today = now.date()
    if words == "now":
        return Period(now.astimezone(UTC), now.astimezone(UTC))
    if words in ("today", "yesterday"):
        return _days(today - timedelta(days=words == "yesterday"), 1)
    if words.removeprefix("last ") in _WEEKDAYS:
        past = (today.weekday() - _WEEKDAYS.index(words.removeprefix("last "))) % 7
        return _days(today - timedelta(days=past or (7 if words.startswith("last ") else 0)), 1)
    return None


def _duration(words: str, now: datetime) -> Period | None:
    match = _DURATION.fullmatch(words)
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        return None
    number = int(match[1])
    if unit in _SECONDS:
        moment = now.astimezone(UTC) - timedelta(seconds=number * _SECONDS[unit])
    else:
        months = 12 * now.year + now.month - 1 - number * (12 if unit == "year" else 1)
        year, month = months // 12, months % 12 + 1
        day = min(now.day, calendar.monthrange(year, month)[1])
        moment = _local(datetime.combine(date(year, month, day), now.time()))
    return Period(moment, moment)


def _iso_period(text: str) -> Period | None:
    """Return the period of a year, a month, a day, or a time of ISO 8601."""
    if re.fullmatch(r"\d{4}", text):
        year = int(text)
        return Period(_midnight(date(year, 1, 1)), _midnight(date(year + 1, 1, 1)))
    if re.fullmatch(r"\d{4}-\d{2}", text):
        year, month = map(int, text.split("-"))
        return _days(date(year, month, 1), calendar.monthrange(year, month)[1])
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}", text):
        return _days(date.fromisoformat(text), 1)
    if not re.match(r"\d{4}-?\d{2}-?\d{2}[T ]\d{2}", text):
        return None
    parsed = datetime.fromisoformat(text)
    moment = _local(parsed) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return Period(moment, moment)


def _days(first: date, number: int) -> Period:
    return Period(_midnight(first), _midnight(first + timedelta(days=number)))


def _midnight(day: date) -> datetime:
    return _local(datetime.combine(day, time()))


def _local(moment: datetime) -> datetime:
    """Return a local time without a time zone as UTC."""
    return moment.astimezone(UTC)
