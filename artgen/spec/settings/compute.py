"""Which model, and where it runs."""

from dataclasses import dataclass

from artgen.spec.fields import option
from artgen.spec.memory_budget import OFFLOAD_MODES

ACCELERATION_LEVELS = ("none", "exact", "full")
"""What `--acceleration` takes."""


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """Which model."""

    model: str | None = option(
        None,
        "An alias, a hub id (owner/name[@revision]), a folder or a .safetensors file. "
        "[sd15 with CUDA, the bundled `tiny` without; denoise: the bundled `denoiser`]",
        flags=("-m", "--model"),
    )
    offline: bool = option(False, "Never use the network.")


@dataclass(frozen=True, kw_only=True)
class LoraSettings(ModelRef):
    """Which model, and what changes it."""

    lora: tuple[str, ...] = option(
        (),
        "A LoRA to draw with and how strongly (-10 to 10, 1 when not said): a .safetensors file, or its name in "
        "your lora_folder. May be repeated.",
        metavar="PATH[:SCALE]",
    )


@dataclass(frozen=True, kw_only=True)
class LoraFolder:
    """Where LoRAs lie; for configuration files and the environment."""

    lora_folder: str | None = option(None, "A folder whose LoRAs are found by name.")


@dataclass(frozen=True, kw_only=True)
class ModelSettings(LoraSettings):
    """Which model draws."""

    safety_checker: bool = option(True, "Use the model's own safety filter, when it ships one.")


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Which device, at which precision."""

    device: str = option("auto", "auto, cpu, mps, cuda or cuda:N.")
    dtype: str = option(
        "auto",
        "Precision. [auto: fp16 on a GPU; on the CPU fp32, or bf16 to draw with a large model where the CPU has it]",
        choices=("auto", "fp32", "fp16", "bf16"),
    )


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(DeviceSettings):
    """Where the model runs."""

    offload: str | None = option(
        None,
        "What lies in main memory until it is needed; pixels stay the same. none; text: the text encoders; model: all "
        "parts but the one at work; group: layers, fetched ahead; sequential: layers, one by one. auto: the first of "
        "these that fits. On the CPU, text reads prompts first and then lets go of the text encoders. [none, until "
        "memory runs out; on the CPU auto: none or text]",
        choices=("auto", *OFFLOAD_MODES),
    )
    memory_budget: str | None = option(
        None,
        "How much of the GPU's memory may be used, such as 8GiB; on the CPU, how much main memory --offload auto "
        "counts on. [all that is free]",
        metavar="SIZE",
    )
    quantize: str | None = option(
        None,
        "fp8: store the denoiser's weights in 8 bits, half of fp16's memory; slower, and the picture changes slightly. "
        "[as --dtype]",
        aliases=("--weights",),
        choices=("fp8",),
    )
    vae_tiling: bool | None = option(
        None,
        "Decode in tiles: less memory, slightly other tones. [above 2 megapixels]",
        flags=("--vae-tiling/--no-vae-tiling",),
    )
    acceleration: str | None = option(
        None,
        "Optimizations on CUDA, experimental. none: plain diffusers. exact: bit-identical images, CUDA graphs. full: "
        "also channels-last, fused QKV, a bf16 decoder and torch.compile, which change rounding. If an optimization "
        "fails, plain diffusers is used. [none]",
        choices=ACCELERATION_LEVELS,
    )
