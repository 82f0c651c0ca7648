"""What `--seed` and `--count` mean together."""

import hashlib
import re
from collections.abc import Callable

from artgen.errors import UsageError
from artgen.spec.requests import generate_seed
from artgen.spec.settings import MAX_SEED, SeriesSettings

MAX_SEEDS_PER_RANGE = 100_000


def expand_seeds(series: SeriesSettings, random_seed: Callable[[], int] = generate_seed) -> list[int]:
    """The seeds that `--seed` and `--count` mean together.

    One seed counts up; -1 or none takes the first from `random_seed`; a list stands for itself.

    Raises:
        UsageError: not a seed, out of range, or a list together with --count.
    """
    listed = _parse_seeds(series.seed, random_seed) if series.seed is not None else [random_seed()]
    if len(listed) == 1:
        listed = list(range(listed[0], listed[0] + series.count))
    elif series.count != 1:
        raise UsageError("--seed with several seeds already says how many; --count was given too.", "Leave one out.")
    if max(listed[-1], *listed) > MAX_SEED:
        raise UsageError(f"Seeds go from 0 to 2^64-1; {max(listed)} came.")
    return listed


def hash_seed(data: bytes) -> int:
    """A seed made from what is to be drawn, 0 to 2**32 - 1; the same data gives the same seed on every machine."""
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big")


def _parse_seeds(text: str, random_seed: Callable[[], int]) -> list[int]:
    result: list[int] = []
    for part in text.split(","):
        if part.strip() == "-1":
            result.append(random_seed())
            continue
        found = re.fullmatch(r"\s*(\d{1,20})(?:\s*-\s*(\d{1,20}))?\s*", part, re.ASCII)
        if found is None:
            raise UsageError(f"--seed must be a whole number, a list such as 1,2,5-8, or -1, not {text!r}.")
        first = int(found[1])
        last = int(found[2] or first)
        if last < first or last - first >= MAX_SEEDS_PER_RANGE:
            raise UsageError(f"--seed {part.strip()} is not a range of at most {MAX_SEEDS_PER_RANGE:,} seeds.")
        result.extend(range(first, last + 1))
    return result
