"""Select the model that is used without `--model`, and announce the download of the default model with CUDA."""

from artgen.errors import ArtgenError
from artgen.events import Listener, Notice, no_op
from artgen.registry import BUNDLED_MODEL
from artgen.registry.hub import cache
from artgen.registry.hub_snapshots import complete_snapshot
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.task_support import EDIT_MODEL
from artgen.system import hardware
from artgen.system.counts import format_bytes

CUDA_MODEL = "sd15"
"""Default model with a CUDA device, which is downloaded at the first use."""


def default_model(*, offline: bool = False, listener: Listener = no_op) -> str:
    """Return the bundled model; with a CUDA device, the CUDA model, unless it would be downloaded without a network.

    Args:
        offline: the network is not used; `HF_HUB_OFFLINE=1` has the same effect.
        listener: receives a note if the CUDA model is not on the disk.
    """
    if not hardware.cuda_device_count():
        return BUNDLED_MODEL
    reference = parse_reference(CUDA_MODEL)  # an alias of the user can have this name
    if is_downloaded(reference):
        return CUDA_MODEL
    if offline or cache.is_offline():
        listener(
            Notice(
                f"Using the bundled model '{BUNDLED_MODEL}': the network is disabled, and '{CUDA_MODEL}', the default "
                "model with a CUDA device, is not on this computer."
            )
        )
        return BUNDLED_MODEL
    size = reference.info.download_size if reference.info else None
    listener(
        Notice(
            f"The default model with a CUDA device is '{CUDA_MODEL}', which is downloaded first"
            f"{f': {format_bytes(size)}' if size else ''}. For the bundled model without a download, add "
            f"--model {BUNDLED_MODEL} or --offline."
        )
    )
    return CUDA_MODEL


def edit_model(*, offline: bool = False, listener: Listener = no_op) -> str:
    """Return the default model of `edit`. The bundled model cannot edit.

    Args:
        offline: the network is not used; `HF_HUB_OFFLINE=1` has the same effect.
        listener: receives a note if the model is downloaded.
    """
    reference = parse_reference(EDIT_MODEL)
    if not (is_downloaded(reference) or offline or cache.is_offline()):
        size = reference.info.download_size if reference.info else None
        listener(
            Notice(
                f"The default model of edit is '{EDIT_MODEL}', which is downloaded first"
                f"{f': {format_bytes(size)}' if size else ''}. The bundled model '{BUNDLED_MODEL}' cannot edit."
            )
        )
    return EDIT_MODEL


def is_downloaded(reference: ModelReference) -> bool:
    """Return whether a model is complete on the disk. A damaged snapshot of the hub is not."""
    try:
        return reference.kind != "hub" or complete_snapshot(reference) is not None
    except ArtgenError:
        return False
