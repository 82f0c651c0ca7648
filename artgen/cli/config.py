"""Define the command `artgen config`: the default settings of the user."""

import os
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import note_unreadable_files, print_json, print_note, print_path, print_result
from artgen.cli.help import App
from artgen.spec import config

app = App("Show and set your default settings.")

Project = Annotated[
    bool, typer.Option("--project", help="Use artgen.toml in the working directory instead of the file of the user.")
]


def _config_file(project: bool) -> Path:
    return Path(config.PROJECT_FILE) if project else config.user_config_file()


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Print the settings of both files and the environment, in ascending order of priority.

    artgen config show
    """
    note_unreadable_files()
    sources = {
        str(path): {name: config.printable_value(name, value) for name, value in config.read_config_file(path).items()}
        for path in (config.user_config_file(), Path(config.PROJECT_FILE))
    }
    environment = {
        key: config.printable_value(key, value)
        for key, value in sorted(os.environ.items())
        if key.startswith("ARTGEN_")
    }
    if as_json:
        print_json({**sources, "environment": environment})
        return
    for source, values in {**sources, "environment": environment}.items():
        print_note(f"{source}{'' if values else ': no settings'}")
        for name, value in values.items():
            for key, item in value.items() if isinstance(value, dict) else [("", value)]:
                print_result(f"{name}{'.' + key if key else ''} = {item}")


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="A setting such as steps, or img2img.strength for one command.")],
    value: Annotated[str, typer.Argument(help="The value. An empty string removes the setting.")],
    project: Project = False,
) -> None:
    """Set one default. The rest of the file does not change.

    artgen config set steps 30
    """
    config.set_value(name, value, _config_file(project))
    print_note(f"Set {name} = {config.printable_value(name, value)}." if value else f"Removed {name}.")


@app.command()
def path(project: Project = False) -> None:
    """Print the path of the file, which need not exist.

    artgen config path
    """
    print_path(_config_file(project).absolute())
