"""Define the command `artgen mask`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import print_error
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.reporter import Reporter
from artgen.cli.stdout_image import is_stdout, print_saved_path
from artgen.errors import InputFileError, OutputError, SomeFailedError, UsageError
from artgen.spec.settings import DeviceSettings, MaskModelSettings
from artgen.system.counts import counted


@dataclass(frozen=True, kw_only=True)
class TextMask:
    """Store the mask of an image for `--json`.

    Attributes:
        image: path of the input image.
        mask: path of the mask.
        text: description of the selected pixels.
        mask_model: name of the mask model.
        share: fraction of the pixels that the text selects, above 0, at most 1.
        highest: highest score of a pixel, 0 to 1.
    """

    image: Path
    mask: Path
    text: str
    mask_model: str
    share: float
    highest: float


OUTPUT = JsonOutput(lambda: TextMask)


@OUTPUT
@flatten_settings
def mask(
    arguments: Annotated[
        list[str],
        typer.Argument(
            help="Images or folders of images, then the text. - as an image reads stdin.", metavar="IMAGE... TEXT"
        ),
    ],
    model: MaskModelSettings,
    compute: DeviceSettings,
    output: Annotated[
        str,
        typer.Option("-o", "--output", help="The mask: a file, or a folder for IMAGE-mask.png.", show_default=False),
    ] = "./",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not use the network.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and find no mask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record for each mask.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors to stderr.")] = False,
) -> None:
    """Find the pixels of images that a text describes, and save them as a mask.

    White pixels are selected. `artgen inpaint --mask` reads the mask. In the text, AND, OR, NOT, brackets, {+8} (growth
    in pixels) and {*1.5} (weight) are possible.

    artgen mask photo.png "the dog" -o mask.png
    artgen mask photos/ "dog AND NOT collar" --grow 8 -o masks/
    """
    from artgen.api import mask as api
    from artgen.events import Notice
    from artgen.images import load_image
    from artgen.jobs import checks, text_masks
    from artgen.spec.mask_source import check_mask_file
    from artgen.spec.mask_text import parse_mask_text
    from artgen.system.input_files import is_stdin

    paths, text = api.split_text(arguments)
    expression = str(parse_mask_text(text))
    checks.check_device(compute.device, None)
    if is_stdout(output):
        raise UsageError("The mask cannot be written to stdout.", "-o mask.png")
    failures = 0
    with Reporter(quiet) as reporter:
        files = [paths[0]] if is_stdin(paths[0]) else list(api.iter_files(paths, reporter))
        is_folder = output.endswith(("/", "\\")) or Path(output).is_dir()
        if not is_folder:
            check_mask_file(output, "output", "--output")
        if len(files) > 1 and not is_folder:
            raise UsageError(f"{len(files)} masks need a folder.", "-o masks/")
        if len(files) == 1:
            load_image(files[0])  # reports an unreadable file before the model is downloaded
            _check_absent(text_masks.mask_path(output, files[0].name), overwrite=overwrite)
        resolved = api.resolve_mask_models(model, offline=offline, listener=reporter, download=not dry_run)
        if dry_run:
            for note in (*resolved.download_notes(), f"Dry run: {counted(len(files), 'image')} would be searched."):
                reporter(Notice(note))
            return
        for file in files:
            try:
                found = api.find_mask(file, text, model, resolved, compute, reporter)
                path = text_masks.save_mask(found.mask, output, file, overwrite=overwrite, option="-o")
            except (InputFileError, OutputError) as error:
                if len(files) == 1:
                    raise
                reporter.close()
                print_error(error)
                failures += 1
                continue
            reporter.close()
            if as_json:
                record = {"share": found.share, "highest": found.highest}
                OUTPUT.print(TextMask(image=file, mask=path, text=expression, mask_model=resolved.name, **record))
            else:
                print_saved_path(path)
    if failures:
        raise SomeFailedError(f"{failures} of {len(files)} masks failed.")


def _check_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse an existing file before the model is downloaded or loaded."""
    if path.exists() and not overwrite:
        raise OutputError(f"'{path}' exists already.", "Choose another --output, or add --overwrite.")
