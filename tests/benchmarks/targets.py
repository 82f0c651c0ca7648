"""What artgen promises about speed and memory, held against what was measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from measuring import median
from modes import AUTO
from report import Result, digits
from startup import OTHER, REFERENCE

Results = Mapping[str, Result]
MOST_START = 0.150
LEAST_FEWER = 15.0
MOST_OVERHEAD = 0.030
BUDGET_MIB = 6 * 1024


@dataclass(frozen=True)
class Target:
    """A promise.

    Attributes:
        says: the promise in words.
        row: which row's result it is judged by.
        judge: gives what was measured, in words, and whether it holds.
    """

    says: str
    row: str
    judge: "Judge"

    def line(self, results: Results) -> tuple[str, str, str]:
        """What is wanted, what was measured, and `met`, `not met` or why that is not known."""
        if self.row not in results:
            return self.says, f"not measured yet (row `{self.row}`)", "open"
        said, holds = self.judge(results[self.row])
        return self.says, said, "met" if holds else "**not met**"


Judge = Callable[[Result], tuple[str, bool]]


def faster(way: str, columns: tuple[str, ...], least: float, over: str | None = None) -> Judge:
    """Every column at least so many times less than the first way takes, or than `over`."""

    def judge(result: Result) -> tuple[str, bool]:
        found = {column: result.times(way, column, over) for column in columns}
        said = ", ".join(f"{value:.2f} x ({column})" for column, value in found.items())
        return said, min(found.values()) >= least

    return judge


def _faster_near_the_limit(way: str, least: float, share: float) -> Judge:
    """So many times faster, and at least a share of the matrix limit."""

    def judge(result: Result) -> tuple[str, bool]:
        times, reached = result.times(way, "wall"), median(result.samples[way]["limit"])
        return f"{times:.2f} x (wall), {100 * reached:.0f} % of the limit", times >= least and reached >= share

    return judge


def _start(result: Result) -> tuple[str, bool]:
    ours = {way: sorted(values["cpu"]) for way, values in result.samples.items() if way.startswith("artgen")}
    slowest = max(ours, key=lambda way: ours[way][len(ours[way]) // 2])
    most, fewer = ours[slowest][len(ours[slowest]) // 2], result.times(slowest, "cpu", OTHER)
    typer = 1000 * sorted(result.samples[REFERENCE]["cpu"])[len(result.samples[REFERENCE]["cpu"]) // 2]
    said = f"{1000 * most:.0f} ms, {fewer:.1f} x less (`{slowest}`, the slowest; Typer's own {typer:.0f} ms)"
    return said, most <= MOST_START and fewer >= LEAST_FEWER


def _no_more_memory(result: Result) -> tuple[str, bool]:
    plain, ours = (result.samples[way]["peak"] for way in ("plain diffusers, fp32", "artgen, `--dtype auto`"))
    return f"{digits(max(ours))} MiB against {digits(max(plain))} MiB", max(ours) <= max(plain)


def _overhead(result: Result) -> tuple[str, bool]:
    call, ours = (
        result.samples[way]["wall"]
        for way in ("the pipeline's call alone", "artgen: `generate`, written with its record")
    )
    over = sorted(mine - alone for mine, alone in zip(ours, call, strict=True))
    middle = over[len(over) // 2]
    return f"{1000 * middle:.0f} ms", middle <= MOST_OVERHEAD


def _small_card(result: Result) -> tuple[str, bool]:
    most, times = max(result.samples[AUTO]["gpu"]), result.times(AUTO, "wall")
    return f"{digits(most)} MiB, {1 / times:.2f} of the plain script's time", most <= BUDGET_MIB and times >= 1 / 1.1


def _on_cuda(says: str, row: str, least: float) -> tuple[Target, Target]:
    """As it comes, with no bit changed; and with all levers."""
    written = ": `generate`, written with its record"
    return (
        Target(says, row, faster(f"artgen{written}", ("wall",), least, SAVED)),
        Target(
            "the same, `--acceleration full`", f"{row}-full",
            faster(f"artgen, `--acceleration full`{written}", ("wall",), least, SAVED),
        ),
    )  # fmt: skip


BATCH = "`artgen batch`"
FULL_BATCH = "artgen, 4 at a time, `--acceleration full`"
SAVED = "plain: call and `image.save`"
TARGETS = (
    Target("help and refusals: at most 150 ms of CPU and 15 x less than `diffusers-cli --help`", "startup", _start),
    Target("one picture in a new process, bundled model, CPU: 1.4 x faster", "new", faster("artgen", ("wall",), 1.4)),
    Target(
        "Stable Diffusion 1.5 on a CPU with bf16, a step and the whole picture: 2 x faster than plain fp32",
        "sd15-whole", faster("artgen, `--dtype auto`", ("step", "wall"), 2.0),
    ),
    Target("the same: no more memory", "sd15-whole", _no_more_memory),
    Target("64 prompts, CPU, PNG: 2 x faster than a loop", "batch", faster(BATCH, ("wall",), 2.0)),
    Target("a running process: at most 30 ms a picture over the pipeline's call", "warm", _overhead),
    Target("SDXL within 8 GiB of GPU memory: at most 6 GiB, at most 10 % slower", "cuda-8gb", _small_card),
    *_on_cuda("Stable Diffusion 1.5 on CUDA, 512x512, a running process: 2.5 x faster", "cuda-sd15", 2.5),
    Target(
        "the same, 64 prompts: 4 x faster, at least 50 % of the matrix limit", "cuda-batch",
        _faster_near_the_limit("artgen, 16 at a time", 4.0, 0.5),
    ),
    *_on_cuda("SDXL on CUDA, 1024x1024, a running process: 1.5 x faster", "cuda-sdxl", 1.5),
    Target("the same in batches: 2 x faster", "cuda-sdxl-batch", faster("artgen, 4 at a time", ("wall",), 2.0)),
    Target("the same, `--acceleration full`", "cuda-sdxl-batch", faster(FULL_BATCH, ("wall",), 2.0)),
)  # fmt: skip


def lines(results: Results) -> list[tuple[str, str, str]]:
    """The table of targets."""
    return [target.line(results) for target in TARGETS]
