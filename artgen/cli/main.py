"""The `artgen` program: its commands, and how it leaves."""

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import artgen
from artgen.cli import interrupts
from artgen.cli.interrupts import INTERRUPTED
from artgen.cli.reporting import abandon_stdout, complain, emit
from artgen.errors import ArtgenError, OutputError

SUMMARIES = {
    "txt2img": "Draw a picture from words.",
    "img2img": "Redraw a picture, guided by words.",
    "inpaint": "Repaint the part of a picture that a mask marks white; the rest stays byte for byte.",
    "outpaint": "Extend a picture beyond its edges; the picture itself stays byte for byte.",
    "info": "Tell what made a picture: artgen's record, A1111's text, or a ComfyUI workflow.",
    "replay": "Make a picture again from itself; the same pixels when nothing is changed.",
    "models": "Models: list, show, download, check, name and remove them.",
    "schedulers": "List the schedulers, with the other names they answer to.",
    "doctor": "Look at this installation: versions, device, memory, models; name what is missing and what mends it.",
    "config": "Your own defaults: show them, set one, find the file.",
}
"""The commands, each a module of this package with a function or a Typer `app`, and the first line of their help.

Kept here so that `artgen --help` imports none of them; a test holds them to the modules' own words.
"""


class ArtgenGroup(TyperGroup):
    """Imports a command when it is called, and turns artgen's errors into a message and an exit code."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in SUMMARIES:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=SUMMARIES[cmd_name])
        command = load_command(cmd_name)
        interrupts.raise_again()  # from here on something may be half done
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _answering():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _answering():
            return super().invoke(ctx)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Turns what can go wrong on purpose into a message and an exit code."""
    try:
        yield
    except ArtgenError as error:
        complain(error)
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError:
        abandon_stdout()
        raise typer.Exit(OutputError.exit_code) from None
    except KeyboardInterrupt:
        complain(ArtgenError("Interrupted."))
        raise typer.Exit(INTERRUPTED) from None


def load_command(name: str) -> Any:
    """The click command of a module of this package."""
    module = importlib.import_module(f"artgen.cli.{name}")
    if hasattr(module, "app"):
        command = typer.main.get_command(module.app)
    else:
        from artgen.cli.options import AliasCommand

        single = typer.Typer(add_completion=False, rich_markup_mode="rich")
        single.command(cls=AliasCommand)(getattr(module, name))
        command = typer.main.get_command(single)
    command.name = name
    return command


app = typer.Typer(
    cls=ArtgenGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Draw, redraw, mend and extend pictures with Stable Diffusion. Works offline from the first minute.",
)


def _version(wanted: bool) -> None:
    if wanted:
        emit(f"artgen {artgen.__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Applies the configuration files before a command reads its options."""
    from artgen import config

    context.default_map = config.defaults(context.invoked_subcommand or "")


def run() -> None:
    """Entry point of the console script."""
    # The libraries' log lines are for programmers; artgen says what matters in its own words.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")
    try:
        app(prog_name="artgen")
    finally:
        interrupts.leave_at_once()  # all is done; what is left is taking modules down
