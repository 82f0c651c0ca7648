"""Define the program `artgen`: its commands, its error handling and its exit codes."""

import contextlib
import errno
import importlib
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from artgen._version import __version__
from artgen.cli import interrupts
from artgen.cli.console import (
    EXIT_OUTPUT_CLOSED,
    discard_broken_streams,
    note_unreadable_files,
    print_error,
    print_note,
    print_result,
)
from artgen.cli.help import App, Group, has_eager_option
from artgen.cli.interrupts import EXIT_INTERRUPTED, OutputClosed
from artgen.errors import ArtgenError, InputFileError, OutputError
from artgen.system import process
from artgen.system.files import WRITE_HINT
from artgen.worker_process.client.settings import WORKER_COMMANDS, WORKER_VARIABLES

COMMAND_SUMMARIES = {
    "txt2img": "Generate an image from a prompt.",
    "img2img": "Generate an image from an image and a prompt.",
    "inpaint": "Repaint the masked part of an image.",
    "outpaint": "Extend an image beyond its edges.",
    "edit": "Change an image according to an instruction.",
    "variations": "Generate images that are similar to an image.",
    "morph": "Generate an animation that changes one image into another.",
    "denoise": "Remove noise, such as grain and sensor noise, from images.",
    "upscale": "Enlarge images.",
    "sample": "Generate images from noise with a model that takes no prompt.",
    "control": "Write the control map of an image.",
    "noise": "Show an image with increasing noise, as a strip.",
    "anomaly": "Score how anomalous images are, and locate the regions.",
    "batch": "Generate images from prompt files and folders of images.",
    "train": "Train a LoRA or a model on a folder of images.",
    "mask": "Find the pixels of images that a text describes, and save them as a mask.",
    "rank": "Rank images by how well they fit a prompt.",
    "reconstruct": "Encode and decode images with the VAE of a model.",
    "sheet": "Arrange images on a labeled contact sheet.",
    "gallery": "Write a page with images, their settings and a search.",
    "history": "Search, rate and tag the generated images.",
    "info": "Print the metadata of images, LoRAs and embeddings.",
    "verify": "Verify the signatures of images: content hash, certificate, trust and input images.",
    "replay": "Generate an image again from its metadata.",
    "models": "List, download, convert and remove models.",
    "schedulers": "List the schedulers and their aliases.",
    "prompt": "Explain how a prompt is read.",
    "styles": "List the styles in your style_folder.",
    "doctor": "Check the installation: versions, devices and models.",
    "config": "Show and set your default settings.",
    "preset": "Save, list, show and remove presets: named settings for --preset.",
    "sign": "Create and show the key that signs images.",
    "serve": "Serve images over HTTP, with OpenAI's and A1111's APIs.",
    "worker": "Control the worker: a process that keeps models loaded.",
    "cache": "List and clear artgen's cache: converted models and other data.",
}
"""Name of each command, and the first line of its help. Each command is a module of this package.

They are repeated here so that `artgen --help` imports no command. A test compares them with the modules.
"""

COMMAND_SECTIONS = {
    "Generate": ("txt2img", "sample", "variations", "morph", "batch", "replay"),
    "Edit": ("img2img", "inpaint", "outpaint", "edit", "mask", "denoise", "upscale"),
    "Images and records": (
        *("history", "info", "verify", "sheet", "gallery", "rank", "control", "noise", "anomaly", "reconstruct"),
    ),
    "Models": ("models", "train", "schedulers"),
    "Prompts": ("prompt", "styles"),
    "Set up": ("config", "preset", "sign", "serve", "worker", "cache", "doctor"),
}
"""Names of the commands in each section of `artgen --help`."""


COMMANDS_WITHOUT_DEFAULTS = frozenset(
    (
        *("cache", "config", "doctor", "gallery", "history", "models", "preset", "schedulers", "sign", "styles"),
        *("verify", "worker"),
    )
)
"""Commands that take no settings of configuration files. Their help needs no configuration file."""

SHOWS_TEXT = "artgen.shows_text"
"""Key of the context's data: whether the command only shows a text, such as its help."""


class ArtgenGroup(Group):
    """Import a command when it is called, and convert errors to a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMAND_SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMAND_SUMMARIES:
            return None
        with process.paused_gc():
            command = load_command(cmd_name)
        interrupts.restore_sigint()  # from now on, Ctrl-C may interrupt work in progress
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = super().resolve_command(ctx, args)
        ctx.meta[SHOWS_TEXT] = has_eager_option(found[2])
        return found

    def resolve_unknown(self, ctx: Any, args: list[str], commands: list[str]) -> Any:
        """Run `version`; run `txt2img` for a prompt without a command; refuse other unknown commands."""
        if args == ["version"]:
            _print_version(requested=True)
        from artgen.cli.unknown_commands import txt2img_arguments

        return self.resolve_command(ctx, ["txt2img", *txt2img_arguments(ctx, args, commands)])

    def command_sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:  # noqa: ARG002
        return {title: [(name, COMMAND_SUMMARIES[name]) for name in names] for title, names in COMMAND_SECTIONS.items()}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in ("--show-completion", "--install-completion"):
            from artgen.cli.completion.shells import show_or_install

            show_or_install(args)
            raise typer.Exit
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _handle_errors(), _wrap_completion_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _handle_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def _handle_errors() -> Iterator[None]:
    """Convert expected errors to a message and an exit code."""
    try:
        yield
    except ArtgenError as error:
        print_error(error)
        raise typer.Exit(error.exit_code) from error
    except OutputClosed:
        raise typer.Exit(EXIT_OUTPUT_CLOSED) from None
    except OSError as error:
        if (expected := _expected_error(error)) is None:
            raise
        print_error(expected)
        raise typer.Exit(expected.exit_code) from error
    except (KeyboardInterrupt, typer.Abort):
        print_error(ArtgenError("Interrupted."))
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _expected_error(error: OSError) -> ArtgenError | None:
    """Return the error to report for an operating system error that any path or any write can cause, or None."""
    if error.errno in _NO_SPACE_ERRNOS:
        return OutputError(f"Cannot write a file: {error.strerror}.", WRITE_HINT)
    if error.errno in _UNUSABLE_NAME_ERRNOS and error.filename is not None:
        path = os.fsdecode(error.filename)
        return InputFileError(f"Cannot use the path '{path}': {error.strerror}.", "Use a shorter path without links.")
    if error.errno == errno.ENOENT and error.filename is None:
        if "temporary directory" in str(error.strerror):  # `tempfile`, which torch uses
            return OutputError("Cannot write temporary files: no folder for them is writable.", _TEMPORARY_HINT)
        return InputFileError("Cannot use the working directory: it does not exist.", "Change to another folder.")
    return None


@contextlib.contextmanager
def _wrap_completion_errors() -> Iterator[None]:
    """Convert the errors of `--show-completion`, which prints a script, and `--install-completion`, which writes one.

    Raises:
        OutputError: stdout or a file of the shell cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        discard_broken_streams()
        raise typer.Exit from None
    except OSError as error:
        target = f"'{error.filename}'" if error.filename else "the completion script"
        raise OutputError(f"Cannot write {target}: {error.strerror}.", WRITE_HINT) from error


_NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a full disk, of a quota and of a limit of the file size. Any write of any library can raise them."""

_TEMPORARY_HINT = "Free disk space, or set TMPDIR to a writable folder."

_UNUSABLE_NAME_ERRNOS = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
"""Errors of a name over 255 bytes, of a path over 4,096 bytes and of a loop of links."""


def load_command(name: str) -> Any:
    """Return the click command of a module of this package."""
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
    """Generate, edit and denoise images with diffusion models.

    artgen txt2img "a red fox in the snow"
    artgen img2img fox.png "a blue fox" -o blue.png
    artgen models recommend
    """,
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
        bool,
        typer.Option("-V", "--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Apply the configuration files before a command reads its options."""
    for name in process.remove_invalid_variables():
        print_note(f"{name} is not a whole number of seconds. The variable is ignored.")
    if context.meta[SHOWS_TEXT] and context.invoked_subcommand in COMMANDS_WITHOUT_DEFAULTS:
        return
    check_worker_variables(context.invoked_subcommand or "")
    if context.invoked_subcommand != "config":  # It reports an unreadable file itself.
        note_unreadable_files()
    from artgen.spec import config

    try:
        context.default_map = config.load_defaults(context.invoked_subcommand or "")
    except ArtgenError as error:
        if not context.meta[SHOWS_TEXT]:
            raise
        print_note(f"{error.message} Its settings are not shown.")


def check_worker_variables(command: str) -> None:
    """Check the variables of the worker before a command that can use it.

    Raises:
        UsageError: a variable is invalid.
    """
    if command in WORKER_COMMANDS and any(os.environ.get(name) for name in WORKER_VARIABLES):
        from artgen.spec.worker_limits import worker_limits

        worker_limits()


def app_command() -> Any:
    """Return the click command of `artgen`."""
    return typer.main.get_command(app)


def run() -> None:
    """Run the command line; the entry point of the console script."""
    if instruction := os.environ.get("_ARTGEN_COMPLETE"):
        from artgen.cli.completion import shells

        if shells.answer(instruction):
            return
    # Hide the log messages of the libraries. artgen reports relevant events itself.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    try:
        app(prog_name="artgen")
    finally:
        interrupts.exit_on_sigint()  # only the shutdown of the interpreter remains
