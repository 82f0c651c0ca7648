"""Save presets from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.spec import presets
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python
from artgen.spec.python_values import plain_value


@for_python()
def save_preset(name: str, values: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Save a preset of the user. Return the path of the file, which keeps its other presets and comments.

    Args:
        name: name of the preset, at most 64 characters.
        values: setting -> value, such as `{"steps": 28}`.
        overwrite: replace an existing preset.

    Raises:
        UsageError: the name or a value is invalid, `values` is empty, or the preset exists and `overwrite` is False.
        InputFileError: the file is not valid. It is not changed.
        OutputError: the file cannot be written.
    """
    if not isinstance(name, str):
        raise UsageError(f"name must be text, not {describe_value(name)}.", 'For example: "portrait".')
    if not isinstance(values, Mapping):
        raise UsageError(f"values must be a dictionary, not {describe_value(values)}.", 'For example: {"steps": 28}.')
    return presets.save_preset(name, {key: plain_value(value) for key, value in values.items()}, overwrite=overwrite)
