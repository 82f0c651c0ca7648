"""Define the command `artgen models pull`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from artgen import registry
from artgen.cli.console import Reporter, print_note, print_path
from artgen.errors import ArtgenError
from artgen.events import Downloading
from artgen.registry import hub, model_folders, web
from artgen.registry.model_folders import DESCRIPTIONS, OPTIONS, Kind

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Do not show progress.")]


def pull(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Aliases, hub ids OWNER/NAME[@REVISION], civitai:MODEL[@VERSION], or addresses of pages and files.",
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Verify the existing files, and replace damaged files.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Download models and other files, and print their paths. An interrupted download is resumed.

    artgen models pull sd15
    """
    sources = [web.parse_source(name) or registry.parse_reference(name) for name in names]
    for source in sources:
        if isinstance(source, registry.ModelReference):
            _pull_model(source, force, quiet)
        elif not isinstance(source, web.HubSource):
            _pull_file(source, force, quiet)
        elif source.file is None:
            name = f"{source.repo}@{source.revision}" if source.revision else source.repo
            _pull_model(registry.parse_reference(name), force, quiet)
        else:
            _pull_hub_file(source, source.file, force, quiet)


def _pull_model(reference: registry.ModelReference, force: bool, quiet: bool) -> None:
    """Download a model of the hub into the cache."""
    if reference.kind != "hub":
        print_note(f"'{reference.name}' is not a model of the Hugging Face Hub. Nothing to download.")
        return
    with Reporter(quiet) as report:
        folder = registry.download_model(reference, force=force, listener=report)
    registry.check_model_files(registry.resolve_reference(replace(reference, revision=folder.name), offline=True))
    print_path(folder)


def _pull_hub_file(source: web.HubSource, file: str, force: bool, quiet: bool) -> None:
    """Download one file of the hub into the cache."""
    with Reporter(quiet) as report:
        folder = hub.pull(
            source.repo,
            revision=source.revision,
            file=file,
            force=force,
            on_progress=lambda name, done, total: report(Downloading(name, done, total)),
        )
    _print_file(folder / file, web.content_kind(folder / file), None)


def _pull_file(source: web.CivitaiSource | web.WebSource, force: bool, quiet: bool) -> None:
    """Download a file into artgen's model folder."""
    with Reporter(quiet) as report:
        stored = web.pull(
            source,
            force=force,
            on_progress=lambda name, done, total: report(Downloading(name, done, total)),
            on_note=print_note,
        )
    _print_file(stored.path, stored.kind, stored.name)


def _print_file(path: Path, kind: Kind | None, name: str | None) -> None:
    """Print the path of a file, and how to use it."""
    if kind in OPTIONS:
        print_note(f"Use it with `{OPTIONS[kind]} {name if name and _is_found(name, path, kind) else path}`.")
    else:
        print_note(
            f"The kind of the file is {DESCRIPTIONS[kind] if kind else 'unknown'}. No option of artgen takes it."
        )
    print_path(path)


def _is_found(name: str, path: Path, kind: Kind) -> bool:
    """Return whether a name means this file, and not an alias or another file."""
    try:
        if kind == "model":
            return Path(registry.parse_reference(name).target) == path
        return model_folders.find(kind, name) == path
    except ArtgenError:
        return False
