"""Apply the presets that the lines of a prompt file name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from artgen.queue.entries import Entry
from artgen.spec.presets import preset_values
from artgen.spec.settings import excluded_settings


class LinePresets:
    """Apply presets. Each combination of presets is read once."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def apply(self, entry: Entry, defaults: Mapping[str, Any]) -> tuple[Entry, dict[str, Any]]:
        """Return the entry with the settings of its presets as its defaults, and the defaults of the batch.

        A preset of a line has priority over the defaults section of the file. A preset of this section has priority
        over the defaults of the batch. The record lists the presets of the batch, the section and the line.

        Args:
            entry: entry, whose `preset` was validated.
            defaults: defaults of the batch. The settings of their presets are applied already.

        Raises:
            UsageError: a preset is unknown.
            InputFileError: a file of presets is not valid.
        """
        of_section = entry.defaults.get("preset") or ()
        of_line = entry.setting_values.get("preset") or ()
        if not of_section and not of_line:
            return entry, {**defaults, **entry.defaults}
        own = _override(_override({}, self._read(of_section)), entry.defaults)
        own = _override(own, self._read(of_line))
        names = (*(defaults.get("preset") or ()), *of_section, *of_line)
        own["preset"] = names
        values = {name: value for name, value in entry.setting_values.items() if name != "preset"}
        return replace(entry, setting_values=values, defaults=own), _override(defaults, own)

    def _read(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        if names not in self._values:
            self._values[names] = preset_values(names)
        return self._values[names]


def _override(values: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with other, stronger values. These also replace settings of the same meaning."""
    excluded = excluded_settings(stronger)
    return {**{name: value for name, value in values.items() if name not in excluded}, **stronger}
