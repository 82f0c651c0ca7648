"""Check that `--acceleration openvino` fits the device, the model and the other settings."""

from collections.abc import Sequence

from artgen.errors import UsageError
from artgen.jobs.checks import runs_on_cpu
from artgen.jobs.pipeline_options import pag_scale
from artgen.registry import ResolvedModel
from artgen.registry.lora import LoraRequest
from artgen.spec.base_requests import PromptRequest
from artgen.spec.fast import parse_presets
from artgen.system import hardware
from artgen.system.optional_packages import install_command, installed_version


def check_acceleration(device: str, acceleration: str | None) -> None:
    """Check that OpenVINO can run on the device, and that its package is installed.

    Raises:
        UsageError: the device is not the CPU, or the package is missing.
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
    if installed_version("openvino") is None:
        raise UsageError(
            "--acceleration openvino needs the package openvino, which is not installed.",
            install_command(["openvino"]),
            settings=("acceleration",),
        )


def check_openvino(request: PromptRequest, model: ResolvedModel, loras: Sequence[LoraRequest]) -> None:
    """Check that OpenVINO can run the denoiser of a complete request.

    The converted denoiser contains the weights of the model alone, and no layers to which hooks could be attached.

    Args:
        request: complete request.
        model: resolved model.
        loras: LoRAs of the request, those of its prompt and of `--fast` included.

    Raises:
        UsageError: another setting changes the weights or the layers of the denoiser.
    """
    if request.acceleration != "openvino":
        return
    presets = [entry.name for entry in parse_presets(request.fast)]
    reason = "the converted denoiser has the layers and the weights of the model alone"
    conflicts = (
        ("quantize", request.quantize is not None, f"--quantize {request.quantize}", "remove --quantize"),
        ("fast", "cache" in presets, "--fast cache", "remove cache from --fast"),
        ("fast", "lcm" in presets, "--fast lcm", "remove lcm from --fast"),
        ("pag_scale", pag_scale(request, model.pipeline_entry) > 0, "--pag-scale", "use --pag-scale 0"),
        ("lora", bool(loras), "LoRAs", "remove the LoRAs"),
    )
    for setting, is_used, option, hint in conflicts:
        if is_used:
            raise UsageError(
                f"Cannot combine --acceleration openvino with {option}: {reason}.",
                f"Remove --acceleration, or {hint}.",
                settings=("acceleration", setting),
            )
