"""Define the command `artgen sheet`, and write the sheets of other commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import print_note
from artgen.cli.positionals import RequiredImages
from artgen.cli.stdout_image import check_stdout_image, is_stdout, print_saved_path
from artgen.errors import InputFileError, OutputError, UsageError

if TYPE_CHECKING:
    from artgen.images.contact_sheet import ContactSheet

LABEL_SETTINGS = (
    "prompt", "negative_prompt", "model", "seed", "steps", "guidance_scale", "scheduler", "sigmas", "strength",
    "image", "width", "height", "task",
)  # fmt: skip
"""Settings that a label can contain, in order."""


def sheet(
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
) -> None:
    """Arrange images on a labeled contact sheet.

    By default, the labels are the settings that differ between the images.

    artgen sheet outputs/*.png -o sheet.png
    """
    from artgen.images import contact_sheet, iter_images
    from artgen.outputs import path_of_file_option

    sheet_path = path_of_file_option(output, "sheet.png", "-o")
    check_sheet_path(sheet_path, overwrite, "--output")
    check_stdout_image(is_stdout(output), json=False)
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
    write_sheets(
        contact_sheet.paginate(cells, columns=num_columns, rows=rows, title=title),
        sheet_path,
        cell_px=cell,
        overwrite=overwrite,
    )


def check_sheet_path(output: Path, overwrite: bool, option: str) -> None:
    """Check that a sheet can be written, before images are generated.

    Raises:
        UsageError: the suffix is not an image suffix.
        OutputError: the file exists already.
    """
    from artgen.outputs import find_stream, format_from_suffix

    flag = "-o" if option == "--output" else option
    if option == "--output" and find_stream(str(output)) is not None:
        return
    format_from_suffix(output, "A sheet", f"{flag} sheet.png")
    if output.exists() and not overwrite:
        raise OutputError(f"'{output}' exists already.", f"Choose another {option}, or add --overwrite.")


def write_sheets(
    pages: "list[ContactSheet]", output: Path, *, cell_px: int, overwrite: bool, print_paths: bool = True
) -> list[Path]:
    """Render pages, write them to `sheet.png`, `sheet-2.png` ... and return their paths.

    Args:
        pages: the pages.
        output: path of the first page, or a stream; see `artgen.outputs.find_stream`.
        cell_px: width and height of a cell, in pixels.
        overwrite: existing files may be overwritten.
        print_paths: print the paths to stdout.

    Raises:
        UsageError: the suffix is not an image suffix, or standard output receives several pages.
        OutputError: a file exists already, or cannot be written.
    """
    from artgen.images import contact_sheet
    from artgen.outputs import encode_without_metadata, find_stream, format_from_suffix, write_user_file

    stream = find_stream(str(output))
    if stream is not None and len(pages) > 1:
        raise UsageError(f"Cannot write several pages to '{output}': it takes one page.", "Use -o sheet.png.")
    image_format = "png" if stream is not None else format_from_suffix(output, "A sheet", "-o sheet.png")
    hint = "Choose another --output, or add --overwrite."
    paths = [output, *(output.with_stem(f"{output.stem}-{number}") for number in range(2, len(pages) + 1))]
    if not overwrite and stream is None and (existing := next((path for path in paths if path.exists()), None)):
        raise OutputError(f"'{existing}' exists already.", hint)
    for path, page in zip(paths, pages, strict=True):
        data = encode_without_metadata(contact_sheet.render_sheet(page, cell_px=cell_px), image_format)
        write_user_file(path, data, overwrite=overwrite, hint=hint)
        if print_paths:
            print_saved_path(path)
    return paths


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
