"""`artgen reconstruct`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.options import flattened
from artgen.cli.reporting import Reporter, emit, emit_json, note
from artgen.cli.sheet import check_sheet, write_sheets
from artgen.cli.words import SomePictures
from artgen.errors import ModelUnavailableError
from artgen.settings import Place, Weights

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.reconstructing import Rebuilt
    from artgen.registry import ResolvedModel
    from artgen.sheets import Cell

ROWS = 8
"""Pictures on a page of the sheet."""

SHOWN = 512
"""Pixels a side of a picture on the sheet at most."""


@flattened
def reconstruct(
    pictures: SomePictures,
    model: Weights,
    compute: Place,
    output: Annotated[Path, typer.Option("-o", "--output", help="The sheet; further pages get -2, -3 ...")] = Path(
        "reconstruction.png"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record for each picture.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")] = False,
) -> None:
    """Show pictures beside what a model's autoencoder makes of them, and measure the difference.

    What it loses, no picture drawn by that model can have. Any size; figures are PSNR, SSIM and a perceptual distance.

    artgen reconstruct photos/ -m sd15 -o sheet.png
    """
    from artgen import fitting, images
    from artgen.batch import folders

    fitting.check_device(compute.device, None)
    check_sheet(output, overwrite, "--output")
    found = _model(model)
    files = [entry.given["image"] for entry in folders.read(pictures, captions=False)]
    for file in files:
        images.load_image(file)  # every one is read before a model loads
    rows: list[list[Cell]] = []
    totals: dict[str, float] = {}
    with Reporter(quiet) as reporter:
        for file, rebuilt in zip(files, _rebuilt(files, found, compute, reporter), strict=True):
            reporter.close()
            rows.append(_row(file, rebuilt))
            for name, value in rebuilt.measured.items():
                totals[name] = totals.get(name, 0.0) + value / len(files)
            if as_json:
                emit_json({"image": str(file), "model": found.name, "sheet": str(output), **_finite(rebuilt.measured)})
            elif not quiet:
                note(f"{file}: {_words(rebuilt.measured)}")
    if len(files) > 1 and not quiet and not as_json:
        note(f"mean of {len(files)}: {_words(totals)}")
    _write(rows, output, overwrite)
    if not as_json:
        emit(str(output))


def _model(asked: Weights) -> "ResolvedModel":
    from artgen import machine, registry

    model = registry.resolve(asked.model or machine.default_model(), offline=asked.offline)
    registry.check(model)
    if model.architecture == "pixel":
        raise ModelUnavailableError(
            f"{model.name} is a model of pixels and has no autoencoder.", "Choose another --model."
        )
    return model


def _rebuilt(files: list[Path], model: "ResolvedModel", compute: Place, reporter: Reporter) -> Any:
    from artgen import images
    from artgen.engine import reconstructing
    from artgen.engine.device import place
    from artgen.events import ModelChosen

    where = place(compute.device, "fp32" if compute.dtype == "auto" else compute.dtype)
    reporter(ModelChosen(f"the autoencoder of {model.label}", where.device, where.dtype))
    given = (images.load_image(file).image for file in files)
    return reconstructing.rebuild(model, given, where, reporter)


def _row(file: Path, rebuilt: "Rebuilt") -> "list[Cell]":
    from artgen.sheets import Cell

    return [
        Cell(None, str(file), _shown(rebuilt.given)),
        Cell(None, _words(rebuilt.measured).replace(", ", "\n"), _shown(rebuilt.picture)),
    ]


def _shown(picture: "Image.Image") -> "Image.Image":
    shown = picture.copy()
    shown.thumbnail((SHOWN, SHOWN))
    return shown


def _write(rows: "list[list[Cell]]", output: Path, overwrite: bool) -> None:
    from artgen.sheets import Sheet

    pages = [
        Sheet(rows[start : start + ROWS], columns=("picture", "reconstruction")) for start in range(0, len(rows), ROWS)
    ]
    side = max(256, *(cell.picture.width for row in rows for cell in row if cell.picture))
    write_sheets(pages, output, cell=min(SHOWN, side), overwrite=overwrite, told=False)


def _words(measured: dict[str, float]) -> str:
    return (
        f"PSNR {measured['psnr']:.2f} dB, SSIM {measured['ssim']:.4f}, "
        f"perceptual distance {measured['perceptual_distance']:.4f}"
    )


def _finite(measured: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity, the PSNR of equal pictures."""
    return {name: value if math.isfinite(value) else None for name, value in measured.items()}
