"""Print results to stdout, and everything else to stderr.

Text from a user, a file or a model passes `printable` before it is written, also to a pipe: one value is one line and
contains no escape sequences. JSON is not changed.

If the reader of a pipe closes it (`| head -1`), the rest of the output is discarded without a message. A command that
only prints exits as usual. A command that generates images stops before the next step, see `artgen.cli.reporter`.
"""

import contextlib
import json
import os
import sys
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from artgen.cli.status_line import status_line
from artgen.errors import ArtgenError, OutputError
from artgen.system.command_state import cleared_after_command
from artgen.system.terminal import fit_words, has_styles, is_terminal, printable, printable_message, printable_path

if TYPE_CHECKING:
    from rich.console import Console

EXIT_SOME_FAILED = 7
"""Exit code if some of several images failed."""


EXIT_OUTPUT_CLOSED = 141
"""Exit code if the reader of stdout or stderr closed the pipe before all images were generated (128 + SIGPIPE)."""

_closed_streams: "weakref.WeakSet[TextIO]" = weakref.WeakSet()
"""Streams whose reader closed the pipe."""


def print_result(line: str, hanging_indent: int = 2) -> None:
    """Print one line of results to stdout, sanitized. A terminal shows the rest of a long line with this indent."""
    _write_stdout(fit_words(printable(line), sys.stdout, " " * hanging_indent) + "\n")


def print_path(path: Path) -> None:
    """Print a path to stdout: sanitized for a terminal; in a pipe or a file, undecodable bytes are kept."""
    _write_stdout((printable(str(path)) if is_terminal(sys.stdout) else printable_path(str(path))) + "\n")


def print_json(value: Any) -> None:
    """Print one line of JSON to stdout, in ASCII, which every terminal and encoding supports."""
    _write_stdout(json.dumps(value, ensure_ascii=True) + "\n")


def print_text(text: str) -> None:
    """Print text that artgen itself defines to stdout, unchanged."""
    _write_stdout(text + "\n")


def _write_stdout(text: str) -> None:
    with status_line.hidden(), _open_stdout() as stream:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.buffer.write(_encode_for_stdout(text))
        stream.flush()  # an error during interpreter shutdown cannot be reported


@contextlib.contextmanager
def _open_stdout() -> Iterator[Any]:
    """Yield stdout, and convert its errors. If the reader closed the pipe, the output is discarded."""
    if sys.stdout is None:
        raise OutputError("Cannot write to standard output: it is closed.", "Run artgen with standard output open.")
    try:
        yield sys.stdout
    except OSError as error:
        _discard_stream(sys.stdout, error)
        if not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"Cannot write to standard output: {error.strerror}.", "Check the target of the redirection."
            ) from error


def _encode_for_stdout(text: str) -> bytes:
    """Encode text that the encoding of stdout does not support: file names unchanged, other text with escapes."""
    try:
        if not is_terminal(sys.stdout):
            return os.fsencode(text)
    except UnicodeEncodeError:
        pass
    return text.encode(sys.stdout.encoding, "backslashreplace")


def discard_broken_streams() -> None:
    """Redirect a broken stdout or stderr to the null device. Python would otherwise report an error at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            _discard_stream(stream, error)


def _discard_stream(stream: TextIO, error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        _closed_streams.add(stream)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def is_output_closed() -> bool:
    """Return whether the reader of stdout or stderr closed the pipe."""
    return any(stream in _closed_streams for stream in (sys.stdout, sys.stderr) if stream is not None)


def print_note(text: str, end: str = "\n") -> None:
    """Print one line to stderr. With another `end`, the caller continues the line."""
    try:
        message = printable_message(text)
        _write_stderr(styled(sys.stderr, fit_words(message, sys.stderr), dim=True), end)
    except OSError as error:  # the note cannot be reported elsewhere
        _discard_stream(sys.stderr, error)


def confirm_deletion(question: str, yes: bool) -> bool:
    """Return whether to delete something: ask on a terminal, unless `--yes` was given."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()) or typer.confirm(question, err=True):
        return True
    print_note("Nothing was deleted.")
    return False


def discard_note(text: str) -> None:
    """Ignore a note: the effect of `--quiet`."""


def note_unreadable_files() -> None:
    """Print a note for each file and model folder of the user that is ignored, because it cannot be read."""
    from artgen.spec import config

    for path in config.unreadable_files():
        print_note(f"Cannot read '{path}'. The file is ignored.")
    with contextlib.suppress(ArtgenError):  # A command that needs the configuration reports an invalid file.
        for folder in config.missing_model_folders():
            print_note(f"The folder '{folder}' of model_folders does not exist. It is ignored.")


def print_error(error: ArtgenError) -> None:
    """Print an error and its hint to stderr."""
    status_line.close()
    with contextlib.suppress(OSError):  # the exit code still reports the error
        label = "error: "
        message = fit_words(f"{label}{printable_message(error.message)}", sys.stderr)
        _write_stderr(styled(sys.stderr, label, fg="red", bold=True) + message.removeprefix(label))
        if error.hint:
            hint = f"  {printable_message(error.hint)}"
            is_command = error.hint.startswith(("artgen ", "pip "))  # one line, so that it can be copied
            _write_stderr(styled(sys.stderr, hint if is_command else fit_words(hint, sys.stderr, "  "), fg="cyan"))
    discard_broken_streams()


def _write_stderr(line: str, end: str = "\n") -> None:
    # Without rich, whose import would delay error messages. An active rich progress bar prints the line above itself.
    if sys.stderr is not None:
        with status_line.hidden():
            sys.stderr.write(line + end)
            sys.stderr.flush()


def styled(stream: TextIO, text: str, **style: Any) -> str:
    """Return the text with styles for a terminal. NO_COLOR and TERM=dumb disable styles."""
    return typer.style(text, **style) if has_styles(stream) else text


def shares_terminal() -> bool:
    """Return whether stdout and stderr are the same terminal: the user sees both as one text."""
    try:
        return is_terminal(sys.stdout) and os.path.samestat(
            os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
        )
    except (OSError, ValueError, AttributeError):  # a stream is closed or is not a file
        return False


@cleared_after_command
@cache
def stderr_console() -> "Console":
    """Return the console that shows progress on stderr, without escape sequences if styles are disabled."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            # rich would exit with code 1, which is reserved for bugs.
            discard_broken_streams()

    # With NO_COLOR, rich still writes bold text and cursor movements.
    plain = False if os.environ.get("NO_COLOR") else None
    return Stderr(stderr=True, highlight=False, soft_wrap=True, force_terminal=plain)
