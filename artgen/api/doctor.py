"""Check the installation: versions, devices, memory and models."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from artgen._version import __version__
from artgen.errors import ArtgenError
from artgen.spec import config, shared_config
from artgen.system import hardware
from artgen.system.files import nearest_existing
from artgen.system.optional_packages import EXTRAS, installed_version, missing_extras

REQUIRED_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "huggingface-hub", "pillow", "typer"
)  # fmt: skip

PROMPT_FOLDERS: dict[str, Callable[[], Path | None]] = {
    "lora_folder": config.lora_folder,
    "embedding_folder": config.embedding_folder,
    "wildcard_folder": config.wildcard_folder,
    "style_folder": config.style_folder,
}


@dataclass(frozen=True)
class DoctorReport:
    """Store what `artgen doctor` found.

    Attributes:
        artgen: version of artgen.
        python: version of Python.
        packages: version of each package; null if the package is not installed.
        device: device that `--device auto` selects.
        cuda_devices: number of CUDA devices.
        torch_cuda: CUDA version of the torch build; null for a CPU build.
        cores: number of CPU cores; null if unknown.
        memory_bytes: main memory in bytes; null if unknown.
        bundled_model: `intact`, or the damaged files with the reasons.
        model_folders: folders of the setting `model_folders`.
        files: number of files in these folders and in artgen's own folder, by kind.
        lora_folder: the setting; null if it is unset.
        embedding_folder: the setting; null if it is unset.
        wildcard_folder: the setting; null if it is unset.
        style_folder: the setting; null if it is unset.
        model_cache: folder of downloaded models; null if it cannot be determined.
        model_cache_free_bytes: free bytes on the disk of the cache; null if unknown.
        history: SQLite file of the history; null if the setting `history` is off.
        history_entries: number of its entries; null if it is off or cannot be read.
        configuration: path of the user's configuration file.
        configuration_exists: whether this file exists.
        default_model: model without `--model`; null if the configuration cannot be read.
        image_seconds: expected seconds of an image with the default model on the CPU, without loading; null if the
            device or the model is another one.
        errors: errors that prevented a check, such as an invalid configuration file.
        advice: one instruction for each problem that was found; empty without a problem.
        extras: extras of artgen whose package is not installed.
        next_step: instruction for a user whose default model is the demonstration model or is not on this computer;
            empty for other models.
    """

    artgen: str
    python: str
    packages: dict[str, str | None]
    device: Literal["cuda", "mps", "cpu"]
    cuda_devices: int
    torch_cuda: str | None
    cores: int | None
    memory_bytes: int | None
    bundled_model: str
    model_folders: tuple[Path, ...]
    files: dict[str, int]
    lora_folder: Path | None
    embedding_folder: Path | None
    wildcard_folder: Path | None
    style_folder: Path | None
    model_cache: Path | None
    model_cache_free_bytes: int | None
    history: Path | None
    history_entries: int | None
    configuration: Path
    configuration_exists: bool
    default_model: str | None
    image_seconds: float | None
    errors: tuple[str, ...]
    advice: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    next_step: str = ""


def doctor() -> DoctorReport:
    """Check the installation: versions, devices, memory and models. `advice` contains instructions for each problem."""
    report = _inspect()
    return replace(report, advice=tuple(_advice(report)))


def _inspect() -> DoctorReport:
    """Return all findings, without the advice."""
    # Imported here: `artgen doctor --help` does not need these modules.
    import platform

    from artgen.jobs.next_step import configured_model, default_next_step

    packages = (*REQUIRED_PACKAGES, *(extra.package for extra in EXTRAS))
    versions = {name: installed_version(name) for name in packages}
    devices = hardware.cuda_device_count()
    config_file = config.user_config_file()
    errors: list[str] = []
    found = {
        **_model_folders(errors),
        **{name: _checked(find, errors) for name, find in PROMPT_FOLDERS.items()},
        **_cache(errors),
        **_history(errors),
        "default_model": _checked(configured_model, errors),
    }
    return DoctorReport(
        artgen=__version__,
        python=platform.python_version(),
        packages=versions,
        device="cuda" if devices else "mps" if hardware.has_mps() else "cpu",
        cuda_devices=devices,
        torch_cuda=hardware.torch_cuda_version(),
        cores=os.cpu_count(),
        memory_bytes=hardware.total_ram(),
        bundled_model=_bundled_model(),
        image_seconds=_image_seconds(found["default_model"]),
        extras=tuple(extra.name for extra in missing_extras()),
        next_step=default_next_step("txt2img"),
        configuration=config_file,
        configuration_exists=os.path.exists(config_file),  # noqa: PTH110 - Path.exists raises for long names
        errors=tuple(dict.fromkeys(errors)),
        **found,
    )


def _checked(find: Callable[[], Any], errors: list[str]) -> Any:
    """Return the result of a function; None if the configuration cannot be read, with the reason in `errors`."""
    try:
        return find()
    except ArtgenError as error:
        errors.append(error.message)
        return None


def _bundled_model() -> str:
    from artgen import registry

    try:
        failed = [check for check in registry.verify_model_files("tiny") if not check.ok]
    except ArtgenError as error:
        return error.message
    return "; ".join(f"{check.file}: {check.detail}" for check in failed) or "intact"


def _model_folders(errors: list[str]) -> dict[str, Any]:
    from artgen.registry import model_folders

    def count() -> dict[str, int]:
        return {kind: sum(1 for _ in model_folders.iter_files(kind)) for kind in model_folders.FOLDER_NAMES}

    return {
        "model_folders": tuple(_checked(config.model_folders, errors) or ()),
        "files": _checked(count, errors) or {},
    }


def _cache(errors: list[str]) -> dict[str, Any]:
    import shutil

    from artgen.registry.hub import cache as hub_cache

    cache = free = None
    try:
        cache = Path(hub_cache.cache_folder())
        free = shutil.disk_usage(nearest_existing(cache)).free
    except (ArtgenError, OSError) as error:
        errors.append(error.message if isinstance(error, ArtgenError) else f"{error}")
    return {"model_cache": cache, "model_cache_free_bytes": free}


def _history(errors: list[str]) -> dict[str, Any]:
    from artgen.image_history.connection import history_path
    from artgen.image_history.database import open_existing_history

    if _checked(shared_config.history_is_on, errors) is False:
        return {"history": None, "history_entries": None}
    num_entries = 0
    try:
        if (history := open_existing_history()) is not None:
            with history:
                num_entries = history.count()
    except ArtgenError as error:
        errors.append(f"{error.message} {error.hint}")
        return {"history": history_path(), "history_entries": None}
    return {"history": history_path(), "history_entries": num_entries}


def _image_seconds(model: str | None) -> float | None:
    """Return the expected seconds of an image with a model of the catalog on the CPU; else None."""
    from artgen.jobs.recommend import recommend, this_machine

    machine = this_machine()
    found = recommend(machine) if machine is not None else []
    seconds = next((each.seconds for each in found if each.info.name == model), None)
    return None if seconds is None else round(seconds, 1)


def _advice(report: DoctorReport) -> Iterator[str]:
    import importlib.util
    import shutil

    if report.torch_cuda is None and shutil.which("nvidia-smi"):
        yield "An NVIDIA GPU was found, but torch is built for the CPU: install torch with CUDA."
    if report.torch_cuda is None and importlib.util.find_spec("torchvision"):
        yield "torchvision of a different build breaks CLIP in transformers: pip uninstall torchvision"
    with contextlib.suppress(ArtgenError):  # `errors` contains the error
        for folder in config.missing_model_folders():
            yield f"The folder '{folder}' of model_folders does not exist: artgen config set model_folders FOLDER,..."
    for name in PROMPT_FOLDERS:
        if not folder_exists(getattr(report, name)):
            yield f"The folder '{getattr(report, name)}' of {name} does not exist: artgen config set {name} FOLDER"
    if report.bundled_model != "intact":
        yield "The bundled model is damaged: pip install --force-reinstall --no-deps artgen"


def folder_exists(folder: Path | None) -> bool:
    """Return whether a folder exists; also True if it is unset."""
    return folder is None or os.path.isdir(folder)  # noqa: PTH112 - Path.is_dir raises
