"""Test that the sanitizer replaces all characters that control a terminal."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from artgen.system.terminal import MAX_MESSAGE_CHARS, markup_safe, printable, printable_message, printable_path

ANY_TEXT = st.text(st.characters(), max_size=60)  # includes lone surrogates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b]8;;http://evil\x1b\\text", "\\x1b]8;;http://evil\\x1b\\text"),
        ("\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("\x7f", "\\x7f"),
        ("fox\u202egnp.exe", "fox\\u202egnp.exe"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("ein Füchslein 狐 🦊", "ein Füchslein 狐 🦊"),
        (r"C:\fox", r"C:\fox"),
    ],
)
def test_control_characters_become_visible_escapes(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(ANY_TEXT)
def test_result_contains_no_control_characters(text: str) -> None:
    result = printable(text)
    assert not {unicodedata.category(character) for character in result} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(result) == result
    result.encode("utf-8")


@given(ANY_TEXT)
def test_printed_paths_contain_no_control_characters(text: str) -> None:
    result = printable_path(text)
    assert not {unicodedata.category(character) for character in result} & {"Cc", "Zl", "Zp"}
    assert len(result.splitlines()) <= 1


@pytest.mark.parametrize(
    "text", ["fox.png", "ein Füchslein.png", "\N{MAN}\u200d\N{ROCKET}.png", "a\udcff\udc9b.png", "می\u200cخواهم.png"]
)
def test_printed_paths_without_control_characters_are_exact(text: str) -> None:
    assert printable_path(text) == text


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2J", "\x9b", "\u202egnp", "\ud800", "\u2028"])
def test_control_characters_of_printed_paths_become_escapes(text: str) -> None:
    assert printable_path(text) == printable(text)


def _print(renderable: object) -> str:
    console = Console(file=io.StringIO(), force_terminal=False, width=4000, emoji=False, highlight=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["[/nope]", "[red]x[/red]", "\\[bold]", "[link=http://evil]x[/link]", "tail\\"])
def test_markup_is_printed_unchanged(text: str) -> None:
    assert _print(f"[bold]{markup_safe(text)}[/bold]") == text + "\n"
    assert _print(Text(printable(text))) == text + "\n"


@given(st.text(st.sampled_from("[]/\\ab=#@ \x1b"), max_size=20))
def test_escaped_markup_never_raises(text: str) -> None:
    _print(f"[bold]{markup_safe(text)}[/bold]")


def test_long_value_in_a_message_is_shortened() -> None:
    message = printable_message(f"Cannot use {'9' * 5000}: too long.")
    assert len(message) < MAX_MESSAGE_CHARS + 60
    assert message.startswith("Cannot use 999")
    assert message.endswith("999: too long.")
    assert " characters omitted] 999" in message
