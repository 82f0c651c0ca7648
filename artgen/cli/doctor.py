"""Define the command `artgen doctor`."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen._version import __version__
from artgen.cli.console import print_json, print_result
from artgen.errors import ArtgenError
from artgen.spec import config
from artgen.system import hardware
from artgen.system.counts import counted
from artgen.system.files import nearest_existing

REQUIRED_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "huggingface-hub", "pillow", "typer"
)  # fmt: skip
OPTIONAL_PACKAGES = {"torchsde": "the scheduler dpm++sde"}

PROMPT_FOLDERS: dict[str, Callable[[], Path | None]] = {
    "embedding_folder": config.embedding_folder,
    "wildcard_folder": config.wildcard_folder,
    "style_folder": config.style_folder,
}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Check the installation: versions, devices, memory and models.

    The output ends with instructions for each problem.

    artgen doctor
    """
    status = {**_package_versions(), **_hardware_status(), **_model_status()}
    advice = _advice(status)
    if as_json:
        print_json({**status, "advice": advice})
    else:
        for name, value in status.items():
            print_result(f"{name:<16} {value}")
        for line in advice or ["No problems found."]:
            print_result(f"- {line}")
    if status["bundled model"] != "intact":
        raise typer.Exit(5)


def _package_versions() -> dict[str, Any]:
    import importlib.metadata
    import platform

    versions: dict[str, Any] = {"artgen": __version__, "python": platform.python_version()}
    for name in (*REQUIRED_PACKAGES, *OPTIONAL_PACKAGES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _hardware_status() -> dict[str, Any]:
    cuda = hardware.torch_cuda_version()
    devices = hardware.cuda_device_count()
    ram = hardware.total_ram()
    return {
        "device": f"cuda, {devices} found" if devices else "mps" if hardware.has_mps() else "cpu",
        "torch built for": f"CUDA {cuda}" if cuda else "the CPU",
        "cores": os.cpu_count(),
        "memory": f"{ram / 2**30:.0f} GiB" if ram else "",
    }


def _model_status() -> dict[str, Any]:
    import shutil

    from artgen import registry
    from artgen.registry.hub import cache as hub_cache

    try:
        failed = [check for check in registry.verify_model_files("tiny") if not check.ok]
        bundled = "; ".join(f"{check.file}: {check.detail}" for check in failed) or "intact"
    except ArtgenError as error:
        bundled = error.message
    try:
        cache: Path | str = hub_cache.cache_folder()
        free = f"{shutil.disk_usage(nearest_existing(Path(cache))).free / 2**30:.0f} GiB"
    except (ArtgenError, OSError) as error:
        cache, free = f"{error}", "unknown"
    config_file = config.user_config_file()
    return {
        "bundled model": bundled,
        "model folders": _model_folders(),
        **{name.replace("_", " "): _prompt_folder(name) for name in PROMPT_FOLDERS},
        "model cache": str(cache),
        "model cache free": free,
        "configuration": f"{config_file}{'' if os.path.exists(config_file) else ' (does not exist)'}",  # noqa: PTH110
        "default model": _default_model(),
    }


def _model_folders() -> str:
    """Return the configured model folders, and the number of files that are found in them and in artgen's folder."""
    from artgen.registry import model_folders

    try:
        folders = [f"{each}" for each in config.model_folders()]
        counts = {kind: sum(1 for _ in model_folders.iter_files(kind)) for kind in model_folders.FOLDER_NAMES}
    except ArtgenError as error:
        return error.message
    names = (counted(count, model_folders.DESCRIPTIONS[kind]) for kind, count in counts.items() if count)
    return f"{', '.join(folders) or 'none'} ({', '.join(names) or 'no files'})"


def _prompt_folder(name: str) -> str:
    """Return the folder of a setting, or the error if the configuration cannot be read."""
    try:
        folder = PROMPT_FOLDERS[name]()
    except ArtgenError as error:
        return error.message
    return f"{folder or 'none'}{'' if _exists(folder) else ' (does not exist)'}"


def _exists(folder: Path | None) -> bool:
    """Return whether a folder exists; also True if it is unset."""
    return folder is None or os.path.isdir(folder)  # noqa: PTH112 - Path.is_dir raises


def _default_model() -> str:
    """Return the default model, or the error if the configuration cannot be read."""
    if model := os.environ.get("ARTGEN_MODEL"):
        return model
    try:
        return str(config.load_defaults("txt2img")["txt2img"].get("model") or hardware.default_model())
    except ArtgenError as error:
        return error.message


def _advice(status: dict[str, Any]) -> list[str]:
    import importlib.util
    import shutil

    advice = [
        f"{name} is not installed. It is needed for {use}: pip install {name}"
        for name, use in OPTIONAL_PACKAGES.items()
        if status[name] == "missing"
    ]
    if status["torch built for"] == "the CPU" and shutil.which("nvidia-smi"):
        advice.append("An NVIDIA GPU was found, but torch is built for the CPU: install torch with CUDA.")
    if importlib.util.find_spec("torchvision") and status["torch built for"] == "the CPU":
        advice.append("torchvision of a different build breaks CLIP in transformers: pip uninstall torchvision")
    with contextlib.suppress(ArtgenError):  # the row "model folders" contains the error
        advice += [
            f"The folder '{folder}' of model_folders does not exist: artgen config set model_folders FOLDER,..."
            for folder in config.missing_model_folders()
        ]
        advice += [
            f"The folder '{find()}' of {name} does not exist: artgen config set {name} FOLDER"
            for name, find in PROMPT_FOLDERS.items()
            if not _exists(find())
        ]
    if status["bundled model"] != "intact":
        advice.append("The bundled model is damaged: pip install --force-reinstall --no-deps artgen")
    return advice
