"""Test the search of the history: dates, sizes, words and the SQL."""

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from history_entries import add_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from artgen.api.history_access import run_query
from artgen.errors import UsageError
from artgen.image_history.query import HistoryQuery, create_query, parse_size, parse_tags
from artgen.image_history.query_dates import parse_period, utc_text

RECORDS = {
    "fox": {"task": "txt2img", "prompt": "two red foxes, snow", "model": "sdxl", "lora": ["styles/Ink_v2:0.8"]},
    "car": {"task": "img2img", "prompt": 'a "blue" car: 50% off_road', "model": "OWNER/Some-Model"},
    "chinese": {"task": "txt2img", "prompt": "狐 in Ænima café", "model": "stabilityai/stable-diffusion-xl-base-1.0"},
}
SIZES = {"fox": (16, 16), "car": (32, 16), "chinese": (8, 24)}


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the local time zone to UTC+2 in summer and UTC+1 in winter."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("today", "2026-03-31T22:00", "2026-04-01T22:00"),
        ("Yesterday", "2026-03-30T22:00", "2026-03-31T22:00"),
        ("wednesday", "2026-03-31T22:00", "2026-04-01T22:00"),
        ("last wednesday", "2026-03-24T23:00", "2026-03-25T23:00"),
        ("sunday", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("now", "2026-04-01T10:00", "2026-04-01T10:00"),
        ("3d", "2026-03-29T10:00", "2026-03-29T10:00"),
        (" 2  Weeks ago ", "2026-03-18T10:00", "2026-03-18T10:00"),
        ("90 min", "2026-04-01T08:30", "2026-04-01T08:30"),
        ("1 month", "2026-03-01T11:00", "2026-03-01T11:00"),
        ("2y", "2024-04-01T10:00", "2024-04-01T10:00"),
        ("2025", "2024-12-31T23:00", "2025-12-31T23:00"),
        ("2026-02", "2026-01-31T23:00", "2026-02-28T23:00"),
        ("2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("2026-03-29 12:00", "2026-03-29T10:00", "2026-03-29T10:00"),
        ("2026-03-29t12:00z", "2026-03-29T12:00", "2026-03-29T12:00"),
        ("2026-03-29T12:00-05:00", "2026-03-29T17:00", "2026-03-29T17:00"),
    ],
)
def test_dates_are_in_the_local_time_zone(text: str, start: str, end: str) -> None:
    now = datetime(2026, 4, 1, 12).astimezone()
    period = parse_period("since", text, now)
    assert (utc_text(period.start)[:16], utc_text(period.end)[:16]) == (start, end)


@pytest.mark.parametrize(
    "values",
    [
        *({"since": text} for text in ("", "never", "3x", "99999 years", "2026-13", "0000", "9999", "3d 3d", "12:00")),
        *({"size": text} for text in ("big", "512x", ">=1+", "=>5", "-5", "5x5x5")),
        *({"rating": value} for value in (6, -1, True, 4.0)),
        *({"tags": [tag]} for tag in ("", " ", "a,b", "a\nb\x1b", "12", "-x", "history:1", "x" * 65)),
        {"text": '"* ()'},
        {"text": "🦊"},
        {"task": "paint"},
        {"limit": 0},
        {"limit": 2**70},
        *({name: 5} for name in ("text", "model", "lora", "size", "since", "until", "tags", "task")),
        {"since": "today", "until": "yesterday"},
    ],
    ids=str,
)
def test_invalid_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        create_query(**values)


def test_sizes_and_tags_are_normalized() -> None:
    size = parse_size(" >= 1024 X 768")
    assert (size.min_width, size.max_width, size.min_height, size.max_height) == (1024, None, 768, None)
    size = parse_size("<512")
    assert (size.min_side, size.max_side) == (None, 511)
    assert parse_size("512+") == parse_size(">=512")
    assert parse_tags(["Winter  Day", "a", "winter day"]) == ("a", "winter day")


@pytest.fixture
def _entries() -> None:
    for number, (name, record) in enumerate(RECORDS.items()):
        path = Path(f"{name}.png")
        Image.new("RGB", SIZES[name], (number, 0, 0)).save(path)
        os.utime(path, (1_700_000_000 + number,) * 2)
        add_image(path, record)


def found(**values: Any) -> list[str]:
    return [entry.path.stem for entry in run_query(create_query(**values))]


@pytest.mark.usefixtures("_entries")
def test_entries_are_found_by_each_property() -> None:
    for values, expected in (
        ({}, ["chinese", "car", "fox"]),
        ({"limit": 2}, ["chinese", "car"]),
        ({"text": "FOX snow"}, ["fox"]),
        ({"text": '"snow red"'}, []),
        ({"text": '"red foxes"'}, ["fox"]),
        ({"text": '"red fox"'}, []),
        ({"text": "-red"}, ["chinese", "car"]),
        ({"text": "in -car"}, ["chinese"]),
        ({"text": "blue AND NEAR car OR"}, []),
        ({"text": 'blue" car'}, ["car"]),
        ({"text": "cafe 狐"}, ["chinese"]),
        ({"text": "50% off_road"}, ["car"]),
        ({"model": "SDXL"}, ["chinese", "fox"]),
        ({"model": "some-m"}, ["car"]),
        ({"model": "%"}, []),
        ({"lora": "ink_V2"}, ["fox"]),
        ({"lora": "inkxv2"}, []),
        ({"task": "img2img"}, ["car"]),
        ({"size": "16x16"}, ["fox"]),
        ({"size": ">=24"}, ["chinese", "car"]),
        ({"rating": 0}, ["chinese", "car", "fox"]),
        ({"rating": 1}, []),
        ({"since": datetime.fromtimestamp(1_700_000_001).astimezone()}, ["chinese", "car"]),
        ({"until": datetime.fromtimestamp(1_700_000_001).astimezone()}, ["fox"]),
        ({"tags": ["winter"]}, []),
    ):
        assert found(**values) == expected, values


@pytest.mark.usefixtures("_entries")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.sampled_from("ab*\"-^:(){}+,%_\\'\0\ud800 é狐") | st.characters(), max_size=12))
def test_no_text_causes_an_sql_error(text: str) -> None:
    run_query(HistoryQuery(text=text))
    run_query(HistoryQuery(model=text, lora=text, tags=(text.encode("utf-8", "replace").decode(),)))
