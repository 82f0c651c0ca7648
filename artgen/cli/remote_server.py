"""Select the server that runs the jobs of a command, and reject options that a server does not support."""

from typing import TYPE_CHECKING

from artgen.cli.status_line import status_line
from artgen.errors import UsageError
from artgen.spec.settings import FramesSettings, RemoteSettings

if TYPE_CHECKING:
    from artgen.remote.connection import Server


def find_server(remote: RemoteSettings) -> "Server | None":
    """Return the server that a command uses; None for this machine.

    Raises:
        UsageError: the address is invalid.
    """
    if not remote.server:
        return None
    from artgen.remote.address import parse_server
    from artgen.remote.connection import Server
    from artgen.spec import shared_config

    url = parse_server(remote.server)
    if url is None:
        return None
    status_line.hide_imports()
    return Server(url, shared_config.server_token())


def reject_local_options(frames: FramesSettings, batch_size: str | None = None, **others: object) -> None:
    """Check that no option is set that a server does not support.

    Args:
        frames: settings of the frames.
        batch_size: images per forward pass.
        others: option name -> value that is true if the option is set.

    Raises:
        UsageError: an option is set.
    """
    names = [name for name, value in others.items() if value]
    if frames.frames is not None:
        names.append("frames")
    if batch_size not in (None, "1"):
        names.append("batch_size")
    for name in names:
        option = f"--{name.replace('_', '-')}"
        reason = {
            "batch_size": "a server generates one image per forward pass",
            "frames": "a server returns no intermediate steps",
        }.get(name, "it runs on this machine")
        raise UsageError(
            f"Cannot combine {option} and --server: {reason}.",
            f"Remove {option}, or use --server none.",
            settings=(name,),
        )
