"""Define the command `artgen control`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import discard_note, print_note, print_result
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import RequiredImages
from artgen.cli.reporter import Reporter
from artgen.cli.run_requests import summary_line
from artgen.cli.stdout_image import check_stdout_image, print_saved_path
from artgen.spec.control import CONTROL_KINDS
from artgen.spec.settings import OutputSettings, ReportSettings

if TYPE_CHECKING:
    from PIL import Image

    from artgen.outputs import Destination

Kind = Annotated[str, typer.Argument(help=f"Kind of the map: {', '.join(CONTROL_KINDS)}.", metavar="KIND")]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="File, folder (with a trailing /), template, or - for stdout.  [default: outputs/{stem}-KIND.png]",
    ),
]
PreprocessorOption = Annotated[
    str | None,
    typer.Option(
        "--preprocessor",
        metavar="FOLDER",
        help="Folder of the model that computes the map. depth: Depth Anything or DPT. seg: UperNet, SegFormer or "
        "Mask2Former for ADE20K. pose: DETECTOR+POSE, the folders of an RT-DETR and a ViTPose.  "
        "[default: downloaded model]",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ControlMapReport:
    """Describe a control map for `--json`.

    Attributes:
        file: path of the map. With `--dry-run`, the path that the map would have.
        image: path of the input image.
        kind: kind of the map.
        width: width in pixels.
        height: height in pixels.
        preprocessors: models that compute the map, each with its hub id and, if it is downloaded, its commit; `local`
            for a folder.
    """

    file: Path
    image: Path
    kind: str
    width: int
    height: int
    preprocessors: tuple[str, ...]


OUTPUT = JsonOutput(lambda: ControlMapReport)


@OUTPUT
@flatten_settings
def control(
    kind: Kind,
    image_paths: RequiredImages,
    report: ReportSettings,
    output: OutputOption = None,
    device: Annotated[
        str, typer.Option("--device", help="Device of the preprocessor: auto, cpu, mps, cuda or cuda:N.")
    ] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Use only files on the disk.")] = False,
    preprocessor: PreprocessorOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
) -> None:
    """Write the control map of an image.

    The map has the size of the image. --control KIND=IMAGE computes the same map after it has resized the image. Use a
    saved map with --control raw=MAP,model=KIND.

    artgen control canny photo.png -o map.png
    artgen control pose photos/ -o maps/
    """
    from artgen import images, outputs
    from artgen.api.control_maps import check_settings, compute_maps
    from artgen.outputs.mark_notes import source_marks
    from artgen.registry.preprocessors import resolve_preprocessors

    check_settings(kind, device)
    on_note = discard_note if report.quiet else print_note
    files = [path for path, _ in images.iter_images(image_paths, on_note=on_note)]
    settings = OutputSettings(output=output, overwrite=overwrite, metadata="none", sign=False)
    destination = outputs.parse_destination(settings, f"{{stem}}-{kind}", len(files), tuple(files))
    check_stdout_image(destination.is_stdout, json=report.json, dry_run=report.dry_run)
    sizes = []
    for file in files:
        loaded = images.load_image(file)  # reports unreadable files before a preprocessor is loaded
        for note in loaded.notes:
            on_note(note)
        sizes.append(loaded.image.size)
        destination.check(*loaded.image.size, _record(kind, file))
    for note in source_marks(files).notes:
        on_note(note)
    with Reporter(report.quiet, report.verbose) as reporter:
        found = resolve_preprocessors(
            kind, preprocessor, offline=offline, download=not report.dry_run, listener=reporter
        )
        names = tuple(each.address for each in found)
        if report.dry_run:
            reporter.close()
            for each in found:
                if each.download_note:
                    on_note(each.download_note)
            for file, size in zip(files, sizes, strict=True):
                _print(file, destination.preview(_record(kind, file)), kind, size, names, report)
            on_note("Dry run: no control map was written.")
            return
        maps = compute_maps(kind, files, found, device, reporter)
        paths = [_save(destination, kind, file, image) for file, image in zip(files, maps, strict=True)]
    display = Display(report)
    for path, file, size in zip(paths, files, sizes, strict=True):
        display.show_file(path)
        _print(file, path, kind, size, names, report)
    display.open(paths[0] if len(paths) == 1 else paths[0].parent)


def _record(kind: str, file: Path) -> dict[str, object]:
    return {"task": "control", "image": file.name, "kind": kind}


def _save(destination: "Destination", kind: str, file: Path, image: "Image.Image") -> Path:
    from artgen.metadata.input_marks import find_marks
    from artgen.metadata.writing import INPUT_SOURCE_TYPE

    mark = find_marks(file).source_type
    return destination.save(image, {**_record(kind, file), **({INPUT_SOURCE_TYPE: mark} if mark else {})})


def _print(
    file: Path, path: Path, kind: str, size: tuple[int, int], preprocessors: tuple[str, ...], report: ReportSettings
) -> None:
    """Print a map: its JSON object, its path, or with `--dry-run` a summary."""
    if report.json:
        OUTPUT.print(
            ControlMapReport(
                file=path, image=file, kind=kind, width=size[0], height=size[1], preprocessors=preprocessors
            )
        )
    elif report.dry_run:
        values = {"task": "control", "kind": kind, "image": file.name, "size": f"{size[0]}x{size[1]}", "output": path}
        print_result(summary_line(values))
    else:
        print_saved_path(path)
