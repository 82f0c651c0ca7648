"""Read model folders in diffusers' layout without diffusers: `model_index.json`, configurations, weight files."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError, RefusedError
from artgen.registry import pipelines
from artgen.registry.hub.explain import not_a_model_folder_error
from artgen.registry.hub.select_files import LOADABLE_VARIANTS, NO_WEIGHTS_CLASSES, omit_components
from artgen.registry.model_configs import read_config

WEIGHTS_STEMS = ("diffusion_pytorch_model", "model")
MODEL_FILE_SUFFIXES = {".json", ".jinja", ".model", ".safetensors", ".txt"}
_REPAIR_HINT = "Download the model again."


@dataclass(frozen=True)
class WeightFiles:
    """List the weight files of one component in one variant.

    Attributes:
        variant: "fp16", "bf16" or None.
        files: in loading order.
        index: the index of sharded weights, else None.
    """

    variant: str | None
    files: tuple[Path, ...]
    index: Path | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether all files exist."""
        return all(file.is_file() for file in self.files)


def read_optional_config(path: Path) -> dict[str, Any]:
    """Read a JSON object like `read_config`; return an empty object if the file does not exist."""
    return read_config(path) if path.is_file() else {}


def read_model_index(folder: Path, omitted: Collection[str] = ()) -> dict[str, Any]:
    """Read the `model_index.json` of a folder; create its content for a folder with only an unconditional UNet.

    Args:
        folder: model folder.
        omitted: components that are not used. They are absent in the result, as `[null, null]`.

    Raises:
        ModelUnavailableError: the file does not exist.
        InputFileError: the file is not a JSON object.
    """
    path = folder / "model_index.json"
    if not path.is_file() and read_optional_config(folder / "config.json").get("_class_name") == "UNet2DModel":
        scheduler = read_optional_config(folder / "scheduler_config.json").get("_class_name", "DDPMScheduler")
        components = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler]}
        return {"_class_name": "DDPMPipeline", **components}
    if not path.is_file():
        raise not_a_model_folder_error(folder)
    return omit_components(read_config(path), omitted)


def iter_components(index: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (component, library, class) of every component of a model; skip absent components and settings.

    Raises:
        RefusedError: a component's name is not the name of a folder inside the model's folder.
        ModelUnavailableError: a component is not given as [library, class] or [null, null].
    """
    for name, value in index.items():
        is_setting = not isinstance(value, list) or (bool(value) and all(type(x) in (int, float) for x in value))
        is_setting = is_setting or (len(value) != 2 and not any(isinstance(x, str) for x in value))
        if name.startswith("_") or is_setting or value == [None, None]:
            continue
        if len(value) != 2 or not all(isinstance(text, str) and text.isidentifier() for text in value):
            raise ModelUnavailableError(
                f"Cannot load the model: model_index.json has the component '{name[:60]}' without a library and a "
                "class.",
                "Use another copy of the model.",
            )
        if PurePosixPath(name).name != name or name in (".", ".."):
            raise RefusedError(
                f"model_index.json contains the component {name!r}, which is not the name of a folder.",
                "Use another copy of the model.",
            )
        yield name, value[0], value[1]


def component_folder(folder: Path, component: str, class_name: str) -> Path:
    """Return the folder of a component.

    In the oldest layout (google/ddpm-*), this is the model's folder. diffusers searches there too if the component has
    no folder.
    """
    config = "config.json" if needs_weights(class_name) else "scheduler_config.json"
    is_old_layout = not (folder / component).is_dir() and class_name.startswith(("UNet", "DDPM", "DDIM", "PNDM"))
    return folder if is_old_layout and (folder / config).is_file() else folder / component


def needs_weights(class_name: str) -> bool:
    """Return whether a component of this class has weights."""
    return not class_name.endswith(NO_WEIGHTS_CLASSES)


def find_weights(component_path: Path) -> list[WeightFiles]:
    """Find the safetensors weights of a component, the default variant first; shards may be missing.

    Raises:
        RefusedError: an index contains files outside the folder.
        InputFileError: an index is not valid.
    """
    found: list[WeightFiles] = []
    for variant in (None, *LOADABLE_VARIANTS):
        suffix = f".{variant}" if variant else ""
        for stem in WEIGHTS_STEMS:
            single = component_path / f"{stem}{suffix}.safetensors"
            index = component_path / f"{stem}.safetensors.index{suffix}.json"
            if single.is_file():
                found.append(WeightFiles(variant, (single,)))
                break
            if index.is_file():
                shards = tuple(component_path / shard for shard in shard_names(read_config(index), index))
                found.append(WeightFiles(variant, shards, index))
                break
    return found


def shard_names(index: Mapping[str, Any], index_path: Path) -> list[str]:
    """Return the file names in a weights index, sorted.

    Raises:
        RefusedError: a name is not a `.safetensors` file name without a folder.
        InputFileError: the index has no weight map.
    """
    table = index.get("weight_map")
    if not isinstance(table, dict) or not table:
        raise InputFileError(f"Cannot read '{index_path}': it has no weight map.", _REPAIR_HINT)
    names = sorted({str(value) for value in table.values()})
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise RefusedError(
                f"'{index_path}' contains {name!r}, which is not the name of a safetensors file in its folder.",
                "Use another copy of the model.",
            )
    return names


def model_files(folder: Path, omitted: Collection[str] = ()) -> list[Path]:
    """Return the configurations, tokenizer files and weights of a model folder and its used components, sorted."""
    index = read_model_index(folder, omitted)
    components = {component_folder(folder, name, cls) for name, _, cls in iter_components(index)}
    files = [file for path in {folder, *components} if path.is_dir() for file in path.iterdir()]
    return sorted(file for file in files if file.suffix in MODEL_FILE_SUFFIXES and file.is_file())


def missing_files(folder: Path, omitted: Collection[str] = ()) -> list[str]:
    """Return the missing files of a model folder as relative paths; empty if all required names exist.

    Omitted components need no files.

    Raises:
        ModelUnavailableError, InputFileError, RefusedError: see `read_model_index` and `find_weights`.
    """
    missing = []
    for name, _, class_name in iter_components(read_model_index(folder, omitted)):
        component_path = component_folder(folder, name, class_name)
        if not component_path.is_dir() or not any(component_path.iterdir()):
            missing.append(f"{name}/")
        elif needs_weights(class_name):
            weights = find_weights(component_path)
            if not (component_path / "config.json").is_file():
                missing.append(f"{name}/config.json")
            if not weights:
                missing.append(f"{name}/*.safetensors")
            elif not any(found.is_complete for found in weights):
                missing += [f"{name}/{file.name}" for file in weights[0].files if not file.is_file()]
    return missing


def denoiser_name(folder: Path) -> str:
    """Return the component of a model folder that predicts the noise, such as `unet` or `transformer`."""
    entry = pipelines.find_entry(str(read_model_index(folder).get("_class_name", "")))
    return entry.denoiser if entry else "transformer" if (folder / "transformer").is_dir() else "unet"


def select_weights(folder: Path, omitted: Collection[str] = ()) -> tuple[str | None, dict[str, WeightFiles]]:
    """Return the variant to load, and the weights of each used component that diffusers selects for this variant.

    The default variant is preferred because it is valid for every dtype. If a component has only fp16 (or bf16)
    weights, this is the variant, and diffusers then uses this variant of all components that have it.
    """
    found = {
        name: [weights for weights in find_weights(component_folder(folder, name, cls)) if weights.is_complete]
        for name, _, cls in iter_components(read_model_index(folder, omitted))
        if needs_weights(cls)
    }
    variant = next((weights[0].variant for weights in found.values() if weights and weights[0].variant), None)
    return variant, {
        name: next((each for each in weights if each.variant == variant), weights[0])
        for name, weights in found.items()
        if weights
    }


def read_scheduler_config(path: Path) -> dict[str, Any]:
    """Return the configuration of a model's scheduler; empty if the model has none.

    Raises:
        InputFileError: the file is not a JSON object.
    """
    classes = {name: class_name for name, _, class_name in iter_components(read_model_index(path))}
    folder = component_folder(path, "scheduler", classes.get("scheduler", ""))
    return read_optional_config(folder / "scheduler_config.json")
