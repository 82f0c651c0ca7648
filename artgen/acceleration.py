"""Which of CUDA's levers a drawing gets, and why. Decided here without torch; `engine/accelerating.py` pulls them."""

from dataclasses import dataclass, field

LEVELS = ("none", "exact", "full")
"""What `--acceleration` takes."""

GRAPHED = frozenset({"sd1", "sd2", "sdxl"})
"""Architectures whose steps, small pictures and few at a time, take less time to compute than to launch."""
GRAPH_PIXELS = 768 * 768
"""The most pixels at a time of which that holds: reckoned from the matrix limit of an H200 and some 7 us a launch."""
GRAPH_STEPS = 8
"""The fewest steps that repay a capture: it runs the step four times more."""
COMPILING = 8.0
"""Seconds to compile the repeated blocks of a denoiser (whole denoisers: 20 to 67); less when they are in the cache."""
COMPILED_GAIN = 0.2
"""The share of time that compiling saves: SDXL on an A100 goes from 3.31 to 2.54 s
(https://huggingface.co/docs/diffusers/tutorials/fast_diffusion), the decoder's part included."""


@dataclass(frozen=True)
class Task:
    """What is to be drawn.

    Attributes:
        level: one of `LEVELS`.
        device, dtype: as in a record.
        architecture: of the model.
        size: width and height in pixels.
        together: pictures at a time.
        steps: of each.
        whole: whether all of the model lies on the device, in the precision it computes in.
        plain: whether it does, and the denoiser has neither LoRAs nor approximations on it, nor weights in 8 bits.
        upcast: whether diffusers decodes in fp32, because the decoder would overflow in this precision.
        compiled: whether the denoiser is compiled already.
        seconds_left: what these pictures and those like them that follow would take as it goes now; 0 when unknown.
    """

    level: str
    device: str
    dtype: str
    architecture: str
    size: tuple[int, int]
    together: int
    steps: int
    whole: bool
    plain: bool
    upcast: bool = False
    compiled: bool = False
    seconds_left: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Which levers are pulled.

    Attributes:
        graph: one recorded launch for each step instead of hundreds; the same kernels, the same bits.
        channels_last: weights and features in the layout that tensor cores want.
        fused: queries, keys and values in one product.
        bf16_decoder: decode in bf16 where fp16 would overflow, instead of in fp32.
        compiled: repeated blocks of the denoiser through `torch.compile`.
        why: in one sentence, for `--verbose`; empty where there is nothing to say.
    """

    graph: bool = False
    channels_last: bool = False
    fused: bool = False
    bf16_decoder: bool = False
    compiled: bool = False
    why: str = field(default="", compare=False)

    @property
    def rounding(self) -> list[str]:
        """Those that round otherwise than plain diffusers does, as a record names them."""
        names = {
            "channels last": self.channels_last,
            "fused projections": self.fused,
            "decoder in bf16": self.bf16_decoder,
            "compiled": self.compiled,
        }
        return [name for name, used in names.items() if used]


def plan(task: Task) -> Plan:
    """What pays for a task."""
    if not task.device.startswith("cuda") or task.level == "none":
        return Plan()
    full = task.level == "full"
    unet = task.architecture in ("sd1", "sd2", "sdxl")
    repaid = task.compiled or task.seconds_left * COMPILED_GAIN > COMPILING
    compiled = full and task.plain and repaid
    graph, why = _graph(task)
    if compiled:
        graph, why = False, f"compiled blocks: {task.seconds_left:.0f} s of drawing were left to repay them"
    return Plan(
        graph=graph,
        channels_last=full and unet and task.whole,
        fused=full and unet and task.plain and not compiled,
        bf16_decoder=full and task.whole and task.upcast,
        compiled=compiled,
        why=why,
    )


def _graph(task: Task) -> tuple[bool, str]:
    if not task.plain:
        return False, "no CUDA graph: the denoiser is offloaded or changed"
    if task.architecture not in GRAPHED or task.together * task.size[0] * task.size[1] > GRAPH_PIXELS:
        return False, "no CUDA graph: the device is busy enough"
    if task.steps < GRAPH_STEPS:
        return False, f"no CUDA graph: {task.steps} steps do not repay it"
    return True, "a CUDA graph of the step: so few pixels are bound by launches"
