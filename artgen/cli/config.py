"""`artgen config`: the user's own defaults."""

import os
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import print_json, print_note, print_result
from artgen.cli.help import App
from artgen.spec import config

app = App("Your own defaults: show them, set one, find the file.")

Project = Annotated[bool, typer.Option("--project", help="artgen.toml in this folder instead of the user's file.")]


def _config_file(project: bool) -> Path:
    return Path(config.PROJECT_FILE) if project else config.user_config_file()


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Print the settings of both files and the environment, the strongest last."""
    sources = {
        str(path): config.read_config_file(path) for path in (config.user_config_file(), Path(config.PROJECT_FILE))
    }
    environment = {key: value for key, value in sorted(os.environ.items()) if key.startswith("ARTGEN_")}
    if as_json:
        print_json({**sources, "environment": environment})
        return
    for source, values in {**sources, "environment": environment}.items():
        print_note(f"{source}{'' if values else ': nothing set'}")
        for name, value in values.items():
            for key, item in value.items() if isinstance(value, dict) else [("", value)]:
                print_result(f"{name}{'.' + key if key else ''} = {item}")


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="A setting such as `steps`, or `img2img.strength` for one command.")],
    value: Annotated[str, typer.Argument(help="Its value; an empty string removes it.")],
    project: Project = False,
) -> None:
    """Set one default, and leave the rest of the file as it is."""
    config.set_value(name, value, _config_file(project))
    print_note(f"{name} = {value}" if value else f"{name} removed")


@app.command()
def path(project: Project = False) -> None:
    """Print where the file is, whether it exists or not."""
    print_result(str(_config_file(project).absolute()))
