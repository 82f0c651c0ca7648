"""Select the reader of the metadata of another tool."""

from collections.abc import Callable, Mapping

from artgen.metadata.external_record import ExternalRecord
from artgen.metadata.tools.a1111 import read_a1111
from artgen.metadata.tools.fooocus import read_fooocus
from artgen.metadata.tools.invokeai import read_invokeai
from artgen.metadata.tools.json_tools import read_drawthings, read_easydiffusion, read_mflux
from artgen.metadata.tools.midjourney import read_midjourney
from artgen.metadata.tools.novelai import read_novelai
from artgen.metadata.tools.swarmui import read_swarmui

_READERS: tuple[Callable[[Mapping[str, str]], ExternalRecord | None], ...] = (
    read_swarmui,
    read_fooocus,
    read_invokeai,
    read_novelai,
    read_drawthings,
    read_mflux,
    read_easydiffusion,
    read_a1111,
    read_midjourney,
)
"""Readers in the order of their use: the specific formats first. A reader returns None for texts of other tools."""


def read_external(texts: Mapping[str, str]) -> ExternalRecord | None:
    """Return the record of another tool; None if no reader supports the texts. ComfyUI's graphs are read separately.

    Args:
        texts: metadata texts; see `RawTexts.texts`.
    """
    return next((record for reader in _READERS if (record := reader(texts)) is not None), None)
