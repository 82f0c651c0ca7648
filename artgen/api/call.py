"""Start a call of a function of the Python API: read its keywords and presets, and collect its notes."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from artgen.api.arguments import read_keywords
from artgen.api.function_keywords import COMMON_KEYWORDS, FUNCTIONS, keyword_defaults
from artgen.api.image_texts import convert_images
from artgen.api.progress import CallListener, call_listener
from artgen.errors import ArtgenError
from artgen.spec.presets import apply_presets
from artgen.spec.python_text import python_text
from artgen.system.memory_file import MemoryFile


@dataclass
class Call:
    """Store the state of one call.

    Attributes:
        values: keywords by their current names, with values in the types of the settings. Keywords that were not given
            are missing. `progress` and `listener` are removed.
        listener: receives the events and notes of the call.
        files: files in memory that the texts in `values` name. They exist as long as the call.
        from_presets: names in `values` that come from presets.
    """

    values: dict[str, Any]
    listener: CallListener
    files: tuple[MemoryFile, ...] = ()
    from_presets: set[str] = field(default_factory=set)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the notes so far."""
        return tuple(self.listener.notes)

    def drop_preset_value(self, error: ArtgenError) -> None:
        """Remove the first value of a preset that causes an error, with a note.

        Raises:
            ArtgenError: the error, if no value of a preset causes it.
        """
        name = next((name for name in error.settings if name in self.from_presets), None)
        if name is None:
            raise error
        self.from_presets.remove(name)
        del self.values[name]
        self.listener.add_note(f"The value of {name} of the preset is ignored: {python_text(error.message)}")


@contextlib.contextmanager
def start_call(name: str, settings: Mapping[str, Any]) -> Iterator[Call]:
    """Yield the state of a call, and close its progress bar at the end.

    Args:
        name: name of the function in `FUNCTIONS`.
        settings: keywords of the call.

    Raises:
        UsageError: a keyword is unknown, or a preset is unknown.
        InputFileError: a file of presets is not valid.
    """
    files: tuple[MemoryFile, ...] = ()
    if name != "batch":  # other processes may generate the images of a batch
        settings, files = convert_images(settings, FUNCTIONS[name].extra)
    values = read_keywords(name, settings)
    with call_listener(values.pop("progress", None), values.pop("listener", None)) as listener:
        call = Call(values, listener, files)
        if values.get("preset"):
            taken = keyword_defaults(FUNCTIONS[name]).keys() - COMMON_KEYWORDS.keys() - {"count", "seed", "frames"}
            call.values, notes = apply_presets(values, taken)
            call.from_presets = call.values.keys() - values.keys()
            for note in notes:
                listener.add_note(note)
        yield call


def take_unrecorded(call: Call) -> dict[str, Any]:
    """Remove and return the settings of a call that records do not contain: the filters and `offline`."""
    return {name: value for name in ("filter", "offline") if (value := call.values.pop(name, None))}
