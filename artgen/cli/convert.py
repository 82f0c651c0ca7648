"""Define the command `artgen models convert`."""

from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import print_note, print_path
from artgen.errors import UsageError


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
) -> None:
    """Convert a pickled checkpoint or embedding to a safetensors file, and print its path.

    Another process reads the pickle, with limits of memory and time. It creates only tensors and runs no code of the
    file. In a model folder, the weights of each component are converted, beside the pickles.

    artgen models convert model.ckpt
    """
    from artgen.outputs.parse_output import path_of_file_option
    from artgen.registry.convert import convert_pickle, default_output
    from artgen.registry.convert_folder import convert_folder

    print_note(f"Converting '{file}'.")
    if file.is_dir():
        if output is not None:
            raise UsageError("Cannot use --output with a folder: the files are written beside the pickles.")
        for path, notes in convert_folder(file, overwrite=overwrite):
            for note in notes:
                print_note(note)
            print_path(path)
        return
    target = default_output(file)
    if output is not None:
        target = path_of_file_option(output, target.name, "--output")
    conversion = convert_pickle(file, target, overwrite=overwrite)
    for note in conversion.notes:
        print_note(note)
    print_path(conversion.path)
