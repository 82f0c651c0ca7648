"""Define the command `artgen models`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import typer

from artgen.cli.console import confirm_deletion, print_note, print_path, print_result
from artgen.cli.convert import convert
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.cli.models_list import AsJson, list_models, recommend
from artgen.cli.models_words import words
from artgen.cli.pull import Quiet, pull
from artgen.errors import RefusedError, UsageError
from artgen.system.counts import counted, format_bytes

if TYPE_CHECKING:
    from artgen.registry import FileCheck

app = App(
    """List, download, convert and remove models.

    artgen models list
    artgen models recommend
    artgen models pull sd15
    """
)
app.command("list")(list_models)
app.command()(recommend)

ModelName = Annotated[str, typer.Argument(help="Alias, OWNER/NAME[@REVISION], folder or .safetensors file.")]


class ShownFields(TypedDict):
    """Define the fields that `models show --json` has and `models list --json` does not have.

    Attributes:
        path: folder or file of the model; null if it is not downloaded.
        included: components in a single file, by diffusers' names; null for other models.
        base: model with the components that a single file lacks; null for other models, empty if there is none.
        version: version of a download of Civitai.
        type: type of a download of Civitai.
        base_model: base model of a download.
        creator: creator of a download.
        trigger_words: trigger words of a download.
        page: web page of a download.
        sha256: SHA-256 of a download.
        kind: kind of a download, such as `lora`.
        datasheet_sha256: SHA-256 of the datasheet of the training images, if artgen trained the LoRA or the model.
        training_licenses: number of training images of each license.
        training_images: number of training images.
        base_training: the same values for the training images of the base model, if artgen trained it.
    """

    path: str | None
    included: list[str] | None
    base: str | None
    version: NotRequired[Any]
    type: NotRequired[Any]
    base_model: NotRequired[Any]
    creator: NotRequired[Any]
    trigger_words: NotRequired[Any]
    page: NotRequired[Any]
    sha256: NotRequired[Any]
    kind: NotRequired[Any]
    datasheet_sha256: NotRequired[str]
    training_licenses: NotRequired[dict[str, int]]
    training_images: NotRequired[int]
    base_training: NotRequired[dict[str, Any]]


def _details_schema() -> dict[str, Any]:
    from artgen.api.model_lists import ModelDetails
    from artgen.api.model_operations import MODEL_FILE_FIELDS
    from artgen.registry import ResolvedModel
    from artgen.spec.json_schema import nullable, object_schema

    listed, shown = object_schema(ModelDetails), object_schema(ShownFields)
    of_files = object_schema(ResolvedModel, MODEL_FILE_FIELDS)["properties"]
    added = {name: nullable(each) for name, each in of_files.items() if name not in listed["properties"]}
    properties = listed["properties"] | added | shown["properties"]
    required = dict.fromkeys([*listed["required"], *shown["required"], *of_files])
    return {"type": "object", "properties": properties, "required": list(required)}


def _declare_check() -> type:
    from artgen.registry import FileCheck

    return FileCheck


SHOW_OUTPUT = JsonOutput(_details_schema, is_list=False)
VERIFY_OUTPUT = JsonOutput(_declare_check)


@app.command()
@SHOW_OUTPUT
def show(name: ModelName, as_json: AsJson = False) -> None:
    """Print the details of a model: default settings, license, path, and its README.

    artgen models show sd15
    artgen models show tiny --json
    """
    from artgen.api.model_operations import describe_model

    card = describe_model(name)
    _print_details(card.details, as_json)
    if as_json:
        return
    if card.readme:
        print_result("")
        for line in card.readme.splitlines():
            print_result(f"  {line.expandtabs()}")  # indented: a line of the README is not a detail of the model
    if card.path is None:
        print_note(f"'{name}' is not downloaded. {card.install_hint}")


def _print_details(details: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        SHOW_OUTPUT.print(details)
        return
    for key, value in details.items():
        if value is not None and value is not False and value not in ("", [], ()):  # 0.0 == False
            text = format_bytes(value) if key in ("on_disk", "download_size", "gpu_memory") else value
            print_result(f"{key.replace('_', ' ')}: {_format_value(text)}")


def _format_value(value: Any) -> str:
    """Return a value as text: lists and objects with commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_format_value(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


app.command()(words)
app.command()(pull)


@app.command()
@VERIFY_OUTPUT
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Models.  [default: all downloaded models]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Verify model files against their SHA-256. The exit code is 5 on a mismatch.

    artgen models verify
    artgen models verify tiny
    """
    from artgen.api import model_operations
    from artgen.cli.reporter import Reporter

    selected = names or model_operations.downloaded_models()
    if not selected:
        print_note("No models are downloaded.")
    failed_checks: list[FileCheck] = []
    for name in selected:
        with Reporter(quiet) as report:
            checks = model_operations.verify_files(name, report)
        failed = [check for check in checks if not check.ok]
        failed_checks += failed
        for check in checks if as_json else failed:
            if as_json:
                VERIFY_OUTPUT.print(check)
            else:
                print_result(f"{check.model}: {check.file}: {check.detail}")
        if not as_json and not failed:
            print_result(f"{name}: {counted(len(checks), 'file matches its', 'files match their')} SHA-256.")
    if failed_checks:
        damaged = list(dict.fromkeys(check.model for check in failed_checks))
        files = counted(len(failed_checks), "file does", "files do")
        hints = map(model_operations.repair_hint, damaged)
        raise RefusedError(
            f"Verification of {', '.join(damaged)} failed: {files} not match the SHA-256.",
            " ".join(dict.fromkeys(hints)),
        )


app.command()(convert)


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="The alias.")],
    target: Annotated[str | None, typer.Argument(help="Alias, hub id, folder or .safetensors file.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias. The model is not deleted.")] = False,
) -> None:
    """Set or remove an alias of a model.

    artgen models alias mine runwayml/stable-diffusion-v1-5
    artgen models alias mine --remove
    """
    if remove == (target is not None):
        raise UsageError("Cannot set the alias: use either TARGET or --remove.", "artgen models alias mine OWNER/NAME")
    from artgen import registry

    if remove:
        registry.remove_alias(name)
        print_note(f"Removed the alias '{name}'.")
    else:
        registry.set_alias(name, str(target))
        print_note(f"'{name}' is now an alias of '{target}'.")


@app.command()
def remove(
    name: ModelName,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a downloaded model from the cache, which is shared with other tools. Asks for confirmation on a terminal.

    artgen models remove sd15
    """
    from artgen.api.model_operations import find_removal

    removal = find_removal(name)
    size = format_bytes(removal.num_bytes)
    question = (
        f"Delete {removal.label} ({size}){' from the cache, which is shared with other tools' * removal.is_shared}?"
    )
    if not removal.num_bytes or confirm_deletion(question, yes):
        print_note(f"Freed {format_bytes(removal.run())}.")


@dataclass(frozen=True)
class ModelPath:
    """Store the path of a local model for `--json`.

    Attributes:
        name: name of the model, as typed.
        path: folder or file of the model.
    """

    name: str
    path: Path


PATH_OUTPUT = JsonOutput(lambda: ModelPath, is_list=False)


@app.command()
@PATH_OUTPUT
def path(
    name: ModelName, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Print the path of a local model.

    artgen models path tiny
    """
    from artgen.api.model_operations import local_path

    found = local_path(name)
    if as_json:
        PATH_OUTPUT.print(ModelPath(name, found))
    else:
        print_path(found)
