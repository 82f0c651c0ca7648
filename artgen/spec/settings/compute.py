"""Declare the settings of the model, the device and the memory."""

from dataclasses import dataclass

from artgen.spec.fields import option
from artgen.spec.memory_budget import OFFLOAD_MODES

QUANTIZATIONS = ("fp8", "int8", "nf4")
ACCELERATION_LEVELS = ("none", "exact", "full", "openvino")


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """Store the name of the model."""

    model: str | None = option(
        None,
        "Model: an alias, a hub id (owner/name[@revision]), a file of the hub (owner/name/file.safetensors), a folder, "
        "a .safetensors or .gguf file, or a name in your model_folders. "
        "[tiny, which is bundled; sd15 with CUDA]",
        brief="Model: alias, hub id, folder or file.",
        defaults={
            "denoise": "denoiser, which is bundled",
            "anomaly": "denoiser, which is bundled",
            "edit": "instruct-pix2pix, which is downloaded",
            "sample": "none; the option is required",
        },
        flags=("-m", "--model"),
        aliases=("--sd-model",),
        is_path=True,
        affects=("pixels", "memory"),
        values="models",
    )
    offline: bool = option(False, "Do not use the network.", recorded=False, sweepable=False, affects=())


@dataclass(frozen=True, kw_only=True)
class LoraSettings(ModelRef):
    """Store the model and its LoRAs."""

    lora: tuple[str, ...] = option(
        (),
        "LoRA, DoRA, LoHa or LoKr: a .safetensors file, or a name in your lora_folder or model_folders. SCALE: "
        "strength in the denoiser, -10 to 10; 1 if omitted. TEXT: strength in the text encoders; SCALE if omitted. Can "
        "be repeated.",
        brief="LoRA: a file or its name in your lora_folder.",
        metavar="FILE[:SCALE[:TEXT]]",
        is_path=True,
        values="loras",
    )


@dataclass(frozen=True, kw_only=True)
class ModelFolders:
    """Store the folders of the user's models, wildcards and styles, the token of Civitai and the limit of the cache.

    Only configuration files and the environment set them.
    """

    lora_folder: str | None = option(
        None,
        "Folder in which LoRAs are found by name.",
        in_prompt_file=False,
        affects=(),
        values="folders",
    )
    model_folders: tuple[str, ...] = option(
        (),
        "Folders in which models, LoRAs, VAEs and embeddings are found by name: folders of A1111 or ComfyUI, or other "
        "folders.",
        metavar="FOLDER,...",
        is_path=True,
        in_prompt_file=False,
        affects=(),
        values="folders",
    )
    embedding_folder: str | None = option(
        None,
        "Folder in which embeddings (textual inversions) are found by name. The name of one of its files in a prompt "
        "selects the embedding.",
        in_prompt_file=False,
        affects=(),
        values="folders",
    )
    wildcard_folder: str | None = option(
        None,
        "Folder of the text and YAML files of wildcards: __colors__.",
        in_prompt_file=False,
        affects=(),
        values="folders",
    )
    style_folder: str | None = option(
        None,
        "Folder of styles: styles.csv of A1111 and JSON files of Fooocus.",
        in_prompt_file=False,
        affects=(),
        values="files",
    )
    civitai_token: str | None = option(
        None,
        "API key of Civitai, for `artgen models pull`.",
        is_secret=True,
        recorded=False,
        in_prompt_file=False,
        affects=(),
    )
    cache_limit: str | None = option(
        None,
        "Maximum size of the models that --acceleration openvino converts and keeps in the cache. The least recently "
        "used models are deleted. [20GiB]",
        metavar="SIZE",
        recorded=False,
        in_prompt_file=False,
        affects=(),
    )


@dataclass(frozen=True, kw_only=True)
class ModelSettings(LoraSettings):
    """Store the model, its LoRAs, other components and its safety checker."""

    vae: str | None = option(
        None,
        "VAE that replaces the VAE of the model: a hub id, a folder, a .safetensors file, or a name in your "
        "model_folders. [the model's VAE]",
        metavar="MODEL|FILE",
        is_path=True,
        affects=("pixels", "memory"),
        values="vaes",
    )
    refiner: str | None = option(
        None,
        "SDXL, txt2img and img2img: another SDXL model denoises the last part of the noise levels (ensemble of expert "
        "denoisers). FRACTION: part that --model denoises, between 0 and 1; 0.8 if omitted. [no refiner]",
        metavar="MODEL[:FRACTION]",
        is_path=True,
        affects=("pixels", "memory"),
        values="models",
    )
    text_encoder_3: str | None = option(
        None,
        "none: do not load or download the T5 text encoder of Stable Diffusion 3, which saves memory and changes the "
        "image. [all text encoders]",
        choices=("none",),
        affects=("pixels", "memory"),
    )

    safety_checker: bool = option(
        True, "Run the model's safety checker, if the model has one. [on]", affects=("pixels", "memory")
    )


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Store the device and the precision."""

    # A batch may run on several devices, so the device is not part of the fingerprint of a job.
    device: str = option(
        "auto",
        "Device: auto, cpu, mps, cuda or cuda:N.",
        brief="auto, cpu, mps, cuda or cuda:N.",
        metavar="DEVICE",
        sweepable=False,
        affects=("memory",),
        values="devices",
    )
    dtype: str = option(
        "auto",
        "Floating-point precision. auto: fp16 on a GPU, or bf16 for transformers such as Flux on CUDA; on the CPU "
        "fp32, or bf16 for a large model if the CPU supports bf16. [auto]",
        choices=("auto", "fp32", "fp16", "bf16"),
        affects=("pixels", "memory"),
    )


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(DeviceSettings):
    """Store the device, the precision, the memory settings and the optimizations."""

    offload: str | None = option(
        None,
        "CPU offloading, which saves GPU memory and does not change the image. none; text: text encoders; model: whole "
        "components; group: layers, prefetched; sequential: layer by layer; auto: the first that fits. On the CPU, "
        "text encodes the prompts before the denoiser is loaded. [none, and the next mode after an out-of-memory "
        "error; on the CPU auto: none or text]",
        metavar="MODE",
        choices=("auto", *OFFLOAD_MODES),
        affects=("memory",),
    )
    memory_budget: str | None = option(
        None,
        "Maximum GPU memory, such as 8GiB. On the CPU: main memory that --offload auto plans with. [all free memory]",
        metavar="SIZE",
        recorded=False,
        affects=("memory",),
    )
    quantize: str | None = option(
        None,
        "Store the weights of the denoiser in fewer bits, which changes the image slightly. fp8: 8 bits, half of the "
        "memory of fp16; sampling is slower. int8: 8 bits for linear layers; needs the package torchao. nf4: 4 bits "
        "for linear layers, on CUDA; needs bitsandbytes; experimental. [no quantization]",
        aliases=("--weights",),
        unlisted_aliases=("--weights",),
        choices=QUANTIZATIONS,
        affects=("pixels", "memory"),
        fingerprint_name="weights",
    )
    vae_tiling: bool | None = option(
        None,
        "Tiled VAE decoding: less memory, slight color differences. [on above 2 megapixels]",
        flags=("--vae-tiling/--no-vae-tiling",),
        affects=("pixels", "memory"),
    )
    acceleration: str | None = option(
        None,
        "Optimizations. none: plain diffusers. On CUDA, experimental: exact: bit-identical images, CUDA graphs. full: "
        "also channels-last, fused QKV, a bf16 decoder and torch.compile, which change rounding. If an optimization "
        "fails, plain diffusers is used. On the CPU: openvino: run the denoiser with OpenVINO, which changes rounding; "
        "needs the package openvino. [none]",
        choices=ACCELERATION_LEVELS,
        neutral_values=("none", "exact"),
    )
