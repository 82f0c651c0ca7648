"""Define the command `artgen verify`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from artgen.api.verify import FileVerifier, VerifiedFile
from artgen.cli.console import discard_note, print_error, print_note, print_result
from artgen.cli.json_output import JsonOutput
from artgen.errors import ArtgenError, InputFileError, RefusedError
from artgen.system.counts import counted

_TRUST = {
    "trusted": "An authority of the trust list confirms the signer.",
    "own": "The key of this computer signed the file. Other tools show an unknown source.",
    "unknown": "Unknown source: no authority of a trust list confirms the signer.",
}

_INPUT_STATES = {
    "changed": "; changed after it was signed",
    "invalid": "; its manifest or its certificate was not valid",
}

OUTPUT = JsonOutput(lambda: VerifiedFile)


@OUTPUT
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(help="Images, folders of images, and .safetensors files. - reads stdin.", metavar="FILE..."),
    ],
    trust_list: Annotated[
        Path | None,
        typer.Option(
            "--trust-list",
            help="PEM file with the certificates of trusted authorities.  [default: the setting trust_list]",
            metavar="FILE",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only files that are not valid.")] = False,
) -> None:
    """Verify the signatures of images: content hash, certificate, trust and input images.

    The command reads C2PA manifests of artgen and of other tools, and reports what was changed after signing. LoRAs of
    `artgen train` are compared with the datasheet of their training images. Nothing is downloaded. Exit codes: 0 valid;
    5 changed, invalid or no signature; 3 unreadable file. Needs the package c2pa-python: pip install 'artgen[c2pa]'.

    artgen verify fox.png
    artgen verify outputs/ --json
    """
    from artgen.images import iter_images

    verifier = FileVerifier(trust_list)
    on_note = discard_note if quiet else print_note
    failures: list[ArtgenError] = []
    for path, _ in iter_images(files, on_note=on_note):
        try:
            found = verifier.verify(path)
        except InputFileError as error:
            if as_json:
                OUTPUT.print(VerifiedFile(file=path, state="unreadable", problems=(error.message,)))
            print_error(error)
            failures.append(error)
            continue
        if not found.is_valid:
            failures.append(RefusedError(found.state))
        if as_json:
            OUTPUT.print(found)
        elif not (quiet and found.is_valid):
            for line in _lines(found):
                print_result(line)
    if failures:
        raise typer.Exit(max(failure.exit_code for failure in failures))


def _lines(found: VerifiedFile) -> Iterator[str]:
    """Yield the lines of a file: its state, the problems, the signer and the input images."""
    yield f"{found.file}: {found.state}"
    for problem in found.problems:
        yield f"  {problem}"
    if found.signer:
        until = f", valid until {found.expires}" if found.expires else ""
        yield f"  Signed by '{found.signer}' (certificate of '{found.issuer}'{until})."
    if found.trust:
        yield f"  {_TRUST[found.trust]}"
    if found.generator:
        source = f": {found.source_type}" if found.source_type else ""
        yield f"  Written by {found.generator}{source}."
    for each in found.inputs:
        text = f"signed by '{each.signer}', {each.generator}" if each.has_manifest else "no manifest"
        source = f": {each.source_type}" if each.source_type else ""
        state = _INPUT_STATES.get(each.state, "")
        yield f"  {'  ' * (each.depth - 1)}<- {each.relationship} '{each.name}' ({text}{source}{state})"
    if found.training:
        yield from _training_lines(found)


def _training_lines(found: VerifiedFile) -> Iterator[str]:
    training = found.training
    if (number := training.get("training_images")) is not None:
        yield f"  Trained on {counted(number, 'image')}."
    if licenses := training.get("training_licenses"):
        yield f"  Licenses: {', '.join(f'{name} ({count:,})' for name, count in licenses.items())}."
    if digest := training.get("datasheet_sha256"):
        yield f"  SHA-256 of the datasheet: {digest}"
