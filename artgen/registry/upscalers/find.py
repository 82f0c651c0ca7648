"""Find an upscaling network: a short name, a hub id, a folder, a file, or a name in the model folders."""

from artgen.events import Listener, no_op
from artgen.registry.upscalers.upscaler import Upscaler


def resolve_upscaler(
    name: str, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> Upscaler:
    """Find an upscaling network on the disk, or download it.

    Args:
        name: short name, hub id (OWNER/NAME[@REVISION]), folder, .safetensors file, or name in the model folders.
        offline: do not use the network.
        download: download missing weights; else the result describes them.
        listener: receives the events of downloads.

    Raises:
        InputFileError: a file is damaged, or is not an upscaler that artgen supports.
        ModelUnavailableError: the network is unknown, or is not on the disk and the network is disabled.
        RefusedError: the weights are a pickle.
    """
    raise NotImplementedError
