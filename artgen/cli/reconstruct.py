"""Define the command `artgen reconstruct`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import discard_note, print_note
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import RequiredImages
from artgen.cli.reporter import Reporter
from artgen.cli.stdout_image import check_stdout_image, is_stdout, print_saved_path
from artgen.spec.settings import DeviceSettings, DisplaySettings, ModelRef
from artgen.system.counts import counted

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.reconstruct import Reconstruction
    from artgen.images.contact_sheet import Cell

ROWS_PER_PAGE = 8
"""Number of images on a page of the sheet."""

MAX_CELL_PX = 512
"""Maximum width and height of an image on the sheet, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """Store the reconstruction error of an image for `--json`.

    Attributes:
        image: path of the input image.
        model: name of the model.
        sheet: path of the first page of the sheet.
        psnr: peak signal-to-noise ratio in dB; None if the images are equal.
        ssim: structural similarity, at most 1.
        vae_feature_distance: distance of the features of the bundled VAE, 0 or more.
    """

    image: Path
    model: str
    sheet: Path
    psnr: float | None
    ssim: float
    vae_feature_distance: float


OUTPUT = JsonOutput(lambda: Reconstructed)


@OUTPUT
@flatten_settings
def reconstruct(
    image_paths: RequiredImages,
    model: ModelRef,
    compute: DeviceSettings,
    display_settings: DisplaySettings,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="The sheet: a file, or a folder for reconstruction.png. Further pages are named sheet-2.png, "
            "sheet-3.png ...",
        ),
    ] = "reconstruction.png",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record for each image.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors to stderr.")] = False,
) -> None:
    """Encode and decode images with the VAE of a model.

    The command measures the difference, and arranges the images on a sheet. The model cannot generate details that its
    VAE (autoencoder) loses. Images can have any size. The metrics are PSNR, SSIM and VAE feature distance.

    artgen reconstruct fox.png
    artgen reconstruct photos/ -m sd15 -o sheet.png
    """
    from artgen import images
    from artgen.api.reconstruct import reconstruct_files, resolve_autoencoder
    from artgen.jobs import checks
    from artgen.outputs import check_sheet_path, path_of_file_option
    from artgen.outputs.mark_notes import source_marks

    checks.check_device(compute.device, None)
    sheet_path = path_of_file_option(output, "reconstruction.png", "-o")
    check_sheet_path(sheet_path, overwrite, "--output")
    check_stdout_image(is_stdout(output), json=as_json)
    with Reporter(quiet) as reporter:
        resolved = resolve_autoencoder(model, reporter)
    files = [path for path, _ in images.iter_images(image_paths, on_note=discard_note if quiet else print_note)]
    for file in files:
        loaded = images.load_image(file)  # reports unreadable files before the model is loaded
        for note in () if quiet else loaded.notes:
            print_note(note)
    for note in () if quiet else source_marks(files).notes:
        print_note(note)
    rows: list[list[Cell]] = []
    totals: dict[str, float] = {}
    with Reporter(quiet) as reporter:
        for file, result in zip(files, reconstruct_files(files, resolved, compute, reporter), strict=True):
            reporter.close()
            rows.append(_sheet_row(file, result))
            for name, value in result.metrics.items():
                totals[name] = totals.get(name, 0.0) + value / len(files)
            if as_json:
                OUTPUT.print(Reconstructed(image=file, model=resolved.name, sheet=sheet_path, **result.metrics))
            elif not quiet:
                print_note(f"'{file}': {_format_metrics(result.metrics)}.")
    if len(files) > 1 and not quiet and not as_json:
        print_note(f"Mean of {counted(len(files), 'image')}: {_format_metrics(totals)}.")
    _write_pages(rows, sheet_path, overwrite)
    display = Display(display_settings, quiet=quiet)
    display.show_file(sheet_path)
    display.open(sheet_path)
    if not as_json:
        print_saved_path(sheet_path)


def _sheet_row(file: Path, reconstruction: "Reconstruction") -> "list[Cell]":
    from artgen.images.contact_sheet import Cell

    text = _format_metrics(reconstruction.metrics).replace(", ", "\n")
    return [
        Cell(None, str(file), _thumbnail(reconstruction.original), file),
        Cell(None, text, _thumbnail(reconstruction.reconstructed), file),
    ]


def _thumbnail(image: "Image.Image") -> "Image.Image":
    thumbnail = image.copy()
    thumbnail.thumbnail((MAX_CELL_PX, MAX_CELL_PX))
    return thumbnail


def _write_pages(rows: "list[list[Cell]]", output: Path, overwrite: bool) -> None:
    from artgen.images.contact_sheet import ContactSheet
    from artgen.outputs import write_sheets

    pages = [
        ContactSheet(rows[start : start + ROWS_PER_PAGE], column_labels=("image", "reconstruction"))
        for start in range(0, len(rows), ROWS_PER_PAGE)
    ]
    side = max(256, *(cell.image.width for row in rows for cell in row if cell.image))
    write_sheets(pages, output, cell_px=min(MAX_CELL_PX, side), overwrite=overwrite)


def _format_metrics(metrics: dict[str, float]) -> str:
    return (
        f"PSNR {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.4f}, "
        f"VAE feature distance {metrics['vae_feature_distance']:.4f}"
    )
