"""Declare the setting that selects presets."""

from dataclasses import dataclass

from artgen.spec.fields import option


@dataclass(frozen=True, kw_only=True)
class PresetSettings:
    """Store the names of the presets whose settings apply."""

    preset: tuple[str, ...] = option(
        (),
        "Settings that `artgen preset save` stored under this name. Other options have precedence. Can be repeated; a "
        "later preset has precedence.",
        brief="Use the settings of a preset.",
        metavar="NAME",
        sweepable=False,
        affects=(),
        values="presets",
    )
