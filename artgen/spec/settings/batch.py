"""How many pictures, which of them, and by whom."""

from dataclasses import dataclass

from artgen.spec.fields import option

TASK_NAMES = ("txt2img", "img2img", "inpaint", "outpaint", "denoise")
"""The tasks, by name; `artgen.spec.requests.TASKS` has a class for each."""

MAX_BATCH_SIZE = 256
"""How many pictures can be drawn at the same time."""


@dataclass(frozen=True, kw_only=True)
class SeriesSettings:
    """How many pictures. Each becomes a request of its own, with a seed of its own.

    Seeds that differ by a multiple of 2**32 draw the same picture: torch's CPU generator, from which all noise comes,
    takes the low 32 bits.
    """

    seed: str | None = option(
        None,
        "Where chance starts: `7`, a list `1,2,5-8`, or -1 for random. [random, and always printed]",
        flags=("-s", "--seed"),
        metavar="SEED",
    )
    count: int = option(
        1,
        "How many pictures, with seeds counting up.",
        flags=("-c", "--count"),
        aliases=("--num-images", "--batch-count"),
        minimum=1,
        maximum=100_000,
    )
    batch_size: str | None = option(
        None,
        "How many are drawn at the same time: a number, or `auto` to find the fastest. [by model, size and device]",
        metavar="N|auto",
    )


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """Settings to try out."""

    sweep: tuple[str, ...] = option(
        (),
        "Try every value: steps=10,20,30 or guidance=3:9:2; repeat it for every combination. "
        "Draws labelled contact sheets too.",
        metavar="NAME=VALUES",
    )


@dataclass(frozen=True, kw_only=True)
class BatchRunSettings:
    """Which pictures of a batch are drawn, and by whom."""

    task: str | None = option(None, "What lines ask for that do not say. [txt2img]", choices=TASK_NAMES)
    limit: int | None = option(None, "Draw at most so many now.", minimum=1, maximum=10_000_000)
    shuffle: bool = option(False, "Draw in random order; the pictures stay the same.", flags=("--shuffle",))
    shard: str | None = option(None, "Draw only part i of n, counted from 0: one of several machines.", metavar="i/n")
    keep_going: bool = option(False, "Draw what is right although other lines are wrong.", flags=("--keep-going",))
    retry_failed: bool = option(False, "Try again what failed before.", flags=("--retry-failed",))
    workers: int = option(1, "Processes on this machine: one for each GPU or group of cores.", minimum=1, maximum=256)
    ray: str | None = option(
        None,
        "Draw on a Ray cluster: its address, `auto` for the one at hand, `local` to start one here.",
        metavar="ADDRESS",
    )
