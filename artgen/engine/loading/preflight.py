"""Check that a model can be loaded, without reading its weights.

Each component is built on the meta device, which allocates no memory, and compared with the names and shapes in the
headers of its weights. diffusers converts the tensors of a single file, also on the meta device. The scheduler and the
tokenizers are small and are loaded. A dry run and a real run call `check_loadable`, so that both report the same errors
before weights are read.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.quantizers import DiffusersAutoQuantizer
from transformers.quantizers import AutoHfQuantizer

from artgen.engine.loading import component_fit, components, single_files
from artgen.errors import ModelUnavailableError
from artgen.registry import ResolvedModel, VaeFile
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.diffusers_folder import (
    component_folder,
    denoiser_name,
    iter_components,
    read_model_index,
    read_optional_config,
    select_weights,
)
from artgen.registry.model_configs import check_added_tokens, is_quantized
from artgen.registry.safetensors_header import read_header
from artgen.system.counts import counted

SAMPLE_PROMPT = "a fox \u2603"

Shapes = Mapping[str, tuple[int, ...]]
Mismatches = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
"""Name of a tensor -> found and expected shape."""

_checked: set[tuple[Any, ...]] = set()


def check_loadable(model: ResolvedModel, *, safety_checker: bool = False) -> None:
    """Check that the installed libraries can build all components of a model from its files.

    `pipeline_cache.check_loadable` silences the libraries and calls this function.

    Bundled models are not checked. A result is cached until a file changes.

    Args:
        model: model that passed `registry.check_model_files`.
        safety_checker: whether the safety checker is used.

    Raises:
        ModelUnavailableError: a class does not exist, a configuration is not valid, tensors are missing or have other
            shapes, or the components do not fit each other.
    """
    if model.path.is_relative_to(ASSETS_FOLDER):
        return
    key = (model.load_key, safety_checker)
    if key not in _checked:
        if model.remote is not None and not model.is_file:
            _check_configurations(model)
        elif model.remote is not None:
            return  # the configurations of the other components were checked when the file was described
        elif model.is_file:
            _check_single_file(model)
        else:
            _check_folder(model, safety_checker)
        _checked.add(key)


def _check_single_file(model: ResolvedModel) -> None:
    """Convert the tensors of a single file on the meta device and compare them with its architecture."""
    contents = single_files.single_file_of(model)
    base_weights, denoiser = contents.base_weights(), denoiser_name(contents.config)
    if model.vae is not None:
        with components.wrap_build_errors(model, "vae"):
            _build_vae(model, model.vae)
    for name, library, class_name in iter_components(read_model_index(contents.config, model.omitted)):
        if name == "vae" and model.vae is not None:
            continue
        cls = components.find_class(library, class_name)
        if not single_files.is_module_class(cls):
            continue
        if name not in contents.parts:
            files = base_weights[name].files if name in base_weights else ()
            with components.wrap_build_errors(model, name):
                _build_module(model, name, cls, contents.config / name, _shapes(files))
            continue
        try:
            with components.wrap_build_errors(model, name):
                tensors = single_files.meta_tensors(model, name)
                if name == denoiser and contents.layout == "diffusers":
                    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
                    module = _build_module(model, name, cls, contents.config / name, shapes)
                    _reject_unknown(model, name, tensors.keys() - module.state_dict().keys())
                    continue
                try:
                    with torch.device("meta"):
                        _convert_component(model, name, class_name, library, tensors)
                except (NotImplementedError, RuntimeError):  # the constructor computes with values
                    _convert_component(model, name, class_name, library, tensors)
        except ModelUnavailableError as error:
            if isinstance(error.__cause__, KeyError):  # diffusers did not find a tensor to convert
                raise components.missing_tensors_error(model, name, [str(error.__cause__.args[0])]) from error
            raise


def _reject_unknown(model: ResolvedModel, name: str, unknown: Collection[str]) -> None:
    """Reject tensors without a place in the denoiser, such as layers of a larger model."""
    if unknown:
        raise ModelUnavailableError(
            f"Cannot load the {name} of '{model.name}': it has {counted(len(unknown), 'tensor')} that its "
            f"configuration does not have, first {min(unknown)}.",
            "Use a model of the same size for the missing components.",
        )


def _convert_component(
    model: ResolvedModel, name: str, class_name: str, library: str, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Run the conversion of `from_single_file`. Compare the converted tensors instead of loading them."""

    def compare(module: Any, state_dict: Mapping[str, Any], **_: Any) -> None:
        expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        missing = sorted(key for key, _ in module.named_parameters() if key not in state_dict)
        _reject_tensors(model, name, missing, _mismatched(expected, state_dict))
        if name == "transformer":
            _reject_unknown(model, name, state_dict.keys() - expected.keys())

    with single_files.replace_tensor_loader(compare):
        single_files.convert_part(model, library, class_name, name, tensors, device="meta")


def _check_folder(model: ResolvedModel, safety_checker: bool) -> None:
    index = read_model_index(model.path, model.omitted)
    weights = select_weights(model.path, model.omitted)[1]
    parts: dict[str, Any] = {name: None for name, value in index.items() if value == [None, None]}
    for name, library, class_name in iter_components(index):
        if name == "safety_checker" and not safety_checker:
            parts[name] = None
            continue
        folder = component_folder(model.path, name, class_name)
        cls = components.find_class(library, class_name)
        with components.wrap_build_errors(model, name):
            if name == "vae" and model.vae is not None:
                parts[name] = _build_vae(model, model.vae)
            elif single_files.is_module_class(cls):
                files = weights[name].files if name in weights else ()
                parts[name] = _build_module(model, name, cls, folder, _shapes(files))
            else:
                parts[name] = _load_part(cls, folder)
    component_fit.check_pipeline(model, index, parts)


def _shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    return {key: shape for file in files for key, (_, shape) in read_header(file).tensors.items()}


def _build_vae(model: ResolvedModel, vae: VaeFile) -> Any:
    """Return the VAE of `--vae` on the meta device. Compare its tensors with the shapes of its weights."""
    if not vae.is_file:
        return _build_module(model, "vae", diffusers.AutoencoderKL, vae.path, _shapes(vae.weights))
    folder = model.config_folder
    tensors = {key: torch.empty(shape, device="meta") for key, shape in _shapes(vae.weights).items()}
    _convert_component(model, "vae", "AutoencoderKL", "diffusers", tensors)
    return diffusers.AutoencoderKL.from_config(diffusers.AutoencoderKL.load_config(folder / "vae"))


def _check_configurations(model: ResolvedModel) -> None:
    """Check the classes and the configurations of a model whose weights and vocabularies are not on the disk."""
    index = read_model_index(model.path, model.omitted)
    cls = components.find_class("diffusers", str(index["_class_name"]), diffusers.DiffusionPipeline)
    names = set()
    for name, library, class_name in iter_components(index):
        part_class = components.find_class(library, class_name)
        names.add(name)
        with components.wrap_build_errors(model, name):
            if issubclass(part_class, diffusers.ModelMixin | transformers.PreTrainedModel):
                _build_empty(part_class, component_folder(model.path, name, class_name))
            elif issubclass(part_class, diffusers.SchedulerMixin):
                _load_part(part_class, component_folder(model.path, name, class_name))
    parts: dict[str, Any] = {name: None for name, value in index.items() if value == [None, None]}
    component_fit.check_component_names(model, cls, {**parts, **dict.fromkeys(names, True)})


def _build_empty(cls: Any, folder: Path) -> Any:
    """Return a module on the meta device. Create its quantization, if it has one, without using it."""
    is_transformers = issubclass(cls, transformers.PreTrainedModel)
    if quantization := read_optional_config(folder / "config.json").get("quantization_config"):
        (AutoHfQuantizer if is_transformers else DiffusersAutoQuantizer).from_config(quantization, pre_quantized=True)
    if is_transformers:
        with init_empty_weights():
            return cls(cls.config_class.from_pretrained(folder, local_files_only=True))
    config = cls.load_config(folder, local_files_only=True)
    try:
        with torch.device("meta"):
            return cls.from_config(config)
    except (NotImplementedError, RuntimeError):  # the constructor computes with values
        with init_empty_weights():
            return cls.from_config(config)


def _load_part(cls: Any, folder: Path) -> Any:
    """Return a scheduler, a tokenizer or another component without weights."""
    is_tokenizer = issubclass(cls, transformers.PreTrainedTokenizerBase)
    if is_tokenizer:
        check_added_tokens(folder, cls.__name__)
    part = cls.from_pretrained(folder, local_files_only=True)
    if is_tokenizer:
        part(SAMPLE_PROMPT)
    return part


def _build_module(model: ResolvedModel, name: str, cls: Any, folder: Path, shapes: Shapes) -> Any:
    """Return a component on the meta device. Compare its tensors with the shapes of its weights.

    Quantized weights are packed, so they are not compared.
    """
    if is_quantized(read_optional_config(folder / "config.json")):
        return _build_empty(cls, folder)
    state_dict = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    if issubclass(cls, transformers.PreTrainedModel):
        module, report = cls.from_pretrained(
            None,
            config=cls.config_class.from_pretrained(folder, local_files_only=True),
            state_dict=state_dict,
            device_map="meta",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        missing = sorted(key for key in report["missing_keys"] if not key.endswith(components.DERIVED_TENSOR_SUFFIXES))
        mismatched = {key: (tuple(found), tuple(expected)) for key, found, expected in report["mismatched_keys"]}
    else:
        module = _build_empty(cls, folder)
        module._fix_state_dict_keys_on_load(state_dict)
        expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        missing = sorted(expected.keys() - state_dict.keys())
        mismatched = _mismatched(expected, state_dict)
    _reject_tensors(model, name, missing, mismatched)
    return module


def _mismatched(expected: Shapes, state_dict: Mapping[str, Any]) -> Mismatches:
    """Return the tensors whose shapes differ."""
    return {
        key: (tuple(state_dict[key].shape), shape)
        for key, shape in expected.items()
        if key in state_dict and tuple(state_dict[key].shape) != shape
    }


def _reject_tensors(
    model: ResolvedModel,
    name: str,
    missing: list[str],
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    if missing:
        raise components.missing_tensors_error(model, name, missing)
    for key, (found, expected) in sorted(mismatched.items()):
        raise ModelUnavailableError(
            f"Cannot load the {name} of '{model.name}': {key} has the shape {_shape_text(found)}, and its "
            f"{'architecture' if model.is_file else 'config.json'} implies {_shape_text(expected)}.",
            "Use another copy of the model.",
        )


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
