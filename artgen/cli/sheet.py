"""Define the command `artgen sheet`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import print_note
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import RequiredImages
from artgen.cli.stdout_image import check_stdout_image, is_stdout, print_saved_path
from artgen.spec.settings import DisplaySettings


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
    cell: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=2048,
            help="Width and height of each cell, in pixels. [256; with --repeat the size of the repeated image]",
        ),
    ] = None,
    label: Annotated[
        str,
        typer.Option(
            help="Label of each image: auto (the settings that differ), none, or settings such as seed,steps."
        ),
    ] = "auto",
    repeat: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNSxROWS", help="Show copies of each image side by side, as a texture, such as 3x3. [1x1]"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each page.")] = False,
) -> None:
    """Arrange images on a labeled contact sheet.

    By default, the labels are the settings that differ between the images.

    artgen sheet outputs/
    artgen sheet outputs/*.png --columns 4 --label seed,steps -o sheet.png
    artgen sheet texture.png --repeat 3x3 -o wall.png
    """
    from artgen.api.sheet_pages import create_sheet
    from artgen.images import iter_images
    from artgen.outputs import check_sheet_path, path_of_file_option

    sheet_path = path_of_file_option(output, "sheet.png", "-o")
    check_sheet_path(sheet_path, overwrite, "--output")
    check_stdout_image(is_stdout(output), json=as_json)
    files = [path for path, _ in iter_images(image_paths, on_note=print_note)]
    created = create_sheet(files, print_note, columns=columns, rows=rows, cell=cell, label=label, repeat=repeat)
    on_written = (lambda path: OUTPUT.print(SheetPage(path))) if as_json else print_saved_path
    paths = created.write(sheet_path, overwrite=overwrite, on_written=on_written)
    display = Display(display_settings)
    for path in paths:
        display.show_file(path)
    display.open(paths[0])
