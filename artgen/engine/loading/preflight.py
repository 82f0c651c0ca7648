"""Check that a model can be loaded, without reading its weights.

Each component is built on the meta device, which allocates no memory, and compared with the names and shapes in the
headers of its weights. diffusers converts the tensors of a single file, also on the meta device. The scheduler and the
tokenizers are small and are loaded. A dry run and a real run call `check_loadable`, so that both report the same errors
before weights are read.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights

from artgen.engine.loading import components, single_files
from artgen.engine.loading.oom import first_line
from artgen.errors import ArtgenError, ModelUnavailableError
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
CORE_COMPONENTS = frozenset({"unet", "transformer", "vae", "scheduler", "tokenizer", "text_encoder"})
"""Components that a pipeline needs if its constructor takes them and does not declare them as optional. Others, such as
the T5 encoder of Stable Diffusion 3, can be null."""

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
        with _wrap_build_errors(model, "vae"):
            _build_vae(model, model.vae)
    for name, library, class_name in iter_components(read_model_index(contents.config, model.omitted)):
        if name == "vae" and model.vae is not None:
            continue
        cls = components.find_class(library, class_name)
        if not single_files.is_module_class(cls):
            continue
        if name not in contents.parts:
            files = base_weights[name].files if name in base_weights else ()
            with _wrap_build_errors(model, name):
                _build_module(model, name, cls, contents.config / name, _shapes(files))
            continue
        try:
            with _wrap_build_errors(model, name):
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
        with _wrap_build_errors(model, name):
            if name == "vae" and model.vae is not None:
                parts[name] = _build_vae(model, model.vae)
            elif single_files.is_module_class(cls):
                files = weights[name].files if name in weights else ()
                parts[name] = _build_module(model, name, cls, folder, _shapes(files))
            else:
                parts[name] = _load_part(cls, folder)
    _check_pipeline(model, index, parts)


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
        with _wrap_build_errors(model, name):
            if issubclass(part_class, diffusers.ModelMixin | transformers.PreTrainedModel):
                _build_empty(part_class, component_folder(model.path, name, class_name))
            elif issubclass(part_class, diffusers.SchedulerMixin):
                _load_part(part_class, component_folder(model.path, name, class_name))
    parts: dict[str, Any] = {name: None for name, value in index.items() if value == [None, None]}
    _check_component_names(model, cls, {**parts, **dict.fromkeys(names, True)})


def _build_empty(cls: Any, folder: Path) -> Any:
    """Return a module on the meta device."""
    if issubclass(cls, transformers.PreTrainedModel):
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


def _check_pipeline(model: ResolvedModel, index: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Check that the pipeline accepts the components, and that the components fit each other."""
    class_name = index["_class_name"]
    cls = components.find_class("diffusers", class_name, diffusers.DiffusionPipeline)
    with _wrap_build_errors(model, "pipeline"):
        optional = _check_component_names(model, cls, parts)
        _check_types(model, cls, parts)
        _check_tokenizers(model, parts)
        settings = {name: value for name, value in index.items() if name in optional - parts.keys()}
        if parts.get("safety_checker", True) is None:
            settings["requires_safety_checker"] = False
        cls(**parts, **settings)


def _check_component_names(model: ResolvedModel, cls: Any, parts: Mapping[str, Any]) -> set[str]:
    """Check that the pipeline class accepts the components; return the names of its other arguments.

    Raises:
        ModelUnavailableError: a component is missing, or the class does not have it.
    """
    expected, optional = map(set, cls._get_signature_keys(cls))
    required = expected - set(cls._optional_components)
    absent = sorted(name for name in required if name not in parts or (name in CORE_COMPONENTS and parts[name] is None))
    if absent:
        raise ModelUnavailableError(
            f"Cannot load '{model.name}': {cls.__name__} needs a {absent[0]}, and model_index.json has none.",
            "Use another copy of the model.",
        )
    unknown = sorted(parts.keys() - expected - optional)
    if unknown:
        raise ModelUnavailableError(
            f"Cannot load '{model.name}': {cls.__name__} has no component {unknown[0]}.",
            "Use another copy of the model.",
        )
    return optional


def _check_types(model: ResolvedModel, cls: Any, parts: Mapping[str, Any]) -> None:
    """Check that each component is of one of the classes that the pipeline declares."""
    for name, allowed in cls._get_signature_types().items():
        part = parts.get(name)
        classes = tuple(each for each in allowed if isinstance(each, type))
        is_module = isinstance(part, torch.nn.Module)
        if is_module and classes and not any(issubclass(each, torch.nn.Module) for each in classes):
            raise ModelUnavailableError(
                f"Cannot load '{model.name}': its {name} is a {type(part).__name__}, and {cls.__name__} needs a "
                f"{classes[0].__name__}.",
                "Use another copy of the model.",
            )


def _check_tokenizers(model: ResolvedModel, parts: Mapping[str, Any]) -> None:
    """Check that each text encoder has an embedding for all tokens and positions of its tokenizer."""
    for number in ("", "_2", "_3"):
        tokenizer, encoder = parts.get(f"tokenizer{number}"), parts.get(f"text_encoder{number}")
        if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase) or encoder is None:
            continue
        config = getattr(encoder.config, "text_config", encoder.config)
        if len(tokenizer) > config.vocab_size:
            raise ModelUnavailableError(
                f"Cannot load '{model.name}': its tokenizer{number} has {len(tokenizer):,} tokens, and its "
                f"text_encoder{number} has {config.vocab_size:,}.",
                "Use another copy of the model.",
            )
        needs_end = "Bert" not in type(encoder).__name__
        if (needs_end and getattr(tokenizer, "eos_token_id", None) is None) or tokenizer.pad_token_id is None:
            raise ModelUnavailableError(
                f"Cannot load '{model.name}': its tokenizer{number} has no end token or no padding token.",
                "Use another copy of the model.",
            )
        if "CLIP" in type(encoder).__name__ and tokenizer.model_max_length > config.max_position_embeddings:
            raise ModelUnavailableError(
                f"Cannot load '{model.name}': its tokenizer{number} returns {tokenizer.model_max_length:,} tokens, and "
                f"its text_encoder{number} accepts {config.max_position_embeddings:,}.",
                "Use another copy of the model.",
            )


@contextlib.contextmanager
def _wrap_build_errors(model: ResolvedModel, name: str) -> Iterator[None]:
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
