"""The `artgen` program: its commands, and how it leaves."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import artgen
from artgen.errors import ArtgenError

INTERRUPTED = 130


class ArtgenGroup(TyperGroup):
    """Turns artgen's errors into a message and an exit code, for every command alike."""

    def invoke(self, ctx: Any) -> Any:
        from artgen.cli.reporting import complain

        try:
            return super().invoke(ctx)
        except ArtgenError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            complain(ArtgenError("Interrupted; the picture being drawn was dropped."))
            raise typer.Exit(INTERRUPTED) from None


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
        sys.stdout.write(f"artgen {artgen.__version__}\n")
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


def _register() -> None:
    from artgen.cli import config, doctor, img2img, info, inpaint, models, outpaint, replay, schedulers, txt2img
    from artgen.cli.options import AliasCommand

    app.command(cls=AliasCommand)(txt2img.txt2img)
    app.command(cls=AliasCommand)(img2img.img2img)
    app.command(cls=AliasCommand)(inpaint.inpaint)
    app.command(cls=AliasCommand)(outpaint.outpaint)
    app.command()(info.info)
    app.command()(replay.replay)
    app.add_typer(models.app, name="models")
    app.command()(schedulers.schedulers)
    app.command()(doctor.doctor)
    app.add_typer(config.app, name="config")


_register()


def run() -> None:
    """Entry point of the console script."""
    # The libraries' log lines are for programmers; artgen says what matters in its own words.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    app(prog_name="artgen")
