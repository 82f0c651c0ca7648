"""Define the command `artgen models convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import print_note, print_path
from artgen.cli.json_output import JsonOutput


@dataclass(frozen=True)
class Converted:
    """Describe a new file for `--json`.

    Attributes:
        file: pickled checkpoint or model folder, as typed.
        path: new safetensors file.
    """

    file: Path
    path: Path


OUTPUT = JsonOutput(lambda: Converted)


@OUTPUT
def convert(
    file: Annotated[
        Path, typer.Argument(help="Pickled checkpoint: .ckpt, .pt, .pth or .bin. Or a model folder with such weights.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="File, or folder (ends with / or exists).  [default: FILE with .safetensors]"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each new file.")] = False,
) -> None:
    """Convert a pickled checkpoint or embedding to a safetensors file, and print its path.

    Another process reads the pickle, with limits of memory and time. It creates only tensors and runs no code of the
    file. In a model folder, the weights of each component are converted, beside the pickles.

    artgen models convert model.ckpt
    artgen models convert model.ckpt -o models/
    """
    from artgen.api import model_operations
    from artgen.events import note_listener

    print_note(f"Converting '{file}'.")
    for path in model_operations.iter_conversions(file, output, overwrite, note_listener(print_note)):
        if as_json:
            OUTPUT.print(Converted(file, path))
        else:
            print_path(path)
