"""Declare the setting that selects output filters."""

from dataclasses import dataclass

from artgen.spec.fields import option


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """Store the names of the output filters that check the prompts and the images."""

    filter: tuple[str, ...] = option(
        (),
        "Output filters: policies of your configuration, separated by commas, or strict: the example word list and the "
        "model's safety checker. A filter refuses images or prints a note, see docs/filters.md. none: no filter. [the "
        "filter of the configuration, otherwise none]",
        brief="Output filters: strict, or policies of the configuration.",
        metavar="NAME,...",
        recorded=False,
        sweepable=False,
        affects=(),
        values="filters",
    )
