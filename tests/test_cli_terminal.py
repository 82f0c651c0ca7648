"""What reaches a terminal: escapes of artgen's own, and none of anybody else's."""

import pytest
from pseudo_terminal import Terminal


def test_hostile_strings_do_not_reach_a_terminal() -> None:
    terminal = Terminal("info", "\x1b]52;c;ZXZpbA==\x07[/nope]\u202e\x9b2J.png")
    assert terminal.leave() == 3
    for raw in (b"\x1b]52", b"\x07", "\u202e".encode(), "\x9b".encode()):
        assert raw not in terminal.shown
    assert b"[/nope]" in terminal.shown


@pytest.mark.parametrize("words", [("txt2img", "--help"), ("info", "nope.png")])
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_color_and_dumb_terminals_get_no_escapes(words: tuple[str, ...], environment: dict[str, str]) -> None:
    terminal = Terminal(*words, **environment)
    terminal.leave()
    assert terminal.shown
    assert b"\x1b" not in terminal.shown
