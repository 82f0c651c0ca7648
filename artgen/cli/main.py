"""The `artgen` program: its commands, and how it leaves."""

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from artgen._version import __version__
from artgen.cli import interrupts
from artgen.cli.console import discard_broken_streams, print_error, print_result
from artgen.cli.help import App, Group, write_section
from artgen.cli.interrupts import EXIT_INTERRUPTED
from artgen.errors import ArtgenError, OutputError, UsageError

COMMAND_SUMMARIES = {
    "txt2img": "Draw a picture from words.",
    "img2img": "Redraw a picture, guided by words.",
    "inpaint": "Repaint the part of a picture that a mask marks white; the rest stays byte for byte.",
    "outpaint": "Extend a picture beyond its edges; the picture itself stays byte for byte.",
    "denoise": "Remove noise from pictures, such as grain and sensor noise; nothing is drawn from words.",
    "noise": "Draw how noise takes a picture over: the forward process of diffusion, as a strip.",
    "anomaly": "Tell how surprising a picture is, and where.",
    "batch": "Draw files of prompts and folders of pictures; run it again to go on where it stopped.",
    "train": "Teach a model your own pictures: a LoRA, all of its weights, or its autoencoder.",
    "reconstruct": "Show pictures beside what a model's autoencoder makes of them, and measure the difference.",
    "sheet": "Put pictures on a labelled contact sheet; labels say in what they differ.",
    "info": "Tell what made a picture (artgen's record, A1111's text, a ComfyUI workflow), and what a LoRA is.",
    "replay": "Make a picture again from itself; the same pixels when nothing is changed.",
    "models": "Models: list, show, download, check, name and remove them.",
    "schedulers": "List the schedulers, with the other names they answer to.",
    "doctor": "Look at this installation: versions, device, memory, models; name what is missing and what mends it.",
    "config": "Your own defaults: show them, set one, find the file.",
}
"""The commands, each a module of this package with a function or a Typer `app`, and the first line of their help.

Kept here so that `artgen --help` imports none of them; a test holds them to the modules' own words.
"""


class ArtgenGroup(Group):
    """Imports a command when it is called, and turns artgen's errors into a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMAND_SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMAND_SUMMARIES:
            return None
        command = load_command(cmd_name)
        interrupts.restore_sigint()  # from here on something may be half done
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMAND_SUMMARIES:
            import difflib

            close = difflib.get_close_matches(args[0], COMMAND_SUMMARIES, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Commands: {', '.join(COMMAND_SUMMARIES)}."
            raise UsageError(f"There is no command {args[0]!r}.", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        write_section(formatter, "Commands", list(COMMAND_SUMMARIES.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _handle_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _handle_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def _handle_errors() -> Iterator[None]:
    """Turns what can go wrong on purpose into a message and an exit code."""
    try:
        yield
    except ArtgenError as error:
        print_error(error)
        raise typer.Exit(error.exit_code) from error
    except _CLICK_USAGE_ERROR as error:
        if said := error.format_message():  # nothing where the help was the answer
            help_of = f"{error.ctx.command_path} --help" if error.ctx else "artgen --help"
            print_error(UsageError(said, f"`{help_of}` tells what can be given."))
        raise typer.Exit(UsageError.exit_code) from None
    except BrokenPipeError:
        discard_broken_streams()
        raise typer.Exit(OutputError.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        print_error(ArtgenError("Interrupted."))
        raise typer.Exit(EXIT_INTERRUPTED) from None


_CLICK_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for every mistake on the command line; it exports only this child of it."""


def load_command(name: str) -> Any:
    """The click command of a module of this package."""
    module = importlib.import_module(f"artgen.cli.{name}")
    if hasattr(module, "app"):
        command = typer.main.get_command(module.app)
    else:
        from artgen.cli.options import AliasCommand

        single = App("")
        single.command(cls=AliasCommand)(getattr(module, name))
        command = typer.main.get_command(single)
    command.name = name
    return command


app = App(
    "Draw, redraw, mend and extend pictures with Stable Diffusion. Works offline from the first minute.",
    ArtgenGroup,
    add_completion=True,
)


def _print_version(requested: bool) -> None:
    if requested:
        print_result(f"artgen {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Applies the configuration files before a command reads its options."""
    from artgen.spec import config

    context.default_map = config.load_defaults(context.invoked_subcommand or "")


def run() -> None:
    """Entry point of the console script."""
    # The libraries' log lines are for programmers; artgen says what matters in its own words.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    try:
        app(prog_name="artgen")
    finally:
        interrupts.exit_on_sigint()  # all is done; what is left is taking modules down
