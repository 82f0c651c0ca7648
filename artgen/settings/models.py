"""Which model, and where it runs."""

from dataclasses import dataclass

from artgen.declarations import setting


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Which model."""

    model: str | None = setting(
        None,
        "An alias, a hub id (owner/name[@revision]), a folder or a .safetensors file. "
        "[sd15 with CUDA, the bundled `tiny` without; denoise: the bundled `denoiser`]",
        flags=("-m", "--model"),
    )
    offline: bool = setting(False, "Never use the network.")


@dataclass(frozen=True, kw_only=True)
class Adapted(Weights):
    """Which model, and what changes it."""

    lora: tuple[str, ...] = setting(
        (),
        "A LoRA to draw with and how strongly (-10 to 10, 1 when not said): a .safetensors file, or its name in "
        "your lora_folder. May be repeated.",
        metavar="PATH[:SCALE]",
    )


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where LoRAs lie; for configuration files and the environment."""

    lora_folder: str | None = setting(None, "A folder whose LoRAs are found by name.")


@dataclass(frozen=True, kw_only=True)
class Model(Adapted):
    """Which model draws."""

    safety_checker: bool = setting(True, "Use the model's own safety filter, when it ships one.")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which device, at which precision."""

    device: str = setting("auto", "auto, cpu, mps, cuda or cuda:N.")
    dtype: str = setting(
        "auto",
        "Precision. [auto: fp16 on a GPU; on the CPU fp32, or bf16 to draw with a large model where the CPU has it]",
        choices=("auto", "fp32", "fp16", "bf16"),
    )


@dataclass(frozen=True, kw_only=True)
class Compute(Place):
    """Where the model runs."""

    offload: str | None = setting(
        None,
        "Keep parts of the model in main memory until they are needed: slower, much less GPU memory.",
        choices=("none", "model", "sequential"),
    )
    vae_tiling: bool = setting(False, "Decode in tiles: less memory for large pictures.")
