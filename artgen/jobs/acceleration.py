"""Check that `--acceleration openvino` fits the device and the other settings."""

from artgen.errors import UsageError
from artgen.jobs.checks import runs_on_cpu
from artgen.registry import ResolvedModel
from artgen.spec.base_requests import PromptRequest
from artgen.spec.fast import parse_presets
from artgen.spec.shared_config import cache_limit
from artgen.system import hardware
from artgen.system.optional_packages import install_command, installed_version

COMPLEX_ARCHITECTURES = ("lumina", "lumina2", "z-image")
"""Architectures whose position embeddings are complex numbers, which OpenVINO 2026.4 cannot convert."""

CACHING_ARCHITECTURES = ("qwen-image21",)
"""Architectures whose transformer returns keys and values in an object, which a converted model cannot do."""

CACHING_PIPELINE = "Flux2KleinKVPipeline"
"""Pipeline whose transformer returns keys and values in an object only if it has an input image."""


def check_acceleration(device: str, acceleration: str | None) -> None:
    """Check that OpenVINO can run on the device, and that its package is installed.

    Raises:
        UsageError: the device is not the CPU, the package is missing, or the size limit of the cache is invalid.
    """
    if acceleration != "openvino":
        return
    if not runs_on_cpu(device):
        selected = device
        if device == "auto":
            selected = f"{'cuda' if hardware.cuda_device_count() else 'mps'}, which --device auto selects"
        raise UsageError(
            f"--acceleration openvino needs the CPU, but the device is {selected}.",
            "Use --device cpu, or remove --acceleration.",
            settings=("acceleration",),
        )
    cache_limit()
    if installed_version("openvino") is None:
        raise UsageError(
            "--acceleration openvino needs the package openvino, which is not installed.",
            install_command(["openvino"]),
            settings=("acceleration",),
        )


def check_openvino(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that OpenVINO supports the model and the other settings of a complete request.

    Raises:
        UsageError: OpenVINO cannot convert the denoiser, or another setting needs its layers, changes the format of its
            weights, or selects a precision that OpenVINO does not have on the CPU.
    """
    if request.acceleration != "openvino":
        return
    refiner = model.refiner
    reasons = (
        (model.has_quantized_denoiser, "its weights are quantized"),
        (refiner is not None and refiner.has_quantized_denoiser, "the weights of its refiner are quantized"),
        (model.architecture in COMPLEX_ARCHITECTURES, "its transformer computes with complex numbers"),
        (model.architecture in CACHING_ARCHITECTURES, "its transformer stores values from one step to the next"),
        (
            model.pipeline == CACHING_PIPELINE and request.task == "img2img",
            "its transformer stores values of the input image from one step to the next",
        ),
    )
    for is_unsupported, reason in reasons:
        if is_unsupported:
            raise UsageError(
                f"Cannot use --acceleration openvino with '{model.name}': {reason}.",
                "Remove --acceleration, or choose another --model.",
                settings=("acceleration",),
            )
    conflicts = (
        ("quantize", request.quantize is not None, f"--quantize {request.quantize}",
         "OpenVINO converts the weights of fp32 and bf16", "remove --quantize"),
        ("fast", "cache" in [entry.name for entry in parse_presets(request.fast)], "--fast cache",
         "the converted denoiser has no layers that can be skipped", "remove cache from --fast"),
        ("dtype", request.dtype == "fp16", "--dtype fp16",
         "on the CPU, OpenVINO computes in fp32 or bf16", "use --dtype fp32 or --dtype bf16"),
    )  # fmt: skip
    for setting, is_used, option, reason, hint in conflicts:
        if is_used:
            raise UsageError(
                f"Cannot combine --acceleration openvino with {option}: {reason}.",
                f"Remove --acceleration, or {hint}.",
                settings=("acceleration", setting),
            )
