"""Test `artgen history` and `history:ID` as an input image."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import FAST, run
from history_entries import add_image
from PIL import Image
from pseudo_terminal import Terminal
from terminal_stream import TerminalStream

import artgen
from artgen.image_history.connection import history_path

TINY = ("-m", "tiny", *FAST, "--size", "64x64")


@pytest.fixture
def files() -> list[str]:
    """Enter four images in the history: 1 to 4."""
    prompts = ("a red fox", "a \x1b]0;x\x07[bold]blue[/bold] car", "狐" * 50, "")
    names = [f"{number}.png" for number in range(1, 5)]
    for number, (name, prompt) in enumerate(zip(names, prompts, strict=True)):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(name)
        add_image(name, {"task": "upscale", "prompt": prompt, "model": "owner/model"})
    return names


def ids(*arguments: str) -> list[int]:
    lines = run("history", "search", *arguments, "--json").stdout.splitlines()
    return [json.loads(line)["id"] for line in lines]


def test_an_empty_history_creates_no_file() -> None:
    for arguments in ((), ("search", "x"), ("export",), ("forget", "--all")):
        run("history", *arguments)
    assert "artgen history scan" in run("history").stderr
    assert "No image of the history matches." in run("history", "search", "x").stderr
    assert "it is empty" in run("history", "show", "1", code=2).stderr
    assert "it is empty" in run("img2img", "history:1", "x", code=2).stderr
    assert not history_path().exists()


@pytest.mark.usefixtures("files")
def test_the_table_has_one_printable_line_for_each_image() -> None:
    lines = run("history").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["4", "3", "2", "1"]
    assert "upscale 4.png" in lines[0]
    assert lines[1].endswith("狐" * 50)
    assert r"a \x1b]0;x\x07[bold]blue[/bold] car" in lines[2]
    assert "More images match" in run("history", "--limit", "1").stderr
    assert run("history", "-q").stderr == ""


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("columns", [80, 40, 20])
def test_lines_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.api.history_functions import search_history
    from artgen.cli import history_table

    run("history", "tag", "1", "winter")
    stream = TerminalStream()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    history_table.print_entries(search_history(), quiet=True)
    lines = stream.getvalue().splitlines()
    assert [history_table.text_columns(line) <= columns for line in lines] == [True] * 4
    assert "[winter]" in lines[3] or columns < 40


def test_ratings_and_tags_are_set_and_exported(files: list[str]) -> None:
    run("history", "rate", "1", files[1], "history:3", "4")
    run("history", "tag", "1", files[1], "Winter", "to print")
    assert ids("--rating", "4") == [3, 2, 1]
    assert ids("--tag", "winter", "--tag", "To Print") == ids("winter") == [2, 1]
    run("history", "export", "-o", "marks.jsonl")
    run("history", "rate", "last", "1", "0")
    removed = run("history", "tag", "1", "2", "winter", "fall", "--remove")
    assert "Removed the tag 'winter' from " in removed.stderr
    assert ": the tag 'fall'." in removed.stderr  # no image had this tag
    assert ids("--rating", "4") == [3, 2]
    assert ids("winter") == []
    run("history", "forget", "3")
    result = run("history", "import", "marks.jsonl")
    assert "of 2 images" in result.stderr
    assert "1 image is not in the history" in result.stderr
    assert artgen.history_entry(1).rating == 4
    assert artgen.history_entry("2.png").tags == ("to print", "winter")
    assert [each.rating for each in artgen.export_history()] == [4, 4]
    assert "'marks.jsonl' exists already" in run("history", "export", "-o", "marks.jsonl", code=74).stderr


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "9"), "has no entry '9'"),
        (("show", "9" * 40), "has no entry"),
        (("show", "history:\x1b[1m"), r"\x1b"),
        (("show", "abc123"), "has no entry 'abc123'"),
        (("rate", "1", "6"), "A rating is 0 to 5"),
        (("rate", "1", "good"), "A rating is 0 to 5"),
        (("rate", "1", "9", "3"), "has no entry '9'"),
        (("tag", "1"), "the tags are missing"),
        (("tag", "1", "9", "winter"), "has no entry '9'"),
        (("tag", "1", "a,b"), "A tag cannot contain commas"),
        (("tag", "1", ""), "A tag is a text"),
        (("tag", "1", "x" * 65), "A tag has at most 64"),
        (("search", "*"), "no letter and no digit"),
        (("--since", "today", "--until", "yesterday"), "must be before"),
        (("forget",), "the images are missing"),
        (("forget", "1", "--all"), "either IDs or filters"),
        (("forget", "1", "2"), "Add --yes."),
        (("forget", "--text", "a"), "Add --yes."),
        (("--since", "soon"), "since must be a date"),
        (("--paths", "--json"), "Cannot combine --paths with --json"),
        (("fox",), "artgen history search fox"),
    ],
)
def test_wrong_arguments_change_nothing(arguments: tuple[str, ...], message: str) -> None:
    result = run("history", *arguments, code=2)
    assert message in result.stderr
    assert "\n  " in result.stderr  # a hint
    assert "\x1b" not in result.stderr
    assert ids() == [4, 3, 2, 1]
    assert ids("--rating", "1") == []


def test_a_changed_or_foreign_file_is_not_an_entry(files: list[str]) -> None:
    Image.new("RGB", (16, 16), "blue").save("other.png")
    result = run("history", "show", "other.png", code=2)
    assert "is not in the history" in result.stderr
    sha256 = artgen.history_entry(1).sha256
    assert artgen.history_entry(sha256[:8]).id == 1
    Path(files[0]).unlink()
    assert run("history", "search", "--paths").stdout.split() == [str(Path(name).absolute()) for name in files[:0:-1]]
    assert "missing" in run("history", "show", "1").stdout
    assert "artgen history scan" in run("info", "history:1", code=3).stderr
    run("history", "forget", "--missing")
    assert ids() == [4, 3, 2]
    assert "confirmation" in run("history", "forget", "--all", code=2).stderr
    run("history", "forget", "--all", "--yes")
    assert ids() == []
    assert all(Path(name).exists() for name in files[1:])


@pytest.mark.parametrize(
    "line",
    ["3", "[]", '{"sha256": "x"}', '{"sha256": "%s", "rating": 9}', '{"sha256": "%s", "tags": [3]}', "{", "\ud800"],
)
def test_damaged_exports_are_refused(line: str, files: list[str]) -> None:
    Path("marks.jsonl").write_bytes(line.replace("%s", "0" * 64).encode("utf-8", "surrogatepass"))
    assert "Cannot read 'marks.jsonl'" in run("history", "import", "marks.jsonl", code=3).stderr


@pytest.mark.usefixtures("files")
def test_a_damaged_history_names_the_repair() -> None:
    for name in ("history.db-wal", "history.db-shm"):
        history_path().with_name(name).unlink(missing_ok=True)
    history_path().write_bytes(b"damaged " * 1000)
    for arguments in (("history",), ("history", "rate", "1", "3"), ("info", "history:1")):
        result = run(*arguments, code=3)
        assert "is damaged" in result.stderr
        assert "artgen history scan FOLDER" in result.stderr


@pytest.mark.usefixtures("files")
def test_thumbnails_are_shown_in_a_terminal() -> None:
    terminal = Terminal("history", "--show", "--limit", "3", size=(30, 60), COLORTERM="truecolor")
    assert terminal.wait() == 0
    text = terminal.output.decode()
    assert text.count("▀") > 3 * 16
    assert text.index("▀") < text.index("prompt")


def test_entries_are_input_images_and_can_be_replayed() -> None:
    original: dict[str, Any] = json.loads(run("txt2img", "a fox", *TINY, "--seed", "5", "-o", "a.png", "--json").stdout)
    run("img2img", "history:1", "a car", *TINY, "-o", "b.png")
    details = json.loads(run("history", "show", "history:1", "--json").stdout)
    assert (details["children"], details["record"]["seed"]) == ([2], original["seed"])
    assert json.loads(run("history", "show", "last", "--json").stdout)["parent_id"] == 1
    assert artgen.info("history:1").values["prompt"] == "a fox"
    Path("moved").mkdir()
    Path("a.png").rename("moved/c.png")
    run("replay", "history:1", "-o", "d.png", "--no-history")  # the history has the record
    with Image.open("d.png") as replayed, Image.open("moved/c.png") as image:
        assert replayed.tobytes() == image.tobytes()
    run("history", "scan", "moved")
    assert artgen.history_file(1) == Path("moved/c.png").absolute()
    assert "metadata from artgen" in run("info", "history:1").stderr


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: artgen.history_entry(-1), "it is empty"),
        (lambda: artgen.history_entry(True), "not True"),
        (lambda: artgen.rate_history([None], 3), "not None"),  # type: ignore[list-item]
        (lambda: artgen.rate_history(1, 2.5), "A rating is 0 to 5"),  # type: ignore[arg-type]
        (lambda: artgen.tag_history(1, ["a", 3]), "A tag is a text, not 3"),  # type: ignore[list-item]
        (lambda: artgen.forget_history(3.5), "not 3.5"),  # type: ignore[arg-type]
        (lambda: artgen.import_history(5), "marks must be a path"),  # type: ignore[arg-type]
        (lambda: artgen.import_history([{}]), "sha256 must be"),  # type: ignore[list-item]
        (lambda: artgen.scan_history(5), "folders must be a path"),  # type: ignore[arg-type]
        (lambda: artgen.scan_history([]), "The list of folders is empty"),
        (lambda: artgen.scan_history("nowhere"), "'nowhere' does not exist"),
    ],
)
def test_wrong_values_in_python_raise_an_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(artgen.ArtgenError, match=re.escape(message)):
        call()


def test_a_file_named_like_an_entry_has_priority() -> None:
    Image.new("RGB", (16, 16), "red").save("x.png")
    Path("x.png").rename("history:1")
    assert "contains no generation metadata" in run("info", "history:1", code=3).stderr
    assert "does not exist" in run("info", "history:medieval", code=3).stderr
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(f"file:{history_path()}?mode=ro", uri=True)
