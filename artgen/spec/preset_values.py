"""Define the settings of presets, and validate their values."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.spec import settings
from artgen.spec.config import CONFIGURABLE_SETTINGS
from artgen.spec.requests import Inpaint
from artgen.spec.restoration_requests import Denoise, Upscale
from artgen.spec.settings import options_of, type_of, unknown_setting_error
from artgen.spec.settings.upscale import UPSCALE_METHODS

PRESET_SETTINGS: dict[str, type] = {
    name: group
    for name, group in CONFIGURABLE_SETTINGS.items()
    if group
    not in (settings.PresetSettings, settings.RemoteSettings, *settings.CONFIGURED_GROUPS, *settings.TRAINING_GROUPS)
    and not issubclass(group, settings.ShowSettings)
} | {
    **dict.fromkeys(options_of(settings.BestOfSettings), settings.BestOfSettings),
    "method": settings.BatchMethodSettings,
}
"""Settings that a preset may contain, each with the group that declares it."""


def checked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a preset with the types of their settings.

    Raises:
        UsageError: a setting cannot be in a preset, or a value is invalid.
    """
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in PRESET_SETTINGS:
            message, hint = unknown_setting_error(name, PRESET_SETTINGS)
            raise UsageError(message, hint, settings=(name,))
        kind, _ = type_of(PRESET_SETTINGS[name], name)
        checked[name] = value
        if kind is tuple and isinstance(value, list):
            checked[name] = tuple(value)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # the check of the limits reports a number that is too large
                checked[name] = float(value)
        try:
            settings.validate(PRESET_SETTINGS[name](**{name: checked[name]}))
            if name not in options_of(settings.ScoreSettings):  # they need `best_of`
                _build_requests({name: checked[name]})
        except UsageError as error:
            raise UsageError(error.message, error.hint, settings=(name,)) from error
    _build_requests(checked)
    return checked


def _build_requests(values: Mapping[str, Any]) -> None:
    """Validate settings together. Requests parse schedulers, LoRAs and others, and compare settings."""
    denoise = options_of(settings.DenoiseSettings)
    placeholder = Path("-")
    inpaint_values = {name: values[name] for name in options_of(Inpaint) if name in values}
    if inpaint_values.keys() & options_of(settings.MaskTextSettings).keys():
        mask: dict[str, Any] = {"mask_text": "dog"}
    else:
        mask = {"mask": placeholder}
    Inpaint(**{"image": placeholder, **mask, **inpaint_values})
    if values.get("method") in UPSCALE_METHODS:
        Upscale(image=placeholder, method=values["method"])
    else:
        Denoise(image=placeholder, **{name: values[name] for name in denoise if name in values})
