"""Define the command `artgen models`."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from artgen import registry
from artgen.cli.console import Reporter, print_json, print_note, print_path, print_result
from artgen.cli.convert import convert
from artgen.cli.help import App
from artgen.cli.models_list import (
    AsJson,
    iter_model_details,
    list_models,
    model_details,
    recommend,
    stored_details,
)
from artgen.cli.pull import Quiet, pull
from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.events import Loading
from artgen.registry import web
from artgen.registry.hub import cache
from artgen.system.counts import counted, format_bytes

app = App("List, recommend, show, download, convert, verify, alias and remove models.")
app.command("list")(list_models)
app.command()(recommend)

MAX_README_BYTES = 1 << 20
"""Maximum number of bytes of a README that `show` prints."""

ModelName = Annotated[str, typer.Argument(help="Alias, OWNER/NAME[@REVISION], folder or .safetensors file.")]


TXT2IMG_ONLY_FIELDS = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "latent_channels")
"""Details that only text-to-image models have."""


@app.command()
def show(name: ModelName, as_json: AsJson = False) -> None:
    """Print the details of a model: default settings, license, path, and its README.

    artgen models show sd15
    """
    stored = _find_stored(name)
    if stored and stored.kind != "model":
        _print_details(dict(stored.details) | stored_details(stored) | {"path": str(stored.path)}, as_json)
        return
    reference = registry.parse_reference(name)
    model_info = reference.info or registry.ModelInfo(name=reference.name, source=reference.target, builtin=False)
    model = registry.find_local_model(name)
    details = model_details(name, model_info) | {"path": str(model.path) if model else None}
    details = (dict(stored.details) if stored else {}) | details
    described = model
    if model is None and not model_info.builtin and reference.kind == "hub" and not cache.is_offline():
        with Reporter(quiet=True) as report:
            described = registry.resolve_reference(reference, download=False, listener=report)
    if described:
        hidden = (
            *("name", "path", "native_size", "is_file", "remote", "files", "single_file"),
            *("vae", "refiner", "omitted"),
        )
        details |= {key: value for key, value in asdict(described).items() if key not in hidden}
        if described.remote is not None:
            details["width"], details["height"] = described.native_size
            details["download_size"] = described.remote.download_bytes
        if described.single_file:
            details |= {"included": described.single_file.parts, "base": described.single_file.base_name}
    else:
        keys = ("steps", "guidance_scale", "scheduler", "sigmas", "download_size")
        details |= {key: getattr(model_info, key) for key in keys}
    if details.get("architecture") == "pixel":
        details = {key: value for key, value in details.items() if key not in TXT2IMG_ONLY_FIELDS}
    _print_details(details, as_json)
    if as_json:
        return
    readme = model.path / "README.md" if model and not model.is_file else None
    if readme and readme.is_file():
        print_result("")
        with readme.open("rb") as file:
            text = file.read(MAX_README_BYTES).decode("utf-8", "replace")
        for line in text.splitlines():
            print_result(f"  {line.expandtabs()}")  # indented: a line of the README is not a detail of the model
    if not model:
        print_note(f"'{name}' is not downloaded. {_install_hint(reference, force=False)}")


def _print_details(details: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(details)
        return
    for key, value in details.items():
        if value is not None and value is not False and value not in ("", [], ()):  # 0.0 == False
            text = format_bytes(value) if key in ("on_disk", "download_size", "gpu_memory") else value
            print_result(f"{key.replace('_', ' ')}: {', '.join(map(str, text)) if isinstance(text, list) else text}")


app.command()(pull)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Models.  [default: all downloaded models]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Verify model files against their SHA-256. The exit code is 5 on a mismatch.

    artgen models verify tiny
    """
    selected = names or [row["name"] for row in iter_model_details() if row["on_disk"]]
    if not selected:
        print_note("No models are downloaded.")
    failed_checks: list[registry.FileCheck] = []
    for name in selected:
        with Reporter(quiet) as report:
            checks = registry.verify_model_files(name, lambda file, *_: report(Loading(file)))
        failed = [check for check in checks if not check.ok]
        failed_checks += failed
        for check in checks if as_json else failed:
            if as_json:
                print_json(asdict(check))
            else:
                print_result(f"{check.model}: {check.file}: {check.detail}")
        if not as_json and not failed:
            print_result(f"{name}: {counted(len(checks), 'file matches its', 'files match their')} SHA-256.")
    if failed_checks:
        damaged = list(dict.fromkeys(check.model for check in failed_checks))
        files = counted(len(failed_checks), "file does", "files do")
        hints = (_repair_hint(name) for name in damaged)
        raise RefusedError(
            f"Verification of {', '.join(damaged)} failed: {files} not match the SHA-256.",
            " ".join(dict.fromkeys(hints)),
        )


def _repair_hint(name: str) -> str:
    stored = _find_stored(name)
    if stored and stored.source:
        return f"Run `artgen models pull {stored.source} --force`."
    return _install_hint(registry.parse_reference(name), force=True)


def _install_hint(reference: registry.ModelReference, force: bool) -> str:
    """Return a hint that explains how to install or repair a model."""
    if reference.kind == "hub":
        return f"Run `artgen models pull {reference.name}{' --force' if force else ''}`."
    if reference.kind == "bundled":
        return "Install artgen again: pip install --force-reinstall artgen"
    return "Copy the model again from its source."


app.command()(convert)


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="The alias.")],
    target: Annotated[str | None, typer.Argument(help="Alias, hub id, folder or .safetensors file.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias. The model is not deleted.")] = False,
) -> None:
    """Set or remove an alias of a model.

    artgen models alias mine runwayml/stable-diffusion-v1-5
    """
    if remove == (target is not None):
        raise UsageError("Cannot set the alias: use either TARGET or --remove.", "artgen models alias mine OWNER/NAME")
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
    if stored := _find_stored(name):
        _remove_stored(stored, yes)
        return
    reference = registry.parse_reference(name)
    if reference.kind != "hub":
        raise UsageError(f"Cannot delete '{name}': it was not downloaded by artgen.", "Delete the files manually.")
    size = cache.size_on_disk(reference.target)
    question = f"Delete {reference.target} ({format_bytes(size)}) from the cache, which is shared with other tools?"
    if not size or _confirm(question, yes):
        freed_bytes = cache.remove_model(reference.target, reference.revision)
        print_note(f"Freed {format_bytes(freed_bytes)}.")


def _remove_stored(stored: web.StoredFile, yes: bool) -> None:
    if _confirm(f"Delete {stored.path} ({format_bytes(stored.path.stat().st_size)})?", yes):
        print_note(f"Freed {format_bytes(web.remove(stored))}.")


def _find_stored(name: str) -> web.StoredFile | None:
    """Return a file in artgen's own model folder; None if another kind of model has the name."""
    return None if name in registry.known_models() else web.find_stored(name)


def _confirm(question: str, yes: bool) -> bool:
    """Return whether to delete a model. Ask on a terminal unless `--yes` was given."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()) or typer.confirm(question, err=True):
        return True
    print_note("Nothing was deleted.")
    return False


@app.command()
def path(name: ModelName) -> None:
    """Print the path of a local model.

    artgen models path tiny
    """
    if stored := _find_stored(name):
        print_path(stored.path)
        return
    model = registry.find_local_model(name)
    if model is None:
        hint = _install_hint(registry.parse_reference(name), force=False)
        raise ModelUnavailableError(f"Cannot print the path of '{name}': the model is not downloaded.", hint)
    print_path(model.path.absolute())
