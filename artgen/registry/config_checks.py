"""Check the configurations of a model: artgen supports the pipeline, and no part needs code of the model."""

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, RefusedError
from artgen.registry import diffusers_folder, model_configs, pipelines
from artgen.registry.hub.select_files import TOKENIZER_CLASSES, VOCABULARY_FILES

COMPONENT_LIBRARIES = ("diffusers", "transformers")
"""Libraries of the components' classes, besides the modules of diffusers' pipelines."""
_CODE_HINT = "artgen does not run code of a model. Use another copy of the model."
PROCESSOR_PACKAGES = {"PixtralProcessor": "torchvision"}
"""Package that a class of transformers needs. `engine.loading.processors` replaces the classes of Qwen."""


def check_index(name: str, index: Mapping[str, Any]) -> None:
    """Check the `model_index.json` of a model: artgen supports its pipeline, and all classes are in the libraries.

    Args:
        name: name of the model.
        index: content of the file.

    Raises:
        RefusedError: the pipeline or a component requires code of the model.
        ModelUnavailableError: artgen does not support the pipeline, a package is not installed, or the model has no
            scheduler.
    """
    pipelines.require_entry(name, check_classes(name, index), index)
    _check_packages(name, index)
    if index.get("scheduler") in (None, [None, None]):
        raise ModelUnavailableError(
            f"Cannot use '{name}': its model_index.json has no scheduler.",
            "Use a complete copy, or copy the folder 'scheduler' of its base model and add the line "
            '"scheduler": ["diffusers", CLASS] to model_index.json.',
        )


def check_classes(name: str, index: Mapping[str, Any]) -> str:
    """Return the class of the pipeline in a `model_index.json`; check that all classes are in the libraries.

    Raises:
        RefusedError: the pipeline or a component requires code of the model.
    """
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or not pipeline.isidentifier():
        raise RefusedError(f"Cannot load '{name}': it requires its own code for the pipeline.", _CODE_HINT)
    for component, library, class_name in diffusers_folder.iter_components(index):
        if library not in {*COMPONENT_LIBRARIES, *_pipeline_modules()}:
            source = f"{component} ({class_name}) from '{library}'"
            raise RefusedError(f"Cannot load '{name}': it requires its own code for {source}.", _CODE_HINT)
    return pipeline


def _check_packages(name: str, index: Mapping[str, Any]) -> None:
    """Check that the packages are installed that processors of language models need.

    Raises:
        ModelUnavailableError: the package is missing.
    """
    for component, _, class_name in diffusers_folder.iter_components(index):
        package = PROCESSOR_PACKAGES.get(class_name)
        if package is not None and importlib.util.find_spec(package) is None:
            raise ModelUnavailableError(
                f"Cannot use '{name}': its {component} ({class_name}) needs the package {package}.",
                f"Install the build of {package} for your torch: https://pytorch.org/get-started/locally/",
            )


@cache
def _pipeline_modules() -> frozenset[str]:
    """Return the modules of diffusers' pipelines, which also contain classes of components. Does not import them."""
    spec = importlib.util.find_spec("diffusers")
    folder = Path(spec.origin).parent / "pipelines" if spec and spec.origin else Path()
    return frozenset(
        path.parent.name for pattern in ("*", "deprecated/*") for path in folder.glob(f"{pattern}/__init__.py")
    )


def check_configs(folder: Path, *, name: str = "", is_complete: bool = True) -> None:
    """Check all configurations of a model folder, and reject Python code, which the libraries would import.

    Args:
        folder: folder of the model.
        name: name of the model; the name of the folder by default.
        is_complete: whether the folder contains all files, not only the configurations.

    Raises:
        RefusedError: a pipeline class or a component is defined in the model, or a configuration requires code.
        ModelUnavailableError: artgen does not support the pipeline, or a value of a configuration has the wrong type
            or is out of bounds.
        InputFileError: a configuration is not valid JSON, or is too large.
    """
    index = diffusers_folder.read_model_index(folder)
    check_index(name or folder.name, index)
    check_components(name or folder.name, folder, index, is_complete=is_complete)


def check_components(name: str, folder: Path, index: Mapping[str, Any], *, is_complete: bool = True) -> None:
    """Check the configurations of the components of a model folder; see `check_configs`.

    Args:
        name: name of the model.
        folder: folder of the model.
        index: content of `model_index.json`.
        is_complete: whether the folder contains all files, not only the configurations.
    """
    for component, _, class_name in diffusers_folder.iter_components(index):
        component_path = diffusers_folder.component_folder(folder, component, class_name)
        if not component_path.is_dir():
            continue
        model_configs.check_folder(component_path, model_configs.max_vocabulary_bytes(class_name))
        is_tokenizer = is_complete and class_name.endswith(TOKENIZER_CLASSES)
        if is_tokenizer and not any((component_path / file).is_file() for file in VOCABULARY_FILES):
            raise ModelUnavailableError(
                f"Cannot load '{name}': its {component} has no vocabulary.",
                "Use another copy of the model.",
            )
