"""Define the command `artgen gallery`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import discard_note, print_note, print_path
from artgen.cli.display import open_path
from artgen.cli.json_output import JsonOutput
from artgen.cli.reporter import Reporter
from artgen.errors import InputFileError, UsageError
from artgen.events import CheckingImages
from artgen.system.counts import counted

MAX_DAMAGED_NOTES = 5
"""Number of damaged files that are named."""


@dataclass(frozen=True)
class WrittenGallery:
    """Describe a gallery for `--json`.

    Attributes:
        file: path of the page.
        images: number of images in the gallery.
        new: number of images that were read in this run.
        removed: number of images of the last run that do not exist any more.
        without_record: number of images without generation metadata.
        damaged: files that cannot be read.
    """

    file: Path
    images: int
    new: int
    removed: int
    without_record: int
    damaged: list[str]


OUTPUT = JsonOutput(lambda: WrittenGallery)


@OUTPUT
def gallery(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Images, and folders of images. [the folder in which images are saved]",
            metavar="[IMAGE|FOLDER]...",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="Folder of the gallery: new, empty, or an earlier gallery.", metavar="FOLDER/"
        ),
    ] = "gallery/",
    title: Annotated[
        str | None, typer.Option(help="Title of the page. [the name of the folder]", show_default=False)
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the images into the gallery, so that the folder can be published.")
    ] = False,
    history: Annotated[bool, typer.Option("--history", help="Show the images of the history.")] = False,
    opens: Annotated[bool, typer.Option("--open", help="Open the page with the browser of the system.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors on stderr.")] = False,
) -> None:
    """Write a page with images, their settings and a search.

    The page needs no server and no network. It has search, filters, a comparison, the lineage of images and commands to
    copy. A later run reads only new and changed images. Without --copy, the page links to the original files.

    artgen gallery outputs/ -o site/
    artgen gallery outputs/ portraits/ -o site/ --copy --title "My images"
    """
    from artgen.api.gallery import create_gallery, result_note

    _check_output(output)
    on_note = discard_note if quiet else print_note
    sources = list(paths or []) or ([] if history else [_default_folder()])

    with Reporter(quiet) as reporter:
        result = create_gallery(
            sources,
            Path(output),
            title=title,
            copy=copy,
            history=history,
            on_note=on_note,
            on_progress=lambda number, total: reporter(CheckingImages(number, total)),
        )
    if as_json:
        damaged = [str(path) for path in result.damaged]
        OUTPUT.print(
            WrittenGallery(result.path, result.images, result.new, result.removed, result.without_record, damaged)
        )
    else:
        print_path(result.path)
    for note in list(result.damaged.values())[:MAX_DAMAGED_NOTES]:
        on_note(note)
    if len(result.damaged) > MAX_DAMAGED_NOTES:
        num_other = len(result.damaged) - MAX_DAMAGED_NOTES
        on_note(f"The page shows notes about {counted(num_other, 'other file')}.")
    on_note(result_note(result))
    if opens and (reason := open_path(result.path)):
        on_note(f"Cannot open the page: {reason}.")


def _check_output(output: str) -> None:
    """Check that an output is the name of a folder.

    Raises:
        UsageError: the name is empty, standard output, or a page.
    """
    from artgen.outputs import find_stream

    if not output.strip() or "\0" in output:
        raise UsageError("--output is empty or contains a NUL character.", "Use -o gallery/.")
    if find_stream(output) is not None or Path(output).suffix.lower() in (".html", ".htm"):
        raise UsageError(f"A gallery is a folder with several files, not '{output}'.", "Use a folder: -o gallery/")


def _default_folder() -> Path:
    """Return the folder in which txt2img saves images.

    Raises:
        InputFileError: the folder does not exist.
    """
    from artgen.outputs.parse_output import parse_destination
    from artgen.spec import config
    from artgen.spec.settings import OutputSettings

    configured = os.environ.get("ARTGEN_OUTPUT") or config.load_defaults("txt2img").get("txt2img", {}).get("output")
    folder = parse_destination(OutputSettings(output=str(configured) if configured else None)).folder
    if not folder.is_dir():
        raise InputFileError(f"'{folder}' does not exist.", "Name a folder of images: artgen gallery FOLDER")
    return folder
