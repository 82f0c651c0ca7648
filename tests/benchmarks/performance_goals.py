"""Define artgen's goals for speed and memory, and compare the measurements with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness import median
from memory_modes import AUTO
from openvino_rows import BATCH_OPENVINO_BF16, OPENVINO_BF16
from report import Result, three_digits
from startup import DIFFUSERS_HELP, TYPER_IMPORT
from worker_rows import THROUGH_WORKER

Results = Mapping[str, Result]
MAX_HELP_CPU_SECONDS = 0.150
MIN_HELP_SPEEDUP = 15.0
MAX_OVERHEAD_SECONDS = 0.030
MAX_SMALL_GPU_MIB = 6 * 1024
MAX_CLIENT_SECONDS = 0.6
MAX_CLIENT_CPU_SECONDS = 0.1


@dataclass(frozen=True)
class Goal:
    """Represent one goal.

    Attributes:
        text: the goal as text.
        row: name of the row whose result is compared.
        judge: function that returns the measurement as text, and whether the goal is met.
    """

    text: str
    row: str
    judge: "Judge"

    def line(self, results: Results) -> tuple[str, str, str]:
        """Return the goal, the measurement, and `met`, `**not met**` or `open`."""
        if self.row not in results:
            return self.text, f"not measured yet (row `{self.row}`)", "open"
        measurement, is_met = self.judge(results[self.row])
        return self.text, measurement, "met" if is_met else "**not met**"


Judge = Callable[[Result], tuple[str, bool]]


def speedup(variant: str, columns: tuple[str, ...], minimum: float, reference: str | None = None) -> Judge:
    """Require a speedup in each column relative to the first variant, or to `reference`."""

    def judge(result: Result) -> tuple[str, bool]:
        values = {column: result.speedup(variant, column, reference) for column in columns}
        measurement = ", ".join(f"{value:.2f} x ({column})" for column, value in values.items())
        return measurement, min(values.values()) >= minimum

    return judge


def _speedup_and_matrix_rate(variant: str, minimum: float, fraction: float) -> Judge:
    """Require a speedup and a fraction of the peak matrix rate."""

    def judge(result: Result) -> tuple[str, bool]:
        factor, rate = result.speedup(variant, "wall"), median(result.samples[variant]["limit"])
        return f"{factor:.2f} x (wall), {100 * rate:.0f} % of the peak rate", factor >= minimum and rate >= fraction

    return judge


def _startup(result: Result) -> tuple[str, bool]:
    medians = {
        variant: median(values["cpu"]) for variant, values in result.samples.items() if variant.startswith("artgen")
    }
    slowest = max(medians, key=medians.__getitem__)
    seconds, factor = medians[slowest], result.speedup(slowest, "cpu", DIFFUSERS_HELP)
    typer = 1000 * median(result.samples[TYPER_IMPORT]["cpu"])
    measurement = (
        f"{1000 * seconds:.0f} ms, {factor:.1f} x less (slowest: `{slowest}`; import of Typer: {typer:.0f} ms)"
    )
    return measurement, seconds <= MAX_HELP_CPU_SECONDS and factor >= MIN_HELP_SPEEDUP


def _no_more_memory(result: Result) -> tuple[str, bool]:
    plain, ours = (result.samples[name]["peak"] for name in ("plain diffusers, fp32", "artgen, `--dtype auto`"))
    return f"{three_digits(max(ours))} MiB, plain {three_digits(max(plain))} MiB", max(ours) <= max(plain)


def _overhead(result: Result) -> tuple[str, bool]:
    call, ours = (result.samples[name]["wall"] for name in (PIPELINE_CALL, f"artgen: {WITH_RECORD}"))
    differences = sorted(mine - plain for mine, plain in zip(ours, call, strict=True))
    overhead = differences[len(differences) // 2]
    return f"{1000 * overhead:.0f} ms", overhead <= MAX_OVERHEAD_SECONDS


def _client(result: Result) -> tuple[str, bool]:
    wall, cpu = (median(result.samples[THROUGH_WORKER][column]) for column in ("wall", "cpu"))
    measurement = f"{three_digits(wall)} s (wall), {three_digits(cpu)} s (CPU)"
    return measurement, wall < MAX_CLIENT_SECONDS and cpu < MAX_CLIENT_CPU_SECONDS


def _small_gpu(result: Result) -> tuple[str, bool]:
    peak, factor = max(result.samples[AUTO]["gpu"]), result.speedup(AUTO, "wall")
    measurement = f"{three_digits(peak)} MiB, {1 / factor:.2f} of the plain script's time"
    return measurement, peak <= MAX_SMALL_GPU_MIB and factor >= 1 / 1.1


def _acceleration_goals(text: str, row: str, minimum: float) -> list[Goal]:
    """Return the goals of `--acceleration exact` and `full`."""
    return [
        Goal(
            f"{text}, `--acceleration {level}`", f"{row}-{level}",
            speedup(f"artgen, `--acceleration {level}`: {WITH_RECORD}", ("wall",), minimum, PLAIN_WITH_FILE),
        )
        for level in ("exact", "full")
    ]  # fmt: skip


PIPELINE_CALL = "pipeline call only"
WITH_RECORD = "`generate`, written with its record"
PLAIN_WITH_FILE = "plain: call and `image.save`"
BATCH = "`artgen batch`"
FULL_BATCH = "artgen, batch size 4, `--acceleration full`"
GOALS = (
    Goal("help and errors: at most 150 ms of CPU time and 15 x less than `diffusers-cli --help`", "startup", _startup),
    Goal("one image in a new process, bundled model, CPU: 1.4 x faster", "new", speedup("artgen", ("wall",), 1.4)),
    Goal(
        "Stable Diffusion 1.5 on a CPU with bf16, a step and the complete image: 2 x faster than plain fp32",
        "sd15-512", speedup("artgen, `--dtype auto`", ("step", "wall"), 2.0),
    ),
    Goal("the same: no more memory", "sd15-512", _no_more_memory),
    Goal("64 prompts, CPU, PNG: 2 x faster than a loop", "batch", speedup(BATCH, ("wall",), 2.0)),
    Goal("a running process: at most 30 ms per image more than the pipeline call", "running", _overhead),
    Goal(
        "a command through the worker, bundled model, 2 steps: 6 x faster than in a new process",
        "worker", speedup(THROUGH_WORKER, ("wall",), 6.0),
    ),
    Goal("the same: less than 0.6 s, less than 0.1 s of CPU time in the client", "worker", _client),
    Goal(
        "64 prompts, bundled model, OpenVINO in bf16: 4 x faster than a loop with plain diffusers in fp32",
        "openvino-batch", speedup(BATCH_OPENVINO_BF16, ("wall", "cpu"), 4.0),
    ),
    Goal(
        "Stable Diffusion 1.5, 512x512, a step with OpenVINO in bf16: 4 x faster than plain fp32",
        "openvino-sd15", speedup(OPENVINO_BF16, ("step", "step_cpu"), 4.0),
    ),
    Goal("SDXL within 8 GiB of GPU memory: at most 6 GiB, at most 10 % slower", "cuda-8gb", _small_gpu),
    *_acceleration_goals("Stable Diffusion 1.5 on CUDA, 512x512, a running process: 2.5 x faster", "cuda-sd15", 2.5),
    Goal(
        "Stable Diffusion 1.5 on CUDA, 64 prompts: 4 x faster, at least 50 % of the peak matrix rate", "cuda-batch",
        _speedup_and_matrix_rate("artgen, batch size 16", 4.0, 0.5),
    ),
    *_acceleration_goals("SDXL on CUDA, 1024x1024, a running process: 1.5 x faster", "cuda-sdxl", 1.5),
    Goal(
        "SDXL on CUDA, 16 prompts: 2 x faster", "cuda-sdxl-batch", speedup("artgen, batch size 4", ("wall",), 2.0),
    ),
    Goal("the same, `--acceleration full`", "cuda-sdxl-batch", speedup(FULL_BATCH, ("wall",), 2.0)),
)  # fmt: skip


def lines(results: Results) -> list[tuple[str, str, str]]:
    """Return the lines of the table of goals."""
    return [goal.line(results) for goal in GOALS]
