"""Define the commands `artgen models list` and `artgen models recommend`."""

import shutil
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_note, print_result
from artgen.cli.json_output import JsonOutput
from artgen.spec.memory_budget import format_gib
from artgen.spec.value_checks import check_choice
from artgen.system.counts import counted, format_bytes

if TYPE_CHECKING:
    from artgen.api.model_lists import ModelDetails
    from artgen.jobs.model_recommendation import ModelRecommendation

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
TaskName = typer.Option("--task", metavar="TASK", help="txt2img, img2img, inpaint, outpaint, edit or sample.")

DEFAULT_COLUMNS = 100
"""Width of the output if stdout is not a terminal."""
MAX_LICENSE_COLUMNS = 36
MIN_DESCRIPTION_COLUMNS = 24
MIN_LICENSE_COLUMNS = 8


def _declare_recommendation() -> type:
    from artgen.jobs.model_recommendation import ModelRecommendation

    return ModelRecommendation


def _declare_details() -> type:
    from artgen.api.model_lists import ModelDetails

    return ModelDetails


LIST_OUTPUT = JsonOutput(_declare_details)
RECOMMEND_OUTPUT = JsonOutput(_declare_recommendation)


@LIST_OUTPUT
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
    artgen models list --family sdxl
    """
    from artgen.api.model_lists import select_models
    from artgen.jobs.next_step import default_next_step

    models = select_models(family=family, task=task)
    if as_json:
        for each in models:
            LIST_OUTPUT.print(each)
        return
    _print_table(models)
    if any(each.on_disk and not each.complete for each in models):
        print_note("* The download is incomplete. `artgen models pull NAME` continues it.")
    if text := default_next_step(task or "txt2img"):
        print_note(text)


def _print_table(rows: "list[ModelDetails]") -> None:
    """Print the models as a table that fits the terminal; the names are not shortened."""
    columns = shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns
    name_width = min(24, max([4, *(len(row.name) for row in rows)]))
    formats = {"kind": "<13", "size": "<9", "download": ">8", "on disk": ">9"}
    for name in ("size", "kind", "download"):  # the first columns that a narrow terminal omits
        if len(_table_line("", name_width, dict.fromkeys(formats, ""), formats)) > columns:
            del formats[name]
    head = _table_line("name", name_width, {name: name for name in formats}, formats)
    rest = columns - len(head) - 2
    license_width = rest if rest < MAX_LICENSE_COLUMNS + MIN_DESCRIPTION_COLUMNS else MAX_LICENSE_COLUMNS
    has_license = rest >= MIN_LICENSE_COLUMNS
    print_note(f"{head}  license" if has_license else head)
    for row in rows:
        disk = format_bytes(row.on_disk) if row.on_disk else "-"
        cells = {
            "kind": row.architecture or "-",
            "size": f"{row.width}x{row.height}" if row.width else "-",
            "download": format_bytes(row.download_size) if row.download_size else "-",
            "on disk": disk if row.complete or not row.on_disk else f"{disk}*",
        }
        name = row.name
        if len(name) > name_width and len(_table_line(name, name_width, cells, formats)) > columns:
            print_result(name)
            name = ""
        line = _table_line(name, name_width, cells, formats)
        if has_license:
            line += f"  {_shorten(row.license, license_width):<{license_width}}"
        if rest > license_width + MIN_DESCRIPTION_COLUMNS:
            line += f"  {_shorten(row.description, rest - license_width - 2)}"
        print_result(line.rstrip())


def _table_line(name: str, name_width: int, cells: Mapping[str, str], formats: Mapping[str, str]) -> str:
    """Return the cells that the table shows, in columns."""
    return " ".join([f"{name:<{name_width}}", *(f"{cells[each]:{form}}" for each, form in formats.items())])


def _shorten(text: str, width: int) -> str:
    """Return a text of at most `width` columns; a longer text ends after a word."""
    if len(text) <= width:
        return text
    shown, _, _ = text[: width - 2].rpartition(" ")
    return f"{(shown or text[: width - 3]).rstrip()}..."


@RECOMMEND_OUTPUT
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
    artgen models recommend --memory 8GiB --task inpaint
    """
    from artgen.api.model_lists import TASKS, find_machine
    from artgen.jobs import recommend as recommending
    from artgen.jobs.model_recommendation import describe

    check_choice("task", task, TASKS)
    machine = find_machine(memory, device)
    results = recommending.recommend(machine, task)
    kind = "the CPU" if machine.device == "cpu" else f"the {machine.device.upper()} device"
    number, size = counted(len(results), "model fits", "models fit"), format_gib(machine.memory_bytes)
    print_note(f"{number} {kind} with {size}{_disk_text(machine.disk_bytes)}.")
    for each in results[:limit]:
        described = describe(each, machine)
        if as_json:
            RECOMMEND_OUTPUT.print(described)
        else:
            _print_recommendation(described)
    if unusable := recommending.unusable_models(task):
        names = ", ".join(f"{info.name} ({', '.join(recommending.missing_packages(info))})" for info in unusable)
        print_note(f"Not listed, because a package is not installed: {names}.")


def _disk_text(disk_bytes: int | None) -> str:
    return "" if disk_bytes is None else f" and {format_bytes(disk_bytes)} free on the disk"


def _print_recommendation(model: "ModelRecommendation") -> None:
    columns = shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns
    print_result(_shorten(f"{model.name}: {model.description}", columns))
    for line in textwrap.wrap(
        model.reason,
        columns,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        print_result(line)
    print_result(f"  {model.command}")
