"""Define the command `artgen sheet`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.console import print_note
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import RequiredImages
from artgen.cli.stdout_image import check_stdout_image, is_stdout, print_saved_path
from artgen.errors import InputFileError
from artgen.spec.settings import DisplaySettings

LABEL_SETTINGS = (
    "prompt", "negative_prompt", "model", "seed", "steps", "guidance_scale", "scheduler", "sigmas", "strength",
    "image", "width", "height", "task",
)  # fmt: skip
"""Settings that a label can contain, in order."""


@dataclass(frozen=True)
class SheetPage:
    """Describe a page for `--json`.

    Attributes:
        file: path of the page.
    """

    file: Path


OUTPUT = JsonOutput(lambda: SheetPage)


@OUTPUT
@flatten_settings
def sheet(
    display_settings: DisplaySettings,
    image_paths: RequiredImages,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="The sheet: a file, or a folder for sheet.png. Further pages are named sheet-2.png, sheet-3.png ...",
        ),
    ] = "sheet.png",
    columns: Annotated[int, typer.Option(min=0, max=100, help="Images per row. 0 makes the sheet square.")] = 0,
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows per page.")] = 12,
    cell: Annotated[int, typer.Option(min=32, max=2048, help="Width and height of each cell, in pixels.")] = 256,
    label: Annotated[
        str,
        typer.Option(
            help="Label of each image: auto (the settings that differ), none, or settings such as seed,steps."
        ),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each page.")] = False,
) -> None:
    """Arrange images on a labeled contact sheet.

    By default, the labels are the settings that differ between the images.

    artgen sheet outputs/
    artgen sheet outputs/*.png --columns 4 --label seed,steps -o sheet.png
    """
    from artgen.images import contact_sheet, iter_images
    from artgen.outputs import check_sheet_path, path_of_file_option, write_sheets

    sheet_path = path_of_file_option(output, "sheet.png", "-o")
    check_sheet_path(sheet_path, overwrite, "--output")
    check_stdout_image(is_stdout(output), json=as_json)
    files = [path for path, _ in iter_images(image_paths, on_note=print_note)]
    records = [_read_record(file) for file in files]
    shared, differing = contact_sheet.split_common_settings(records, LABEL_SETTINGS)
    names = _label_settings(label, differing)
    cells = [
        contact_sheet.Cell(file, _label_text(record, names, file if label == "auto" and not differing else None))
        for file, record in zip(files, records, strict=True)
    ]
    num_columns = columns or max(1, round(len(cells) ** 0.5))
    title = "" if label == "none" else str(shared.get("prompt") or "")
    paths = write_sheets(
        contact_sheet.paginate(cells, columns=num_columns, rows=rows, title=title),
        sheet_path,
        cell_px=cell,
        overwrite=overwrite,
        on_written=(lambda path: OUTPUT.print(SheetPage(path))) if as_json else print_saved_path,
    )
    display = Display(display_settings)
    for path in paths:
        display.show_file(path)
    display.open(paths[0])


def _read_record(path: Path) -> dict[str, Any]:
    from artgen import metadata

    try:
        image_metadata = metadata.read_metadata(path)
    except InputFileError:
        return {}
    return image_metadata.fields


def _label_settings(label: str, differing: list[str]) -> list[str]:
    from artgen.queue.entries import setting_name

    if label == "none":
        return []
    if label == "auto":
        if not differing:
            print_note("The metadata of the images does not differ. The labels are the file names.")
        return differing
    return [setting_name(name) for name in label.split(",")]


def _label_text(record: dict[str, Any], names: list[str], file: Path | None) -> str:
    if file is not None:
        return file.stem
    values = [(name, record[name]) for name in names if record.get(name) not in (None, "")]
    return "\n".join(str(value) if name == "prompt" else f"{name} {value}" for name, value in values)
