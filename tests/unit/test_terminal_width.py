"""Test that listings, notes and errors do not break inside words on a narrow terminal."""

import io
import sys
import time
from pathlib import Path

import pytest
from terminal_stream import TerminalStream

from artgen.cli.main import app
from artgen.system.terminal import fit_words

WIDTHS = (40, 60, 80, 120)

LISTINGS = [
    ("models", "list"),
    ("models", "recommend", "--device", "cpu"),
    ("models", "recommend", "--memory", "24GiB"),
    ("models", "show", "tiny"),
    ("models", "words", "tiny"),
    ("schedulers",),
    ("styles",),
    ("doctor",),
    ("config", "show"),
    ("preset", "list"),
    ("cache", "list"),
    ("txt2img", "a fox", "--steps", "0"),
    ("txt2img", "a fox", "--scheduler", "eulr"),
    ("txt2img", "a fox", "--hires-fix"),
    ("img2img", "nope.png"),
    ("models", "show", "a-model-that-does-not-exist"),
    ("a-command-that-does-not-exist",),
]


def output(arguments: tuple[str, ...], stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a command prints to stdout and stderr."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit):
            app(list(arguments), prog_name="artgen")
    return stream.getvalue()


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_lines_are_broken_between_words(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("styles.csv").write_text(f"name,prompt\noil,{'an oil painting ' * 9}\n{'long' * 9},a {'b ' * 50}\n")
    Path("artgen.toml").write_text(
        f'style_folder = "styles.csv"\nnegative_prompt = "{"blurry " * 20}"\n[presets.mine]\nsteps = 20\n'
    )
    monkeypatch.setenv("NO_COLOR", "1")
    for columns in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(columns))
        text = output(arguments, TerminalStream(), monkeypatch)
        assert "Invalid configuration" not in text
        for line in text.splitlines():
            is_one_word = " " not in line.strip()
            is_command = line.startswith(("  artgen ", "  pip "))  # not broken, so that it can be copied
            has_command = line.strip().startswith("`")
            assert len(line) <= columns or is_one_word or is_command or has_command, (columns, line)


@pytest.mark.parametrize("arguments", [("schedulers",), ("doctor",), ("models", "show", "tiny")], ids=" ".join)
def test_lines_for_a_pipe_do_not_depend_on_the_width(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = set()
    for columns in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(columns))
        texts.add(output(arguments, io.StringIO(), monkeypatch))
    assert len(texts) == 1


def test_words_and_commands_in_backticks_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    text = "Run `artgen models pull sd15` and a-very-long-word-that-does-not-fit-in-the-line again."
    lines = fit_words(text, TerminalStream()).split("\n")
    assert " ".join(lines) == text
    assert any("`artgen models pull sd15`" in line for line in lines)
    assert fit_words(text, io.StringIO()) == text


@pytest.mark.parametrize("columns", [20, 30, 40, 50, 60, 120])
@pytest.mark.parametrize("is_batch", [False, True])
def test_progress_is_one_line_at_each_width(columns: int, is_batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from artgen.cli import progress_bars, progress_batch

    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    if is_batch:
        monkeypatch.setattr(progress_batch, "stderr_console", lambda: console)
        bars = progress_batch._create_progress_line()
        bars.add_task("step 19/30", total=500, completed=36, rate_baseline=(time.monotonic() - 9, 0))
    else:
        bars = progress_bars.create_progress_bars(console)
        task = bars.add_task("generating", total=60, unit="steps")
        for completed in (1, 54, 55):
            bars.update(task, completed=completed)
    console.print(bars.get_renderable())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert len(lines[0]) <= columns
    assert columns < 50 or is_batch or "it/s" in lines[0]
