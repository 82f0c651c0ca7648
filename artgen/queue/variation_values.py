"""Select the seeds of the variations of a line, so that the same line has the same seeds in each run."""

from collections.abc import Mapping
from typing import Any

from artgen.queue.fingerprints import significant_values
from artgen.spec.seeds import expand_series, hash_seed
from artgen.spec.settings import FramesSettings, SeriesSettings, options_of, validate


def variation_values(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each variation of a line; one element without variations.

    A variation seed that the line does not set is computed from the other settings except the strength, so that a
    sweep of the strength has the same noise. Several variations have the same seed.

    Raises:
        UsageError: the seed or the number of images is invalid.
    """
    strength = values.get("variation_strength")
    if not isinstance(strength, int | float) or not strength:
        return [dict(values)]
    first = values.get("variation_seed")
    if first in (None, -1):
        first = line_seed({name: value for name, value in values.items() if name != "variation_strength"}, "variation")
    count = values.get("count", 1)
    validate(series := SeriesSettings(seed=values.get("seed"), count=count))
    if count == 1 or not isinstance(first, int):
        return [{**values, "variation_seed": first}]
    rest = {name: value for name, value in values.items() if name != "count"}
    best_of = values.get("best_of")
    candidates = best_of if isinstance(best_of, int) else None
    all_seeds = expand_series(series, first, strength, lambda: line_seed(rest, "seed"), candidates)
    return [{**rest, **seeds, "seed": str(seeds["seed"])} for seeds in all_seeds]


def line_seed(values: Mapping[str, Any], purpose: str) -> int:
    """Return a seed that depends only on the settings that determine the image, and on a purpose."""
    ignored = {*options_of(FramesSettings), "preset", "count"}
    shared = {name: value for name, value in values.items() if name not in ignored}
    text = repr((purpose, sorted((name, str(value)) for name, value in significant_values(shared).items())))
    return hash_seed(text.encode("utf-8", "surrogateescape"))
