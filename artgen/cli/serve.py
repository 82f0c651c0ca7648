"""Define the command `artgen serve`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli.console import discard_note, print_note, print_result
from artgen.cli.options import flatten_settings
from artgen.cli.user_defaults import is_typed
from artgen.errors import InputFileError, UsageError
from artgen.spec.settings import ComputeSettings, FilterSettings, ModelSettings

TOKEN_VARIABLE = "ARTGEN_SERVER_TOKEN"
MAX_TOKEN_BYTES = 4096
MIB = 1 << 20

_PANEL = "Server"
_PACKAGES = ("prometheus-client", "python-multipart", "sse-starlette", "starlette", "uvicorn")


@flatten_settings
def serve(
    model: ModelSettings,
    filtering: FilterSettings,
    compute: ComputeSettings,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. 0.0.0.0 is all networks. An address that other machines can reach needs a "
            "token. [127.0.0.1]",
            rich_help_panel=_PANEL,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port. 0 selects a free port. [7860]", min=0, max=65_535, rich_help_panel=_PANEL)
    ] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            help="Token that each request must contain. Other users of the machine can see this option: use "
            "--token-file or ARTGEN_SERVER_TOKEN. A token is safe only behind TLS or SSH.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token, which is safe only behind TLS or SSH.", metavar="FILE", rich_help_panel=_PANEL
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Also accept this name in the Host header. Can be repeated.", metavar="NAME", rich_help_panel=_PANEL
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Allow web pages of this origin, such as http://nas:3000 (CORS). Can be repeated. [none]",
            metavar="ORIGIN",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    max_queue: Annotated[
        int, typer.Option(help="Maximum number of waiting jobs. [64]", min=1, max=10_000, rich_help_panel=_PANEL)
    ] = 64,
    max_per_client: Annotated[
        int,
        typer.Option(
            help="Maximum number of waiting and running jobs of one client address. [16]",
            min=1,
            max=10_000,
            rich_help_panel=_PANEL,
        ),
    ] = 16,
    max_images: Annotated[
        int, typer.Option(help="Maximum number of images of one job. [32]", min=1, max=1000, rich_help_panel=_PANEL)
    ] = 32,
    max_body: Annotated[
        int,
        typer.Option(
            help="Maximum size of a request with its files in MiB. [64]",
            metavar="MIB",
            min=1,
            max=1024,
            rich_help_panel=_PANEL,
        ),
    ] = 64,
    max_pixels: Annotated[
        int,
        typer.Option(
            help="Maximum width times height of a generated image in megapixels. [5]",
            metavar="MP",
            min=1,
            max=89,
            rich_help_panel=_PANEL,
        ),
    ] = 5,
    max_results: Annotated[
        int,
        typer.Option(
            help="Number of finished jobs whose images are kept in memory. [256]",
            min=1,
            max=100_000,
            rich_help_panel=_PANEL,
        ),
    ] = 256,
    max_loaded: Annotated[
        int,
        typer.Option(
            help="Maximum number of loaded models. The least recently used one is unloaded first. [2]",
            min=1,
            max=100,
            rich_help_panel=_PANEL,
        ),
    ] = 2,
    allow_downloads: Annotated[
        bool,
        typer.Option(
            "--allow-downloads",
            help="Download models that a client names and that are not on the disk.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Also save each image in this folder. [images are kept in memory only]",
            metavar="FOLDER/",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the address and errors.", rich_help_panel=_PANEL)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print each request.", rich_help_panel=_PANEL)
    ] = False,
) -> None:
    """Serve images over HTTP, with OpenAI's and A1111's APIs.

    The server generates one image at a time. Settings of the model and the device are the defaults of the requests. A
    request names a model, a LoRA or another file by its name on the server, never by a path or a URL. The server needs
    the extra `artgen[serve]`. Ctrl-C stops the server after the current step.

    artgen serve
    artgen serve --model sdxl --port 8000
    artgen serve --host 0.0.0.0 --token-file token.txt --output images/
    """
    from artgen.spec.fields import non_default_settings

    _check_packages()
    from artgen import registry
    from artgen.jobs.output_filters import prepare_filters
    from artgen.server.run_server import run_server
    from artgen.server.settings import ServerSettings

    filters = prepare_filters(filtering.filter, print_note if not quiet else discard_note)
    settings = ServerSettings(
        host=host,
        port=port,
        token=_read_token(token, token_file),
        allowed_hosts=tuple(allow_host or ()),
        allowed_origins=tuple(allow_origin or ()),
        max_queue=max_queue,
        max_per_client=max_per_client,
        max_images_per_job=max_images,
        max_body_bytes=max_body * MIB,
        max_total_body_bytes=4 * max_body * MIB,
        max_queued_bytes=4 * max_body * MIB,
        max_generated_pixels=max_pixels * 1_000_000,
        max_results=max_results,
        max_loaded=max_loaded,
        allow_downloads=allow_downloads,
        output=output if is_typed("output") else None,  # a default of the user is for the user's own images
        filter=filters,
        defaults=non_default_settings(model, compute),
        verbose=verbose and not quiet,
        quiet=quiet,
    )

    if model.model is not None:
        registry.parse_reference(model.model)  # refuses an unknown name before the first job

    def on_start(url: str) -> None:
        print_result(url)
        if not quiet:
            print_note("Press Ctrl-C to stop the server.")

    run_server(settings, on_start)


def _check_packages() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        UsageError: a package is missing.
    """
    from artgen.system.optional_packages import install_command, installed_version

    if missing := [name for name in _PACKAGES if installed_version(name) is None]:
        raise UsageError(f"Cannot run the server: it needs {' and '.join(missing)}.", install_command(["uvicorn"]))


def _read_token(token: str | None, file: Path | None) -> str | None:
    """Return the token of the option, of the file, or of the environment; None without a token.

    Raises:
        UsageError: two tokens are given.
        InputFileError: the file cannot be read.
    """
    from artgen.system.files import wrap_read_errors

    if token is not None and file is not None:
        raise UsageError("Cannot use --token with --token-file.", "Remove --token.")
    if token is not None:
        return token
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    with wrap_read_errors(file), file.open("rb") as opened:
        data = opened.read(MAX_TOKEN_BYTES + 1)
    text = data.decode("utf-8", "replace").strip()
    if not text or len(data) > MAX_TOKEN_BYTES or len(text.splitlines()) != 1:
        raise InputFileError(f"'{file}' is not a file with one token.", f"openssl rand -hex 32 > {file}")
    return text
