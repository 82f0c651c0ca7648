"""Define the command `artgen styles`."""

from typing import Annotated

import typer

from artgen.cli.console import print_error, print_note, print_result
from artgen.cli.json_output import JsonOutput
from artgen.errors import InputFileError

MAX_SHOWN_CHARS = 80


def _declare_json() -> type:
    from artgen.spec.style_files import Style

    return Style


OUTPUT = JsonOutput(_declare_json)


@OUTPUT
def styles(
    text: Annotated[
        str, typer.Argument(help="Text that the names must contain. The case is ignored.", metavar="[TEXT]")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the styles in your style_folder.

    The folder contains styles.csv files of A1111 and JSON files of Fooocus. --style NAME adds a style to the prompts.
    {prompt} in a style stands for the prompt.

    artgen styles
    artgen styles cinematic
    """
    from artgen.api.styles import check_found, find_styles

    found, folder = find_styles(text)
    for note in folder.notes:
        print_note(note)
    width = min(40, max((len(style.name) for style in found), default=0))
    for style in found:
        if as_json:
            OUTPUT.print(style)
        else:
            text = _shortened(style.prompt or f"negative: {style.negative_prompt}")
            print_result(f"{style.name:<{width}}  {text}", hanging_indent=min(width, 20) + 2)
    for error in folder.errors:
        print_error(error)
    if folder.errors:
        raise typer.Exit(InputFileError.exit_code)
    check_found(found, text, folder)
    if not folder.styles:
        print_note("The style_folder contains no styles.")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_CHARS else f"{line[:MAX_SHOWN_CHARS]}..."
