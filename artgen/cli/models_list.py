"""Define the commands `artgen models list` and `artgen models recommend`."""

import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen import registry
from artgen.cli.console import print_json, print_note, print_result
from artgen.errors import ArtgenError, UsageError
from artgen.registry import web
from artgen.registry.hub import cache
from artgen.registry.pipelines import PipelineEntry, pipeline_entries
from artgen.spec.memory_budget import format_gib, parse_bytes
from artgen.system.counts import counted, format_bytes

if TYPE_CHECKING:
    from artgen.jobs.recommend import Machine, Recommendation

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
TaskName = typer.Option("--task", metavar="TASK", help="txt2img, img2img, inpaint, outpaint or sample.")
TASKS = ("txt2img", "img2img", "inpaint", "outpaint", "sample")

DEFAULT_COLUMNS = 100
"""Width of the output if stdout is not a terminal."""
MAX_LICENSE_COLUMNS = 36
MIN_DESCRIPTION_COLUMNS = 24


def list_models(
    as_json: AsJson = False,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="Only a family, such as flux, sdxl or qwen-image.")
    ] = None,
    task: Annotated[str | None, TaskName] = None,
) -> None:
    """List the models that have an alias, and the downloaded models.

    download: size of the files that artgen downloads, approximately. on disk: size on this computer.

    artgen models list
    """
    _check_task(task)
    entries = _entries_of_family(family) if family else None
    rows = [
        row for row in iter_model_details() if (entries is None or row["family"] in entries) and _has_task(row, task)
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    _print_table(rows)
    if any(row["on_disk"] and not row["complete"] for row in rows):
        print_note("* The download is incomplete. `artgen models pull NAME` continues it.")


def _check_task(task: str | None) -> None:
    if task is not None and task not in TASKS:
        raise UsageError(f"--task must be one of {', '.join(TASKS)}, not {task!r}.")


def _entries_of_family(family: str) -> set[str]:
    """Return the names of the entries of the table of pipelines that belong to a family: an entry or an architecture.

    Raises:
        UsageError: the family is unknown.
    """
    table = pipeline_entries()
    found = {name for name, entry in table.items() if family in (name, entry.architecture)}
    if not found:
        known = sorted({info.architecture or "" for info in registry.listed_models().values()} - {""})
        raise UsageError(f"Cannot find the family {family!r}.", f"The catalog has: {', '.join(known)}.")
    return found


def _has_task(row: dict[str, Any], task: str | None) -> bool:
    if task is None:
        return True
    entry: PipelineEntry | None = pipeline_entries().get(row["family"] or "")
    is_editor = task in ("inpaint", "outpaint")
    return entry is not None and task in entry.tasks and (is_editor or not row["inpainting"])


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print the models as a table that fits the terminal; the names are not shortened."""
    columns = shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns
    name_width = min(24, max([4, *(len(row["name"]) for row in rows)]))
    head = f"{'name':<{name_width}} {'kind':<13} {'size':<9} {'download':>8} {'on disk':>9}"
    rest = max(columns - len(head) - 2, 8)
    license_width = rest if rest < MAX_LICENSE_COLUMNS + MIN_DESCRIPTION_COLUMNS else MAX_LICENSE_COLUMNS
    print_note(f"{head}  {'license':<{license_width}}".rstrip())
    for row in rows:
        size = f"{row['width']}x{row['height']}" if row["width"] else "-"
        download = format_bytes(row["download_size"]) if row["download_size"] else "-"
        disk = format_bytes(row["on_disk"]) if row["on_disk"] else "-"
        disk += "" if row["complete"] or not row["on_disk"] else "*"
        line = f"{row['name']:<{name_width}} {row['architecture'] or '-':<13} {size:<9} {download:>8} {disk:>9}"
        line += f"  {_shorten(row['license'], license_width):<{license_width}}"
        if rest > license_width + MIN_DESCRIPTION_COLUMNS:
            line += f"  {_shorten(row['description'], rest - license_width - 2)}"
        print_result(line.rstrip())


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3].rstrip()}..."


def iter_model_details() -> Iterator[dict[str, Any]]:
    """Yield the details of every model with an alias, of cached models, and of the files in the model folders."""
    named: set[str] = set()
    for model_info in registry.listed_models().values():
        named.add(model_info.source)
        yield model_details(model_info.name, model_info)
    for repo in cache.cached_repositories():
        if repo not in named and cache.is_diffusers_model(repo):
            yield model_details(repo, registry.ModelInfo(name=repo, source=repo, builtin=False))
    for file in registry.iter_model_files("model"):
        if str(file.path) not in named and not file.is_pickle:
            info = registry.ModelInfo(name=file.stem, source=str(file.path), builtin=False)
            yield model_details(str(file.path), info) | {"name": file.stem}
    for stored in web.stored_files():
        if stored.kind != "model":
            yield stored_details(stored)


def stored_details(stored: web.StoredFile) -> dict[str, Any]:
    """Return the details of a downloaded LoRA, VAE, embedding or ControlNet."""
    info = registry.ModelInfo(
        name=stored.name,
        source=stored.source or str(stored.path),
        license=str(stored.details.get("license") or "unknown"),
        description=str(stored.details.get("description") or ""),
        builtin=False,
    )
    size = stored.path.stat().st_size
    return model_details(str(stored.path), info) | {
        "name": stored.name,
        "architecture": stored.kind,
        "on_disk": size,
        "complete": True,
    }


def model_details(name: str, model_info: registry.ModelInfo) -> dict[str, Any]:
    """Return the details of a model from the catalog, and from its files if they are available locally."""
    model: registry.ResolvedModel | None = None
    try:
        model = registry.find_local_model(name)
    except ArtgenError:
        model = None
    width, height = model.native_size if model else (model_info.width, model_info.height)
    return {
        "name": name,
        "source": model_info.source,
        "revision": model.revision if model else model_info.revision,
        "architecture": model.architecture if model else model_info.architecture,
        "width": width,
        "height": height,
        "license": model.license if model and model.license != "unknown" else model_info.license,
        "gated": model_info.gated,
        "family": model_info.family,
        "aliases": list(model_info.aliases),
        "year": model_info.year,
        "download_size": model_info.download_size,
        "gpu_memory": registry.catalog_peak_bytes(model_info),
        "steps": model.steps if model else model_info.steps,
        "guidance_scale": model.guidance_scale if model else model_info.guidance_scale,
        "inpainting": model.is_inpainting if model else model_info.inpainting,
        "on_disk": _size_on_disk(model_info, model),
        "complete": model is not None,
        "builtin": model_info.builtin,
        "description": (model.description if model else "") or model_info.description,
    }


def _size_on_disk(model_info: registry.ModelInfo, model: registry.ResolvedModel | None) -> int:
    if model and not model.revision:
        files = [model.path] if model.is_file else [path for path in model.path.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)
    return cache.size_on_disk(model_info.source) if "/" in model_info.source else 0


def recommend(
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help="Plan for another machine with this memory, such as 24GiB.  [this machine]"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto, cuda, mps or cpu. With --memory, auto is cuda.")
    ] = "auto",
    task: Annotated[str, TaskName] = "txt2img",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Number of models.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List the models of the catalog that fit this machine, best first, with the reason and the command.

    Newer and larger models come first. Offloading, or a long computation on the CPU, lowers the rank. The memory is an
    estimate from the number of parameters. Nothing is downloaded.

    artgen models recommend
    """
    from artgen.jobs import recommend as recommending
    from artgen.jobs.time_estimate import num_cores

    _check_task(task)
    if device not in ("auto", "cuda", "mps", "cpu"):
        raise UsageError(f"--device must be auto, cuda, mps or cpu, not {device!r}.")
    if memory is not None:
        num_bytes, kind = parse_bytes(memory, "--memory"), "cuda" if device == "auto" else device
        ram = num_bytes if kind == "cpu" else None
        machine = recommending.Machine(kind, num_bytes, ram, None, num_cores())
    elif found := recommending.this_machine(device):
        machine = found
    else:
        raise UsageError(
            f"Cannot determine the memory for the device '{device}'.", "Give it with --memory, such as 8GiB."
        )
    results = recommending.recommend(machine, task)
    kind = "the CPU" if machine.device == "cpu" else f"the {machine.device.upper()} device"
    number, size = counted(len(results), "model fits", "models fit"), format_gib(machine.memory_bytes)
    print_note(f"{number} {kind} with {size}{_disk_text(machine.disk_bytes)}.")
    for each in results[:limit]:
        if as_json:
            print_json(recommending.as_record(each, machine))
        else:
            _print_recommendation(each, machine)
    if unusable := recommending.unusable_models(task):
        names = ", ".join(f"{info.name} ({', '.join(recommending.missing_packages(info))})" for info in unusable)
        print_note(f"Not listed, because a package is not installed: {names}.")


def _disk_text(disk_bytes: int | None) -> str:
    return "" if disk_bytes is None else f" and {format_bytes(disk_bytes)} free on the disk"


def _print_recommendation(recommendation: "Recommendation", machine: "Machine") -> None:
    from artgen.jobs.recommend import reason

    columns = shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns
    print_result(_shorten(f"{recommendation.info.name}: {recommendation.info.description}", columns))
    for line in textwrap.wrap(reason(recommendation, machine), columns, initial_indent="  ", subsequent_indent="  "):
        print_result(line)
    print_result(f"  {recommendation.command}")
