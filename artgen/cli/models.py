"""Define the command `artgen models`."""

import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from artgen import registry
from artgen.cli.console import Reporter, print_json, print_note, print_path, print_result
from artgen.cli.convert import convert
from artgen.cli.help import App
from artgen.cli.models_list import AsJson, iter_model_details, list_models, model_details, recommend
from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.events import Loading
from artgen.registry.hub import cache
from artgen.system.counts import counted, format_bytes

app = App("List, recommend, show, download, convert, verify, alias and remove models.")
app.command("list")(list_models)
app.command()(recommend)

MAX_README_BYTES = 1 << 20
"""Maximum number of bytes of a README that `show` prints."""

ModelName = Annotated[str, typer.Argument(help="Alias, OWNER/NAME[@REVISION], folder or .safetensors file.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Do not show progress.")]


TXT2IMG_ONLY_FIELDS = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "latent_channels")
"""Details that only text-to-image models have."""


@app.command()
def show(name: ModelName, as_json: AsJson = False) -> None:
    """Print the details of a model: default settings, license, path, and its README.

    artgen models show sd15
    """
    reference = registry.parse_reference(name)
    model_info = reference.info or registry.ModelInfo(name=reference.name, source=reference.target, builtin=False)
    model = registry.find_local_model(name)
    details = model_details(name, model_info) | {"path": str(model.path) if model else None}
    if model:
        details |= {
            key: value for key, value in asdict(model).items() if key not in ("name", "path", "native_size", "is_file")
        }
    else:
        keys = ("steps", "guidance_scale", "scheduler", "sigmas", "download_size")
        details |= {key: getattr(model_info, key) for key in keys}
    if details.get("architecture") == "pixel":
        details = {key: value for key, value in details.items() if key not in TXT2IMG_ONLY_FIELDS}
    if as_json:
        print_json(details)
        return
    for key, value in details.items():
        if value not in (None, "", False):
            print_result(
                f"{key.replace('_', ' ')}: {format_bytes(value) if key in ('on_disk', 'download_size') else value}"
            )
    readme = model.path / "README.md" if model and not model.is_file else None
    if readme and readme.is_file():
        print_result("")
        with readme.open("rb") as file:
            text = file.read(MAX_README_BYTES).decode("utf-8", "replace")
        for line in text.splitlines():
            print_result(f"  {line.expandtabs()}")  # indented: a line of the README is not a detail of the model
    if not model:
        print_note(f"'{name}' is not downloaded. {_install_hint(reference, force=False)}")


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Aliases or hub ids, OWNER/NAME[@REVISION].")],
    force: Annotated[
        bool, typer.Option("--force", help="Verify the existing files, and replace damaged files.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Download models, and print their folders. An interrupted download is resumed.

    artgen models pull sd15
    """
    references = [registry.parse_reference(name) for name in names]
    for reference in references:
        if reference.kind != "hub":
            print_note(f"'{reference.name}' is not a model of the Hugging Face Hub. Nothing to download.")
            continue
        with Reporter(quiet) as report:
            folder = registry.download_model(reference, force=force, listener=report)
        registry.check_model_files(registry.resolve_reference(replace(reference, revision=folder.name), offline=True))
        print_path(folder)


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
        hints = (_install_hint(registry.parse_reference(name), force=True) for name in damaged)
        raise RefusedError(
            f"Verification of {', '.join(damaged)} failed: {files} not match the SHA-256.",
            " ".join(dict.fromkeys(hints)),
        )


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
    reference = registry.parse_reference(name)
    if reference.kind != "hub":
        raise UsageError(f"Cannot delete '{name}': it was not downloaded by artgen.", "Delete the files manually.")
    size = cache.size_on_disk(reference.target)
    if size and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        question = f"Delete {reference.target} ({format_bytes(size)}) from the cache, which is shared with other tools?"
        if not typer.confirm(question, err=True):
            print_note("Nothing was deleted.")
            return
    freed_bytes = cache.remove_model(reference.target, reference.revision)
    print_note(f"Freed {format_bytes(freed_bytes)}.")


@app.command()
def path(name: ModelName) -> None:
    """Print the path of a local model.

    artgen models path tiny
    """
    model = registry.find_local_model(name)
    if model is None:
        hint = _install_hint(registry.parse_reference(name), force=False)
        raise ModelUnavailableError(f"Cannot print the path of '{name}': the model is not downloaded.", hint)
    print_path(model.path.absolute())
