"""Define the command `artgen sign`: the key that signs images."""

from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_note, print_result
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.spec.shared_config import signing_file

if TYPE_CHECKING:
    from artgen.api.signing import SigningKeyInfo

app = App(
    """Create and show the key that signs images.

    artgen sign init
    artgen txt2img "a red fox" --sign
    artgen config set sign on
    """
)


def _declare_json() -> "type[SigningKeyInfo]":
    from artgen.api.signing import SigningKeyInfo

    return SigningKeyInfo


INIT_OUTPUT = JsonOutput(_declare_json, is_list=False)
SHOW_OUTPUT = JsonOutput(_declare_json, is_list=False)

_UNKNOWN_SOURCE = (
    "Other tools show images that this key signed as valid, but with an unknown source: the certificate is self-made, "
    "and no authority confirms it."
)


@app.command()
@INIT_OUTPUT
def init(
    signer: Annotated[
        str, typer.Option("--signer", help="Name in the certificate, which other tools show.", metavar="NAME")
    ] = "artgen user",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Create a private key and a self-made certificate for --sign.

    Other tools show images that this certificate signed as valid, but from an unknown source: no authority confirms
    the name. To use the certificate of an authority, set signing_certificate and signing_key with `artgen config set`.
    Needs the package c2pa-python: pip install 'artgen[c2pa]'.

    artgen sign init
    artgen sign init --signer "Ada Lovelace"
    """
    from artgen.api.signing import create_signing_key

    created = create_signing_key(signer, force=force)
    if as_json:
        INIT_OUTPUT.print(created)
        return
    print_result(f"Created a key for signing in '{created.certificate.parent}'.")
    print_note(f"The certificate is valid until {created.expires}. The private key has no password: do not share it.")
    print_note(_UNKNOWN_SOURCE)
    if any(map(signing_file, ("signing_certificate", "signing_key"))):
        print_note("The settings signing_certificate and signing_key name another key, which has precedence.")
    print_note("To sign an image, add --sign. To sign all images: artgen config set sign on")


@app.command()
@SHOW_OUTPUT
def show(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Check the key that signs images, and print its properties.

    artgen sign show
    """
    from artgen.api.signing import signing_key

    key = signing_key()
    if as_json:
        SHOW_OUTPUT.print(key)
        return
    rows = (
        ("certificate", key.certificate),
        ("private key", key.private_key),
        ("signer", key.signer),
        ("algorithm", key.algorithm),
        ("valid until", key.expires),
    )
    for name, value in rows:
        print_result(f"{name:<13}{value}")
    if key.self_made:
        print_note(_UNKNOWN_SOURCE)
