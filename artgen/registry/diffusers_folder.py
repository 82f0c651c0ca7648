"""Model folders in diffusers' layout, read without diffusers: `model_index.json`, configurations, weights by name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError, RefusedError
from artgen.registry.hub.select_files import NO_WEIGHTS_CLASSES

WEIGHTS_STEMS = ("diffusion_pytorch_model", "model")


@dataclass(frozen=True)
class WeightFiles:
    """One component's weights of one variant: `files` in loading order, `index` when they are sharded."""

    variant: str | None
    files: tuple[Path, ...]
    index: Path | None = None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model's folder.

    Raises:
        InputFileError: missing, unreadable or no object; names the file and the line.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as problem:
        raise InputFileError(f"{path}, line {problem.lineno}: {problem.msg}.", "Download the model again.") from None
    except (UnicodeDecodeError, RecursionError):
        raise InputFileError(f"{path} is damaged: it is no JSON.", "Download the model again.") from None
    except OSError as problem:
        raise InputFileError(f"{path} cannot be read: {problem.strerror}.", "Download the model again.") from None
    if not isinstance(value, dict):
        raise InputFileError(f"{path}, line 1: expected an object.", "Download the model again.")
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """`read_json`, or an empty object for a file that is not there."""
    return read_json(path) if path.is_file() else {}


def read_model_index(folder: Path) -> dict[str, Any]:
    """The `model_index.json` of a folder, or what it would say of a folder that holds an unconditional UNet alone.

    Raises:
        ModelUnavailableError: there is none.
        InputFileError: it does not parse.
    """
    path = folder / "model_index.json"
    if not path.is_file() and read_optional_json(folder / "config.json").get("_class_name") == "UNet2DModel":
        scheduler = read_optional_json(folder / "scheduler_config.json").get("_class_name", "DDPMScheduler")
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler]}
        return {"_class_name": "DDPMPipeline", **parts}
    if not path.is_file():
        raise ModelUnavailableError(
            f"{folder} is not a model folder: it has no model_index.json.",
            "Pass a folder in diffusers' layout, or a single .safetensors file inside it.",
        )
    return read_json(path)


def iter_components(index: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(component, library, class) of every component that a model has; absent ones are left out.

    Raises:
        RefusedError: a component's name would lead out of the folder.
    """
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2 or value[0] is None:
            continue
        if PurePosixPath(name).name != name or name in (".", ".."):
            raise RefusedError(
                f"model_index.json names the component {name!r}, which is no folder name.", "Use another copy."
            )
        yield name, str(value[0]), str(value[1])


def component_folder(folder: Path, component: str, class_name: str) -> Path:
    """The folder that holds a component: its own, or the model's own folder in the oldest layout (google/ddpm-*).

    diffusers looks there too when the component has no folder.
    """
    config = "config.json" if needs_weights(class_name) else "scheduler_config.json"
    old = not (folder / component).is_dir() and class_name.startswith(("UNet", "DDPM", "DDIM", "PNDM"))
    return folder if old and (folder / config).is_file() else folder / component


def needs_weights(class_name: str) -> bool:
    """Whether a component of this class has weights of its own."""
    return not class_name.endswith(NO_WEIGHTS_CLASSES)


def find_weights(component_path: Path) -> list[WeightFiles]:
    """The safetensors weights a component folder offers, the plain ones before fp16; shards need not be present.

    Raises:
        RefusedError: an index that names files outside the folder.
        InputFileError: an index that does not parse.
    """
    found: list[WeightFiles] = []
    for variant in (None, "fp16"):
        dot = f".{variant}" if variant else ""
        for stem in WEIGHTS_STEMS:
            single = component_path / f"{stem}{dot}.safetensors"
            index = component_path / f"{stem}.safetensors.index{dot}.json"
            if single.is_file():
                found.append(WeightFiles(variant, (single,)))
                break
            if index.is_file():
                found.append(
                    WeightFiles(
                        variant, tuple(component_path / shard for shard in shard_names(read_json(index), index)), index
                    )
                )
                break
    return found


def shard_names(index: Mapping[str, Any], index_path: Path) -> list[str]:
    """The file names in a weights index, sorted.

    Raises:
        RefusedError: a name that is not a plain `.safetensors` file name.
        InputFileError: there is no weight map.
    """
    table = index.get("weight_map")
    if not isinstance(table, dict) or not table:
        raise InputFileError(f"{index_path} has no weight map.", "Download the model again.")
    names = sorted({str(value) for value in table.values()})
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise RefusedError(
                f"{index_path} names {name!r}, which is no safetensors file beside it.", "Use another copy."
            )
    return names


def missing_files(folder: Path) -> list[str]:
    """What a model folder lacks to be loaded, as paths relative to it; empty when it is complete by name.

    Raises:
        ModelUnavailableError, InputFileError, RefusedError: as `read_index` and `find_weights`.
    """
    missing = []
    for name, _, class_name in iter_components(read_model_index(folder)):
        place = component_folder(folder, name, class_name)
        if not place.is_dir() or not any(place.iterdir()):
            missing.append(f"{name}/")
        elif needs_weights(class_name):
            offers = find_weights(place)
            complete = [w for w in offers if all(file.is_file() for file in w.files)]
            if not (place / "config.json").is_file():
                missing.append(f"{name}/config.json")
            if not offers:
                missing.append(f"{name}/*.safetensors")
            elif not complete:
                missing += [f"{name}/{f.name}" for f in offers[0].files if not f.is_file()]
    return missing


def denoiser_name(folder: Path) -> str:
    """The denoiser's name: `unet` or `transformer`."""
    return "transformer" if (folder / "transformer").is_dir() else "unet"


def select_weights(folder: Path) -> tuple[str | None, dict[str, WeightFiles]]:
    """The variant to load with, and each component's weights as diffusers will choose them for it.

    Plain weights are preferred (they serve every dtype); when some component has fp16 only, the variant is "fp16",
    and diffusers then takes fp16 wherever it exists.
    """
    offers = {
        name: [
            w
            for w in find_weights(component_folder(folder, name, class_name))
            if all(file.is_file() for file in w.files)
        ]
        for name, _, class_name in iter_components(read_model_index(folder))
        if needs_weights(class_name)
    }
    variant = "fp16" if any(found and found[0].variant for found in offers.values()) else None
    return variant, {name: found[-1 if variant else 0] for name, found in offers.items() if found}


def read_scheduler_config(path: Path) -> dict[str, Any]:
    """The configuration of a model folder's scheduler; empty where it has none.

    Raises:
        InputFileError: it does not parse.
    """
    index = read_model_index(path)
    names = {name: class_name for name, _, class_name in iter_components(index)}
    return read_optional_json(component_folder(path, "scheduler", names.get("scheduler", "")) / "scheduler_config.json")
