"""Declare the settings of the server that runs the jobs of a command."""

from dataclasses import dataclass
from functools import partial

from artgen.spec.fields import option as any_option

option = partial(any_option, recorded=False, sweepable=False, in_prompt_file=False, affects=())


@dataclass(frozen=True, kw_only=True)
class RemoteSettings:
    """Store the server that generates the images."""

    server: str | None = option(
        None,
        "Generate the images on a server of `artgen serve`: HOST:PORT or a URL. Input images are sent to it, and this "
        "program loads no model. Models and LoRAs are names on the server. The token is read from "
        "ARTGEN_SERVER_TOKEN. none: this machine. [none]",
        brief="Generate on a server: HOST:PORT of `artgen serve`.",
        metavar="HOST:PORT",
    )


@dataclass(frozen=True, kw_only=True)
class RemoteToken:
    """Store the token of the server. Only configuration files and the environment set it."""

    server_token: str | None = option(
        None,
        "Token of the server of --server. Anyone who can read the network can read a token that is sent without TLS or "
        "SSH.",
        is_secret=True,
    )
