"""Compute the seeds of the images from `--seed` and `--count`."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

from artgen.errors import UsageError
from artgen.spec.settings import MAX_SEED, SeriesSettings, describe_value
from artgen.system import attempt

MAX_SEEDS = 100_000
"""Largest number of seeds of one command or of one line of a prompt file."""


def generate_seed() -> int:
    """Return a random seed, 0 to 2**32 - 1. Other tools accept seeds of this range too."""
    return attempt.random_bits(32)


def expand_seeds(
    series: SeriesSettings, random_seed: Callable[[], int] = generate_seed, num_candidates: int | None = None
) -> list[int]:
    """Return the seeds of the images, one for each image.

    A single seed counts up. -1, or no seed, takes the first seed from `random_seed`. A list is not changed.

    Args:
        series: seeds and number of images.
        random_seed: returns the first seed if none is given.
        num_candidates: seeds that each image uses (`best_of`); None: one.

    Raises:
        UsageError: the text is not a seed, a seed is out of range, there are too many seeds, or a list is combined with
            --count.
    """
    seeds = _parse_seeds(series.seed, random_seed) if series.seed is not None else [random_seed()]
    step = num_candidates if isinstance(num_candidates, int) and num_candidates > 0 else 1
    if len(seeds) == 1:
        seeds = list(range(seeds[0], seeds[0] + step * series.count, step))
    elif series.count != 1:
        raise UsageError(
            "Cannot use --count with a list of seeds: the list sets the number of images.", "Remove --count."
        )
    if (last := max(seeds[-1], *seeds) + step - 1) > MAX_SEED:
        raise UsageError(f"Seeds must be 0 to 2^64-1, not {last}.")
    return seeds


def expand_series(
    series: SeriesSettings,
    variation_seed: int | None,
    variation_strength: float | None,
    random_seed: Callable[[], int] = generate_seed,
    num_candidates: int | None = None,
) -> list[dict[str, int]]:
    """Return the seed of each image, and its variation seed if the command has several variations.

    Several variations have the same seed, and variation seeds that count up, as in AUTOMATIC1111.

    Args:
        series: seeds and number of images.
        variation_seed: seed of the first variation; None or -1: a random seed.
        variation_strength: amount of the second noise; None or 0: no variations.
        random_seed: returns a random seed.
        num_candidates: see `expand_seeds`.

    Raises:
        UsageError: see `expand_seeds`.
    """
    is_list = re.search(r",|\d-", series.seed or "") is not None
    if not variation_strength or series.count == 1 or is_list:
        return [{"seed": seed} for seed in expand_seeds(series, random_seed, num_candidates)]
    seed = expand_seeds(replace(series, count=1), random_seed)[0]
    first = random_seed() if variation_seed in (None, -1) else variation_seed
    varied = expand_seeds(SeriesSettings(seed=str(first), count=series.count), num_candidates=num_candidates)
    return [{"seed": seed, "variation_seed": each} for each in varied]


def hash_seed(data: bytes) -> int:
    """Compute a seed from data, 0 to 2**32 - 1. The same data gives the same seed on every machine."""
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big")


def _parse_seeds(text: str, random_seed: Callable[[], int]) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        if len(seeds) >= MAX_SEEDS:
            raise _too_many_seeds_error(text)
        if part.strip() == "-1":
            seeds.append(random_seed())
            continue
        match = re.fullmatch(r"\s*(\d{1,20})(?:\s*-\s*(\d{1,20}))?\s*", part, re.ASCII)
        if match is None:
            from artgen.spec.synonyms import value_hint

            raise UsageError(
                f"--seed must be a whole number up to 2^64-1, a list 1,2,5-8 or -1, not {describe_value(text)}.",
                value_hint("seed", text) or "-1 selects a random seed.",
            )
        first = int(match[1])
        last = int(match[2] or first)
        if last < first:
            raise UsageError(f"--seed must be a range such as 5-8, not {part.strip()!r}: its end is before its start.")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise _too_many_seeds_error(text)
        seeds.extend(range(first, last + 1))
    return seeds


def _too_many_seeds_error(text: str) -> UsageError:
    return UsageError(
        f"Cannot use --seed {describe_value(text)}: it has more than {MAX_SEEDS:,} seeds.",
        "Run the command several times.",
    )
