"""Test the reading of external files and JSON in bounded time and memory."""

import os
import threading
from pathlib import Path

import pytest

from artgen.errors import InputFileError
from artgen.system import external_data
from artgen.system.external_data import MAX_JSON_DEPTH, parse_json, read_limited, read_optional


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("\ufeff[18446744073709551615]", [2**64 - 1]),
        ("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH, None),
    ],
)
def test_valid_json_is_parsed(text, value):
    parsed = parse_json(text)
    assert value is None or parsed == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is not a finite number"),
        ("[-Infinity]", "-Infinity is not a finite number"),
        ("[1e999]", "1e999 is not a finite number"),
        ("9" * 41, "a number has 41 digits"),
        ("9" * 5000, "a number has 5000 digits"),
        ("[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1), "nested deeper than"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested deeper than"),
        (b"\xff", "byte 1 is not UTF-8"),
        ("", "it is not JSON"),
        ("{'a': 1}", "it is not JSON"),
    ],
)
def test_invalid_json_gives_one_reason(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_duplicate_keys_are_rejected_on_request():
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match="the key 'a' occurs twice"):
        parse_json('[{"a": 1, "a": 2}]', unique_keys=True)


def test_regular_files_are_read_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_limited(path, 100) == read_optional(path, 100) == b"x" * 100
    assert read_optional(path, 99) is None
    with pytest.raises(InputFileError, match="at most 99 bytes"):
        read_limited(path, 99)


def test_a_pipe_is_read_until_its_writer_closes_it(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"x" * 200_000))
    writer.start()
    assert read_limited(pipe, 1 << 20) == b"x" * 200_000
    writer.join()


def test_a_pipe_without_a_writer_ends_with_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(external_data, "PIPE_IDLE_SECONDS", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputFileError, match="the pipe sent no data"):
        read_limited(pipe, 100)
    assert read_optional(pipe, 100) is None


def test_an_endless_device_ends_with_an_error():
    with pytest.raises(InputFileError, match="at most 1 MiB"):
        read_limited(Path("/dev/zero"), 1 << 20)
    assert read_optional(Path("/dev/zero"), 1 << 20) is None


def test_paths_that_cannot_be_read(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path, loop, tmp_path / "missing", file / "child", Path("a\0b"), tmp_path / ("x" * 300)):
        assert read_optional(path, 100) is None
        with pytest.raises(InputFileError):
            read_limited(path, 100)
