"""Define the command `artgen config`: the default settings of the user."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.console import note_unreadable_files, print_note, print_path, print_result
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.errors import ArtgenError
from artgen.spec import config, config_values
from artgen.spec.shared_config import sign_is_on

app = App(
    """Show and set your default settings.

    artgen config show
    artgen config set steps 30
    artgen config get steps
    """
)

Project = Annotated[
    bool, typer.Option("--project", help="Use artgen.toml in the working directory instead of the file of the user.")
]


def _config_file(project: bool) -> Path:
    return Path(config.PROJECT_FILE) if project else config.user_config_file()


@dataclass(frozen=True)
class ConfigFile:
    """Describe a configuration file.

    Attributes:
        path: path of the file, which need not exist.
        settings: settings by name. A value is a text, a number, true, false, a list of texts, or an object with the
            settings of one command. Access tokens are hidden.
    """

    path: Path
    settings: dict[str, Any]


@dataclass(frozen=True)
class ConfigReport:
    """Describe the default settings, in ascending order of priority.

    Attributes:
        user: configuration file of the user.
        project: `artgen.toml` in the working directory.
        environment: variables with the prefix `ARTGEN_`. Access tokens are hidden.
    """

    user: ConfigFile
    project: ConfigFile
    environment: dict[str, str]


SHOW_OUTPUT = JsonOutput(lambda: ConfigReport, is_list=False)


@app.command("list", hidden=True)
@app.command()
@SHOW_OUTPUT
def show(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Print the settings of both files and the environment, in ascending order of priority.

    artgen config show
    """
    note_unreadable_files()
    variables = {name: value for name, value in sorted(os.environ.items()) if name.startswith("ARTGEN_")}
    report = ConfigReport(
        _read_file(config.user_config_file()), _read_file(Path(config.PROJECT_FILE)), _printable(variables)
    )
    if as_json:
        SHOW_OUTPUT.print(report)
        return
    for source, values in (
        (report.user.path, report.user.settings),
        (report.project.path, report.project.settings),
        ("environment", report.environment),
    ):
        print_note(f"{source}{'' if values else ': no settings'}")
        for name, value in _flat(values):
            print_result(f"{name} = {config_values.format_value(value)}")


def _read_file(path: Path) -> ConfigFile:
    return ConfigFile(path, _printable(config.read_config_file(path)))


def _printable(values: dict[str, Any]) -> dict[str, Any]:
    return {name: config.printable_value(name, value) for name, value in values.items()}


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings and, as `img2img.strength`, the values in tables."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", item) for key, item in _flat(value))
        else:
            yield name, value


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="A setting such as steps, or img2img.strength for one command.")],
    value: Annotated[str, typer.Argument(help="The value. An empty string removes the setting.")],
    project: Project = False,
) -> None:
    """Set one default. The rest of the file does not change.

    artgen config set steps 30
    artgen config set img2img.strength 0.5
    artgen config set steps ""
    """
    config_values.set_value(name, value, _config_file(project))
    print_note(f"Set {name} = {config.printable_value(name, value)}." if value else f"Removed {name}.")
    if value and config_values.parse_name(name)[1] in ("sign", "signing_certificate", "signing_key"):
        _note_unusable_key()


def _note_unusable_key() -> None:
    """Print a note if images are signed by default, but the key cannot be used."""
    from artgen.metadata.content_credentials.keys import key_files, load_signing_key

    try:
        if sign_is_on():
            load_signing_key(*key_files())
    except ArtgenError as error:
        print_note(f"{error.message} {error.hint}".strip())


@dataclass(frozen=True)
class ConfigValue:
    """Store one default for `--json`.

    Attributes:
        name: name of the setting, as typed.
        value: text, number, true, false or list of texts; None if the setting is not set. A value of the environment
            is a text. An access token is hidden.
    """

    name: str
    value: Any


GET_OUTPUT = JsonOutput(lambda: ConfigValue, is_list=False)


@app.command()
@GET_OUTPUT
def get(
    name: Annotated[str, typer.Argument(help="A setting such as steps, or img2img.strength for one command.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the value of one default: of the environment, else of artgen.toml, else of the file of the user.

    artgen config get model
    """
    value = config.printable_value(name.rpartition(".")[2], config_values.find_value(name))
    if as_json:
        GET_OUTPUT.print(ConfigValue(name, value))
    elif value is None:
        print_note(f"{name} is not set. `artgen config set {name} VALUE` sets it.")
    else:
        print_result(config_values.format_value(value, ","))


@app.command()
def unset(
    name: Annotated[str, typer.Argument(help="A setting such as steps, or img2img.strength for one command.")],
    project: Project = False,
) -> None:
    """Remove one default. The rest of the file does not change.

    artgen config unset steps
    """
    path = _config_file(project)
    command, key = config_values.parse_name(name)
    values = config.read_config_file(path)
    if key not in (values.get(command, {}) if command else values):
        print_note(f"{name} is not set in '{path}'.")
        return
    config_values.set_value(name, "", path)
    print_note(f"Removed {name}.")


@dataclass(frozen=True)
class ConfigPath:
    """Store the path of a configuration file for `--json`.

    Attributes:
        path: path of the file.
        exists: whether the file exists.
    """

    path: Path
    exists: bool


PATH_OUTPUT = JsonOutput(lambda: ConfigPath, is_list=False)


@app.command()
@PATH_OUTPUT
def path(
    project: Project = False, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Print the path of the file, which need not exist.

    artgen config path
    """
    file = _config_file(project).absolute()
    if as_json:
        PATH_OUTPUT.print(ConfigPath(file, os.path.exists(file)))  # noqa: PTH110 - Path.exists raises for long names
    else:
        print_path(file)
