"""Select the optimizations for a job. This module needs no torch; `engine/acceleration/apply.py` applies them."""

from dataclasses import dataclass, field

from artgen.system.counts import counted

CUDA_GRAPH_MAX_PIXELS = 768 * 768
"""Largest number of pixels in a batch for a CUDA graph; larger batches are not bound by kernel launches. Estimated, not
measured: from the peak matrix throughput of an H200 and about 7 us for each kernel launch."""
CUDA_GRAPH_MIN_STEPS = 8
"""Minimum number of steps for a CUDA graph: a capture runs the step four more times."""
COMPILE_SECONDS = 8.0
"""Seconds to compile the repeated blocks of a denoiser with an empty cache. Estimated from published compilation times
(complete denoisers take 20 to 67 s), not measured by artgen."""
COMPILE_SPEEDUP = 0.2
"""Fraction of the time that compilation saves, decoding included. Published, not measured by artgen: SDXL on an A100
takes 2.54 s instead of 3.31 s (https://huggingface.co/docs/diffusers/tutorials/fast_diffusion)."""


@dataclass(frozen=True)
class OptimizationContext:
    """Describe a pipeline call for the selection of optimizations.

    Attributes:
        level: one of `ACCELERATION_LEVELS`.
        device, dtype: as in a record.
        architecture: architecture of the model.
        supports_cuda_graphs: whether the table of pipelines allows CUDA graphs: small batches are bound by kernel
            launches.
        unet_blocks: whether the denoiser is a UNet with the blocks of Stable Diffusion.
        size: width and height in pixels.
        batch_size: images per pipeline call.
        steps: denoising steps of each image.
        on_device: whether the complete model is on the device in the dtype of the computation.
        unmodified: whether `on_device` is true and the denoiser has no LoRAs, approximations or fp8 weights, and no
            guidance method other than classifier-free guidance.
        vae_upcast: whether diffusers decodes in fp32, because the decoder overflows in `dtype`.
        already_compiled: whether the denoiser is compiled.
        remaining_seconds: estimated duration of these images and of later images with the same resources; 0 if unknown.
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
    supports_cuda_graphs: bool = True
    unet_blocks: bool = True
    vae_upcast: bool = False
    already_compiled: bool = False
    remaining_seconds: float = 0.0


@dataclass(frozen=True)
class OptimizationPlan:
    """Store the selected optimizations.

    Attributes:
        cuda_graph: launch each step of the denoiser as one CUDA graph; same kernels, bit-identical.
        channels_last: store weights and activations in the channels-last format, which tensor cores use.
        fused_qkv: compute queries, keys and values with one matrix product.
        bf16_decoder: decode in bf16 instead of fp32 if the decoder overflows in fp16.
        compiled: compile the repeated blocks of the denoiser with `torch.compile`.
        openvino: run the denoiser with OpenVINO, on the CPU; `openvino.denoiser.with_openvino` applies it.
        reason: reason for the selection, one sentence for `--verbose`; empty if there is none.
    """

    cuda_graph: bool = False
    channels_last: bool = False
    fused_qkv: bool = False
    bf16_decoder: bool = False
    compiled: bool = False
    openvino: bool = False
    reason: str = field(default="", compare=False)

    @property
    def inexact_optimizations(self) -> list[str]:
        """Return the optimizations that change rounding, with their names in a record."""
        names = {
            "channels last": self.channels_last,
            "fused projections": self.fused_qkv,
            "decoder in bf16": self.bf16_decoder,
            "compiled": self.compiled,
            "openvino": self.openvino,
        }
        return [name for name, used in names.items() if used]


def select_optimizations(context: OptimizationContext) -> OptimizationPlan:
    """Return the optimizations of a level that reduce the time of a pipeline call."""
    if context.level == "openvino" and context.device == "cpu":
        return OptimizationPlan(openvino=True)
    if not context.device.startswith("cuda") or context.level in ("none", "openvino"):
        return OptimizationPlan()
    full = context.level == "full"
    unet = context.unet_blocks
    pays_off = context.already_compiled or context.remaining_seconds * COMPILE_SPEEDUP > COMPILE_SECONDS
    compiled = full and context.unmodified and pays_off
    cuda_graph, reason = _decide_cuda_graph(context)
    if compiled:
        cuda_graph, reason = False, f"Compiling the denoiser's blocks for {context.remaining_seconds:.0f} s of work."
    return OptimizationPlan(
        cuda_graph=cuda_graph,
        channels_last=full and unet and context.on_device,
        fused_qkv=full and unet and context.unmodified and not compiled,
        bf16_decoder=full and context.on_device and context.vae_upcast,
        compiled=compiled,
        reason=reason,
    )


def _decide_cuda_graph(context: OptimizationContext) -> tuple[bool, str]:
    """Return whether to use a CUDA graph, and the reason."""
    if not context.unmodified:
        return False, "Not using a CUDA graph: the denoiser is offloaded or modified."
    if not context.supports_cuda_graphs:
        return False, f"Not using a CUDA graph: not supported for {context.architecture}."
    if context.batch_size * context.size[0] * context.size[1] > CUDA_GRAPH_MAX_PIXELS:
        return False, f"Not using a CUDA graph: the batch has more than {CUDA_GRAPH_MAX_PIXELS} pixels."
    if context.steps < CUDA_GRAPH_MIN_STEPS:
        return False, f"Not using a CUDA graph: {counted(context.steps, 'step is', 'steps are')} too few."
    return True, "Using a CUDA graph for the denoiser: small batches are bound by kernel launches."
