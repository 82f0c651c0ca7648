"""`artgen doctor`."""

import os
from typing import Annotated, Any

import typer

from artgen import __version__, config, machine
from artgen.cli.reporting import emit, emit_json
from artgen.errors import ArtgenError

PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "huggingface-hub", "pillow", "typer"
)  # fmt: skip
OPTIONAL = {
    "isal": "PNG files in a third of the time",
    "scipy": "lms, dpm++sde and beta sigmas",
    "torchsde": "dpm++sde",
}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Look at this installation: versions, device, memory, models; name what is missing and what mends it."""
    facts = {**_versions(), **_hardware(), **_models()}
    advice = _advice(facts)
    if as_json:
        emit_json({**facts, "advice": advice})
    else:
        for name, value in facts.items():
            emit(f"{name:<16} {value}")
        for line in advice or ["all is well"]:
            emit(f"- {line}")
    if facts["bundled model"] != "sound":
        raise typer.Exit(5)


def _versions() -> dict[str, Any]:
    import importlib.metadata
    import platform

    versions: dict[str, Any] = {"artgen": __version__, "python": platform.python_version()}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _hardware() -> dict[str, Any]:
    cuda = machine.torch_cuda_version()
    devices = machine.cuda_devices()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    return {
        "device": f"cuda, {devices} found" if devices else "mps" if machine.has_mps() else "cpu",
        "torch built for": f"CUDA {cuda}" if cuda else "the CPU",
        "cores": os.cpu_count(),
        "memory": memory,
    }


def _models() -> dict[str, Any]:
    import shutil

    from artgen import registry
    from artgen.hub import cache as hub_cache

    try:
        wrong = [finding for finding in registry.verify("tiny") if not finding.ok]
        bundled = "sound" if not wrong else "; ".join(f"{finding.file}: {finding.detail}" for finding in wrong)
    except ArtgenError as error:
        bundled = error.message
    cache = hub_cache.folder()
    free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free
    return {
        "bundled model": bundled,
        "model cache": str(cache),
        "disk free there": f"{free / 2**30:.0f} GiB",
        "configuration": f"{config.user_file()}{'' if config.user_file().exists() else ' (none yet)'}",
        "default model": _default_model(),
    }


def _default_model() -> str:
    """The model that is used when none is named; where the configuration cannot be read, what is wrong with it."""
    if model := os.environ.get("ARTGEN_MODEL"):
        return model
    try:
        return str(config.defaults("txt2img")["txt2img"].get("model") or machine.default_model())
    except ArtgenError as error:
        return error.message


def _advice(facts: dict[str, Any]) -> list[str]:
    import importlib.util
    import shutil

    advice = [
        f"{name} is not installed; it serves {use}: pip install {name}"
        for name, use in OPTIONAL.items()
        if facts[name] == "missing"
    ]
    if facts["torch built for"] == "the CPU" and shutil.which("nvidia-smi"):
        advice.append("an NVIDIA GPU seems to be here, but torch is built for the CPU: install torch with CUDA")
    if importlib.util.find_spec("torchvision") and facts["torch built for"] == "the CPU":
        advice.append("torchvision from another build breaks transformers' CLIP: pip uninstall torchvision")
    if facts["bundled model"] != "sound":
        advice.append("the bundled model is damaged: pip install --force-reinstall --no-deps artgen")
    return advice
