"""Which of CUDA's levers a drawing gets, and why. Decided here without torch; `engine/accelerating.py` pulls them."""

from dataclasses import dataclass, field

CUDA_GRAPH_ARCHS = frozenset({"sd1", "sd2", "sdxl"})
"""Architectures whose steps, small pictures and few at a time, take less time to compute than to launch."""
CUDA_GRAPH_MAX_PIXELS = 768 * 768
"""The most pixels at a time of which that holds: reckoned from the matrix limit of an H200 and some 7 us a launch."""
CUDA_GRAPH_MIN_STEPS = 8
"""The fewest steps that repay a capture: it runs the step four times more."""
COMPILE_SECONDS = 8.0
"""Seconds to compile the repeated blocks of a denoiser (whole denoisers: 20 to 67); less when they are in the cache."""
COMPILE_SPEEDUP = 0.2
"""The share of time that compiling saves: SDXL on an A100 goes from 3.31 to 2.54 s
(https://huggingface.co/docs/diffusers/tutorials/fast_diffusion), the decoder's part included."""


@dataclass(frozen=True)
class OptimizationContext:
    """What is to be drawn.

    Attributes:
        level: one of `LEVELS`.
        device, dtype: as in a record.
        architecture: of the model.
        size: width and height in pixels.
        batch_size: pictures at a time.
        steps: of each.
        on_device: whether all of the model lies on the device, in the precision it computes in.
        unmodified: whether it does, and the denoiser has neither LoRAs nor approximations on it, nor weights in 8 bits.
        vae_upcast: whether diffusers decodes in fp32, because the decoder would overflow in this precision.
        already_compiled: whether the denoiser is compiled already.
        remaining_seconds: what these pictures and those like them that follow would take as it goes now; 0 when unknown.
    """

    level: str
    device: str
    dtype: str
    architecture: str
    size: tuple[int, int]
    batch_size: int
    steps: int
    on_device: bool
    unmodified: bool
    vae_upcast: bool = False
    already_compiled: bool = False
    remaining_seconds: float = 0.0


@dataclass(frozen=True)
class OptimizationPlan:
    """Which levers are pulled.

    Attributes:
        cuda_graph: one recorded launch for each step instead of hundreds; the same kernels, the same bits.
        channels_last: weights and features in the layout that tensor cores want.
        fused_qkv: queries, keys and values in one product.
        bf16_decoder: decode in bf16 where fp16 would overflow, instead of in fp32.
        compiled: repeated blocks of the denoiser through `torch.compile`.
        reason: in one sentence, for `--verbose`; empty where there is nothing to say.
    """

    cuda_graph: bool = False
    channels_last: bool = False
    fused_qkv: bool = False
    bf16_decoder: bool = False
    compiled: bool = False
    reason: str = field(default="", compare=False)

    @property
    def inexact_optimizations(self) -> list[str]:
        """Those that round otherwise than plain diffusers does, as a record names them."""
        names = {
            "channels last": self.channels_last,
            "fused projections": self.fused_qkv,
            "decoder in bf16": self.bf16_decoder,
            "compiled": self.compiled,
        }
        return [name for name, used in names.items() if used]


def select_optimizations(context: OptimizationContext) -> OptimizationPlan:
    """What pays for a task."""
    if not context.device.startswith("cuda") or context.level == "none":
        return OptimizationPlan()
    full = context.level == "full"
    unet = context.architecture in ("sd1", "sd2", "sdxl")
    repaid = context.already_compiled or context.remaining_seconds * COMPILE_SPEEDUP > COMPILE_SECONDS
    compiled = full and context.unmodified and repaid
    graph, why = _decide_cuda_graph(context)
    if compiled:
        graph, why = False, f"compiled blocks: {context.remaining_seconds:.0f} s of drawing were left to repay them"
    return OptimizationPlan(
        cuda_graph=graph,
        channels_last=full and unet and context.on_device,
        fused_qkv=full and unet and context.unmodified and not compiled,
        bf16_decoder=full and context.on_device and context.vae_upcast,
        compiled=compiled,
        reason=why,
    )


def _decide_cuda_graph(context: OptimizationContext) -> tuple[bool, str]:
    if not context.unmodified:
        return False, "no CUDA graph: the denoiser is offloaded or changed"
    if (
        context.architecture not in CUDA_GRAPH_ARCHS
        or context.batch_size * context.size[0] * context.size[1] > CUDA_GRAPH_MAX_PIXELS
    ):
        return False, "no CUDA graph: the device is busy enough"
    if context.steps < CUDA_GRAPH_MIN_STEPS:
        return False, f"no CUDA graph: {context.steps} steps do not repay it"
    return True, "a CUDA graph of the step: so few pixels are bound by launches"
