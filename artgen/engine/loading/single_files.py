"""Load the components of a single checkpoint: from the file, and what it lacks from another model."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import diffusers
import torch
import transformers
from diffusers.loaders import single_file, single_file_utils
from safetensors.torch import load_file

from artgen.engine.loading import components, weights
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.quantize import quantization_config
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, SingleFile
from artgen.registry.checkpoint_content import component_of, read_weights_header
from artgen.registry.denoiser_files import EMA_PREFIX, MARKERS, ORIGINAL_PREFIX, plain_names
from artgen.registry.diffusers_folder import denoiser_name, iter_components, read_model_index, select_weights
from artgen.registry.safetensors_header import read_header

T5_EMBEDDINGS = (
    "text_encoders.t5xxl.transformer.shared.weight",
    "text_encoders.t5xxl.transformer.encoder.embed_tokens.weight",
)
SDXL_CLIP_PREFIX = "conditioner.embedders.0.transformer."

# diffusers does not convert the guidance embedding of latent consistency models.
single_file_utils.DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"].setdefault(
    "time_embedding.cond_proj.weight", "time_embed.cond_proj.weight"
)


def load_single_file_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    listener: Listener,
    component_filter: components.ComponentFilter,
) -> components.Pipeline:
    """Load the pipeline of a single file, which passed `preflight.check_loadable`, with the selected components.

    Raises:
        ModelUnavailableError: tensors are missing.
    """
    listener(Loading(model.path.name))
    contents = single_file_of(model)
    loaded: dict[str, Any] = {}
    for name, library, class_name in iter_components(read_model_index(contents.config, model.omitted)):
        cls = components.module_class([library, class_name])
        if cls is None:
            continue
        if not component_filter(name):
            loaded[name] = components.placeholder(cls, contents.config / name)
        elif name == "vae" and model.vae is not None:
            listener(Loading(name))
            loaded[name] = components.load_component(cls, model, name, device_config)
        elif name in contents.parts:
            loaded[name] = _load_part(model, library, class_name, name, device_config)
        else:
            listener(Loading(name))
            loaded[name] = components.load_component(cls, base_model(model), name, device_config)
    return diffusers.DiffusionPipeline.from_pretrained(
        contents.config,
        dtype=device_config.torch_dtype,
        local_files_only=True,
        **loaded,
        **dict.fromkeys(model.omitted),
    )


def single_file_of(model: ResolvedModel) -> SingleFile:
    """Return the description of a single file."""
    if model.single_file is None:
        raise TypeError(f"{model.name} is not a single file")
    return model.single_file


def base_model(model: ResolvedModel) -> ResolvedModel:
    """Return the model folder that provides the components that a single file lacks."""
    base = single_file_of(model).base
    if base is None:
        raise TypeError(f"{model.name} lacks no component")
    return replace(model, path=base, is_file=False, single_file=None, variant=select_weights(base)[0])


def _load_part(model: ResolvedModel, library: str, class_name: str, name: str, device_config: DeviceConfig) -> Any:
    dtype = device_config.torch_dtype
    if single_file_of(model).format == "gguf":
        state_dict = _gguf_tensors(model)
        options = {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)}
    else:
        state_dict, options = _file_tensors(model, class_name, name, dtype), {}
        if name == denoiser_name(model.config_folder) and (quantization := quantization_config(device_config)):
            options = {"quantization_config": quantization}
    return convert_part(model, library, class_name, name, state_dict, torch_dtype=dtype, **options)


def convert_part(
    model: ResolvedModel, library: str, class_name: str, name: str, state_dict: Mapping[str, Any], **options: Any
) -> Any:
    """Build a component from tensors of a single file with the conversion of diffusers' `from_single_file`.

    Args:
        model: model whose configuration is used.
        library, class_name: class of the component.
        name: name of the component.
        state_dict: all tensors that belong to the component; see `part_names`.
        options: further arguments of `from_single_file`.
    """
    tensors = dict(state_dict)
    if any(key.startswith(SDXL_CLIP_PREFIX) for key in tensors):
        # diffusers detects the first text encoder of SDXL only beside the second one.
        tensors.setdefault(single_file_utils.CHECKPOINT_KEY_NAMES["open_clip_sdxl"], torch.empty(0, device="meta"))
    for name_in_file, other in (T5_EMBEDDINGS, T5_EMBEDDINGS[::-1]):  # one tensor with two names
        if name_in_file in tensors:
            tensors.setdefault(other, tensors[name_in_file])
    module = single_file.load_single_file_sub_model(
        library_name=library,
        class_name=class_name,
        name=name,
        checkpoint=tensors,
        pipelines=diffusers.pipelines,
        is_pipeline_module=hasattr(diffusers.pipelines, library),
        cached_model_config_path=str(model.config_folder),
        local_files_only=True,
        **options,
    )
    return module.eval() if isinstance(module, torch.nn.Module) else module


def part_names(model: ResolvedModel, name: str) -> dict[str, str]:
    """Return the tensors of a component: name in the file -> name that the conversion of diffusers expects.

    Args:
        model: single-file model.
        name: name of the component.
    """
    plain = plain_names(list(read_weights_header(model.path).tensors))
    if name.startswith("text_encoder") or name == "vae":
        entry = read_model_index(model.config_folder).get(name) or ("", "")
        part = "text_encoder_3" if str(entry[1]).startswith("T5") else name
        return {key: key for key in plain if component_of(key) == part}
    is_unet = name == "unet"
    found = {}
    for key, plain_key in plain.items():
        if component_of(key) or plain_key.startswith(EMA_PREFIX) or plain_key in MARKERS:
            continue
        bare = plain_key.removeprefix(ORIGINAL_PREFIX).removeprefix("diffusion_model.")
        is_original = bare.startswith(
            ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
        )
        found[key] = f"{ORIGINAL_PREFIX}{bare}" if is_unet and is_original else bare
    return found


def _file_tensors(model: ResolvedModel, class_name: str, name: str, dtype: torch.dtype) -> dict[str, Any]:
    """Read the tensors of a component. Tensors of another dtype are converted without mapping the whole file."""
    names = part_names(model, name)
    cls = getattr(diffusers, class_name, None)
    is_mapped = read_header(model.path).dtype == weights.SAFETENSORS_DTYPES[dtype]
    if is_mapped or cls is None or getattr(cls, "_keep_in_fp32_modules", None):
        tensors = load_file(model.path)
        return {new: tensors[old] for old, new in names.items()}
    converted = weights.load_converted((model.path,), dtype, tensor_filter=names.__contains__)
    return {names[old]: tensor for old, tensor in converted.items()}


def _gguf_tensors(model: ResolvedModel) -> dict[str, Any]:
    from diffusers.models.model_loading_utils import load_gguf_checkpoint

    denoiser = denoiser_name(single_file_of(model).config)
    names = part_names(model, denoiser)
    return {names[key]: tensor for key, tensor in load_gguf_checkpoint(str(model.path)).items() if key in names}


def meta_tensors(model: ResolvedModel, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a component on the meta device, with the names that the conversion expects."""
    tensors = read_weights_header(model.path).tensors
    return {new: torch.empty(tensors[old][1], device="meta") for old, new in part_names(model, name).items()}


@contextlib.contextmanager
def replace_tensor_loader(replacement: Callable[..., None]) -> Iterator[None]:
    """Replace the function that copies the converted tensors of a single file to a module."""
    from diffusers.loaders import single_file_model

    modules: tuple[Any, ...] = (single_file_model, single_file_utils)
    before = [module.load_model_dict_into_meta for module in modules]
    try:
        for module in modules:
            module.load_model_dict_into_meta = replacement
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.load_model_dict_into_meta = function


def is_module_class(cls: type) -> bool:
    """Return whether a class of a component has weights."""
    return issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel)
