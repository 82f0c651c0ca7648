"""Load the components of a model folder into a diffusers pipeline.

Components of a folder are loaded one by one to get their loading reports: diffusers and transformers initialize a
tensor that a file lacks with random numbers and only log it.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import transformers
from accelerate import init_empty_weights
from diffusers.utils import deprecation_utils

from artgen.engine.loading import weights
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import first_line
from artgen.engine.loading.processors import usable_class
from artgen.engine.loading.quantize import quantization_config
from artgen.errors import ArtgenError, ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, pipelines
from artgen.registry.config_checks import COMPONENT_LIBRARIES
from artgen.registry.diffusers_folder import denoiser_name, find_weights, read_model_index

# transformers derives these tensors. Files of older versions lack or contain them.
DERIVED_TENSOR_SUFFIXES = ("position_ids",)

Pipeline = Any
"""A diffusers pipeline of any class."""

ComponentFilter = Callable[[str], bool]
"""Function that returns whether to load the component with a name."""


def load_folder_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    safety_checker: bool,
    listener: Listener,
    component_filter: ComponentFilter,
) -> Pipeline:
    """Load the pipeline of a model folder with the components that the filter selects.

    Raises:
        ModelUnavailableError: tensors are missing, or a class of the model is missing in its library.
    """
    index = read_model_index(model.path, model.omitted)
    components: dict[str, Any] = {}
    for name, entry in index.items():
        if isinstance(entry, list) and not any(entry):
            components[name] = None  # An optional component that this model does not have.
            continue
        cls = module_class(entry)
        if cls is None and isinstance(entry, list) and entry[:1] == ["transformers"]:
            # diffusers does not find a tokenizer or an image processor by every name that transformers has written.
            components[name] = find_class(*entry).from_pretrained(model.path / name, local_files_only=True)
        elif cls is not None and not component_filter(name):
            components[name] = placeholder(cls, model.path / name)
        elif cls is not None and (safety_checker or name != "safety_checker"):
            listener(Loading(name))
            components[name] = load_component(cls, model, name, device_config)
    if not safety_checker and "safety_checker" in index:
        components.update(safety_checker=None, requires_safety_checker=False)
    if not (model.path / "model_index.json").is_file():  # the oldest layout of unconditional models
        cls = find_class("diffusers", index["_class_name"], diffusers.DiffusionPipeline)
        scheduler = find_class("diffusers", index["scheduler"][1], diffusers.SchedulerMixin)
        return cls(**components, scheduler=scheduler.from_pretrained(model.path, local_files_only=True))
    return diffusers.DiffusionPipeline.from_pretrained(
        model.path, dtype=device_config.torch_dtype, local_files_only=True, use_safetensors=True, **components
    )


def denoiser_of(pipe: Pipeline) -> Any:
    """Return the component of a pipeline that predicts the noise."""
    entry = pipelines.find_entry(type(pipe).__name__)
    return getattr(pipe, entry.denoiser) if entry else getattr(pipe, "unet", None) or pipe.transformer


def placeholder(cls: Any, folder: Path) -> Any:
    """Return the replacement of a component that is not loaded: None, or a module without data for SD3's transformer.

    The Stable Diffusion 3 pipeline reads the width of the transformer if T5 is missing.
    """
    if cls is not diffusers.SD3Transformer2DModel:
        return None
    with init_empty_weights():
        return cls.from_config(cls.load_config(folder))


def module_class(entry: object) -> Any:
    """Return the class of a component with weights; None for tokenizers, schedulers and missing components."""
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(each, str) for each in entry):
        return None
    cls = find_class(*entry)
    return cls if issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel) else None


def find_class(library: str, class_name: str, base: type = object) -> Any:
    """Return a class that a configuration names, as diffusers resolves the name.

    Args:
        library: `diffusers`, `transformers`, or a module of diffusers' pipelines such as `kolors`.
        class_name: name of the class; former names of transformers' classes are replaced by the current ones.
        base: required base class.

    Raises:
        ModelUnavailableError: the installed library does not have the class, or the class needs another package.
    """
    names = [class_name]
    if library == "transformers":
        # transformers 5 without torchvision writes the class name with "Pil", and reads the name without it.
        unsuffixed = class_name.removesuffix("Pil")
        names += [name for name in (deprecation_utils._maybe_remap_transformers_class(class_name), unsuffixed) if name]
    module = _module(library)
    found = [each for name in names if (each := getattr(module, name, None)) is not None]
    cls = next((each for each in found if not _missing_packages(each)), found[0] if found else None)
    if missing := _missing_packages(cls):
        raise ModelUnavailableError(
            f"Cannot load the model: its class {class_name} needs the package {missing[0]}, which is not installed.",
            f"pip install {missing[0]}, or change the class to {class_name.removesuffix('Fast')} in model_index.json."
            if class_name.endswith("Fast")
            else f"pip install {missing[0]}",
        )
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise ModelUnavailableError(
            f"Cannot load the model: the installed {library} does not have the class {class_name}.",
            f"pip install --upgrade {library if library in COMPONENT_LIBRARIES else 'diffusers'}",
        )
    return usable_class(cls)


def _missing_packages(cls: Any) -> list[str]:
    """Return the packages that a placeholder of a class needs; empty for a class that can be used."""
    return [name for name in getattr(cls, "_backends", ()) if not importlib.util.find_spec(name)]


def _module(library: str) -> Any:
    """Return a library, or a module of diffusers' pipelines; None if it does not exist or needs another package."""
    if library in COMPONENT_LIBRARIES:
        return importlib.import_module(library)
    for package in ("diffusers.pipelines", "diffusers.pipelines.deprecated"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(f"{package}.{library}")
    return None


def missing_tensors_error(model: ResolvedModel, name: str, missing: Sequence[str]) -> ModelUnavailableError:
    """Return the error to raise for a component without some of its tensors."""
    return ModelUnavailableError(
        f"Cannot load the {name} of '{model.name}': it lacks {len(missing)} of its tensors, first {missing[0]}.",
        f"artgen models pull --force {model.name}" if model.revision else "Use another copy of the model.",
    )


@contextlib.contextmanager
def wrap_build_errors(model: ResolvedModel, name: str) -> Iterator[None]:
    """Convert all errors of the libraries: a constructor can raise any exception for an invalid configuration."""
    try:
        yield
    except (ArtgenError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # An error in the Rust code of tokenizers is a PanicException, which is not an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelUnavailableError(
            f"Cannot load the {name} of '{model.name}': {first_line(error).rstrip('.')}.",
            "Use another copy of the model.",
        ) from error


def load_component(cls: Any, model: ResolvedModel, name: str, device_config: DeviceConfig) -> Any:
    """Load a component of class `cls` from its subfolder, or from the model folder in the oldest layout.

    Raises:
        ModelUnavailableError: tensors are missing.
    """
    if name == "vae" and model.vae is not None and model.vae.is_file:
        return load_vae_file(model, device_config)
    subfolder = model.vae.path if name == "vae" and model.vae else model.path / name
    folder = subfolder if subfolder.is_dir() else model.path
    variant = next((found.variant for found in find_weights(folder) if found.is_complete), None)
    is_denoiser = name == denoiser_name(model.path)
    quantization = quantization_config(device_config) if is_denoiser else None
    fp8 = device_config.quantize == "fp8" and is_denoiser
    if quantization is None:
        module, missing_keys = weights.load_converted_component(cls, folder, variant, device_config.torch_dtype, fp8)
    else:
        # The loader of diffusers keeps the complete file in memory, in addition to the quantized weights.
        is_int8 = device_config.quantize == "int8"
        dtype = device_config.torch_dtype
        module = weights.load_int8_component(cls, folder, variant, dtype, quantization) if is_int8 else None
        missing_keys = ()
    if module is None:
        module, report = cls.from_pretrained(
            folder,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=device_config.torch_dtype,
            **({"quantization_config": quantization} if quantization else {}),
        )
        missing_keys = report["missing_keys"]
    missing = sorted(key for key in missing_keys if not key.endswith(DERIVED_TENSOR_SUFFIXES))
    if missing:
        raise missing_tensors_error(model, name, missing)
    return module


def load_vae_file(model: ResolvedModel, device_config: DeviceConfig) -> Any:
    """Load the single file of `--vae`. Its configuration is the one of the model's VAE, as in diffusers."""
    if model.vae is None:
        return None
    return diffusers.AutoencoderKL.from_single_file(
        str(model.vae.path),
        config=str(model.config_folder),
        subfolder="vae",
        dtype=device_config.torch_dtype,
        local_files_only=True,
    )
