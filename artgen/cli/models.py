"""`artgen models`: which models there are, and getting, checking, naming and removing them."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from artgen import registry
from artgen.cli.console import Reporter, print_json, print_note, print_result
from artgen.cli.help import App
from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import Downloading, Loading
from artgen.registry import hub
from artgen.registry.hub import cache

app = App("Models: list, show, download, check, name and remove them.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
ModelName = Annotated[str, typer.Argument(help="An alias, OWNER/NAME[@REVISION], a folder or a .safetensors file.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the models with a name, and those already downloaded."""
    rows = list(_iter_model_details())
    for row in rows:
        if as_json:
            print_json(row)
    if as_json:
        return
    print_note(f"{'name':<17} {'kind':<5} {'size':<10} {'on disk':>9}  license")
    for row in rows:
        size = f"{row['width']}x{row['height']}" if row["width"] else "-"
        disk = format_bytes(row["on_disk"]) if row["on_disk"] else "-"
        disk += "" if row["complete"] or not row["on_disk"] else "*"
        print_result(f"{row['name']:<17} {row['architecture'] or '-':<5} {size:<10} {disk:>9}  {row['license']}")
    if any(row["on_disk"] and not row["complete"] for row in rows):
        print_note("* not complete: `artgen models pull NAME` fetches the rest")


def _iter_model_details() -> Iterator[dict[str, Any]]:
    """Facts of every model with a name, then of the cached ones without."""
    named: set[str] = set()
    for card in registry.known_models().values():
        named.add(card.source)
        yield _model_details(card.name, card)
    for repo in cache.cached_repositories():
        if repo not in named and cache.is_diffusers_model(repo):
            yield _model_details(repo, registry.ModelInfo(name=repo, source=repo, builtin=False))


def _model_details(name: str, model_info: registry.ModelInfo) -> dict[str, Any]:
    """What is known of a model by its card, and by its files where they are here."""
    found: registry.ResolvedModel | None = None
    try:
        found = registry.find_local_model(name)
    except ArtgenError:
        found = None
    width, height = found.native_size if found else (model_info.width, model_info.height)
    return {
        "name": name,
        "source": model_info.source,
        "revision": found.revision if found else model_info.revision,
        "architecture": found.architecture if found else model_info.architecture,
        "width": width,
        "height": height,
        "license": found.license if found and found.license != "unknown" else model_info.license,
        "gated": model_info.gated,
        "inpainting": found.is_inpainting if found else model_info.inpainting,
        "on_disk": _size_on_disk(model_info, found),
        "complete": found is not None,
        "builtin": model_info.builtin,
        "description": (found.description if found else "") or model_info.description,
    }


def _size_on_disk(model_info: registry.ModelInfo, model: registry.ResolvedModel | None) -> int:
    if model and not model.revision:
        files = [model.path] if model.is_file else [path for path in model.path.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)
    return cache.size_on_disk(model_info.source) if "/" in model_info.source else 0


def format_bytes(num_bytes: int) -> str:
    """A size in bytes for a reader."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} B"


TXT2IMG_ONLY_FIELDS = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "latent_channels")
"""What is known of a model that draws pictures from words, and means nothing for others."""


@app.command()
def show(name: ModelName, as_json: AsJson = False) -> None:
    """Show what is known of a model: its defaults, its license, where it is; its card where it has one."""
    reference = registry.parse_reference(name)
    card = reference.info or registry.ModelInfo(name=reference.name, source=reference.target, builtin=False)
    found = registry.find_local_model(name)
    facts = _model_details(name, card) | {"path": str(found.path) if found else None}
    if found:
        facts |= {
            key: value for key, value in asdict(found).items() if key not in ("name", "path", "native_size", "is_file")
        }
    else:
        keys = ("steps", "guidance_scale", "scheduler", "sigmas", "download_size")
        facts |= {key: getattr(card, key) for key in keys}
    if facts.get("architecture") == "pixel":  # which draws from no words, at no size of its own
        facts = {key: value for key, value in facts.items() if key not in TXT2IMG_ONLY_FIELDS}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if value not in (None, "", False):
            print_result(
                f"{key.replace('_', ' ')}: {format_bytes(value) if key in ('on_disk', 'download_size') else value}"
            )
    readme = found.path / "README.md" if found and not found.is_file else None
    if readme and readme.is_file():
        print_result("")
        for line in readme.read_text(encoding="utf-8", errors="replace").splitlines():
            print_result(line)
    if not found:
        print_note(f"not on this computer yet. {_install_hint(reference, force=False)}")


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Aliases or hub ids, OWNER/NAME[@REVISION].")],
    force: Annotated[
        bool, typer.Option("--force", help="Read what is here again and replace what is damaged.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Download models; a download that was cut goes on where it stopped. Prints their folders."""
    references = [registry.parse_reference(name) for name in names]
    for reference in references:
        if reference.kind != "hub":
            print_note(f"{reference.name} is no model of the hub; there is nothing to download")
            continue
        with Reporter(quiet) as report:
            folder = hub.pull(
                reference.target,
                revision=reference.revision,
                force=force,
                on_progress=lambda file, done, total: report(Downloading(file, done, total)),
                on_note=print_note,
            )
        registry.check_model_files(registry.resolve_model(f"{reference.target}@{folder.name}", offline=True))
        print_result(str(folder))


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Models; all that are here by default.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte of models and compare with the hashes they should have; leaves with 5 when one differs."""
    chosen = names or [row["name"] for row in _iter_model_details() if row["on_disk"]]
    if not chosen:
        print_note("no models on this computer")
    bad: list[registry.FileCheck] = []
    for name in chosen:
        with Reporter(quiet) as report:
            findings = registry.verify_model_files(name, lambda file, *_: report(Loading(file)))
        wrong = [finding for finding in findings if not finding.ok]
        bad += wrong
        for finding in findings if as_json else wrong:
            if as_json:
                print_json(asdict(finding))
            else:
                print_result(f"{finding.model}: {finding.file}: {finding.detail}")
        if not as_json and not wrong:
            print_result(f"{name}: {len(findings)} files are as they should be")
    if bad:
        spoilt = list(dict.fromkeys(finding.model for finding in bad))
        raise RefusedError(
            f"{len(bad)} {'file' if len(bad) == 1 else 'files'} of {', '.join(spoilt)} not as they should be.",
            " ".join(dict.fromkeys(_install_hint(registry.parse_reference(name), force=True) for name in spoilt)),
        )


def _install_hint(reference: registry.ModelReference, force: bool) -> str:
    """How to get or mend a model of this kind."""
    if reference.kind == "hub":
        return f"Run `artgen models pull {reference.name}{' --force' if force else ''}`."
    if reference.kind == "bundled":
        return "Install artgen again: pip install --force-reinstall artgen"
    return "Copy the model again from where it came from."


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="The short name.")],
    target: Annotated[str | None, typer.Argument(help="An alias, hub id, folder or .safetensors file.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the name; the model stays.")] = False,
) -> None:
    """Give a model a short name of your own, or forget one."""
    if remove == (target is not None):
        raise UsageError("`artgen models alias` wants a TARGET, or --remove.", "artgen models alias mine OWNER/NAME")
    if remove:
        registry.remove_alias(name)
        print_note(f"{name} is forgotten")
    else:
        registry.set_alias(name, str(target))
        print_note(f"{name} now means {target}")


@app.command()
def remove(
    name: ModelName,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a downloaded model from the cache, which other tools share. Asks first on a terminal."""
    reference = registry.parse_reference(name)
    if reference.kind != "hub":
        raise UsageError(f"{name} was not downloaded, so artgen does not delete it.", "Delete the files yourself.")
    size = cache.size_on_disk(reference.target)
    if size and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        question = f"Delete {reference.target} ({format_bytes(size)}) from the cache that other tools share, too?"
        if not typer.confirm(question, err=True):
            print_note("nothing was deleted")
            return
    print_note(f"{format_bytes(cache.remove_model(reference.target, reference.revision))} freed")


@app.command()
def path(name: ModelName) -> None:
    """Print where a model is on this disk."""
    found = registry.find_local_model(name)
    if found is None:
        advice = _install_hint(registry.parse_reference(name), force=False)
        raise ModelUnavailableError(f"{name} is not on this computer.", advice)
    print_result(str(found.path.absolute()))
