"""Load weights in a dtype that differs from the dtype of their files, and cast weights to fp8.

safetensors maps a file into memory. The pages that were read belong to the process until the file is closed, which
diffusers and transformers do after a complete component is loaded. A component in bf16 from an fp32 file then takes
three times its size. This module opens the file again for each chunk, so that at most one chunk is mapped.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from accelerate.utils import set_module_tensor_to_device
from diffusers.models.modeling_utils import LegacyModelMixin
from diffusers.quantizers import DiffusersAutoQuantizer
from safetensors import safe_open

from artgen.registry.diffusers_folder import find_weights
from artgen.registry.safetensors_header import read_header
from artgen.system import process

CHUNK_BYTES = 16 << 20
"""Bytes of a chunk, after which the file is opened again; a single tensor can be larger."""

TRIM_BYTES = 128 << 20
"""Bytes of freed matrices after which unused heap memory is returned to the system."""

FP8 = torch.float8_e4m3fn

SAFETENSORS_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""Names of the dtypes in safetensors."""

KEEP_FP32_ATTRS = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
"""Class attributes with the names of the layers that remain in fp32."""

LoadedComponent = tuple[Any, Collection[str]]
"""Component, None if its library must load it, and the names of tensors that are missing in the files."""


def cast_to_fp8(module: Any, compute_dtype: torch.dtype) -> None:
    """Store the weights of a diffusers module in fp8 (e4m3) and cast the weights of each layer when it is called.

    As in diffusers, norms, position embeddings and the first and last layers keep their dtype. The image changes
    slightly.

    Args:
        module: module with weights in `compute_dtype`, in fp8, or on the meta device.
        compute_dtype: dtype of the computation.
    """
    module.enable_layerwise_casting(storage_dtype=FP8, compute_dtype=compute_dtype)


def load_converted_component(
    cls: Any, folder: Path, variant: str | None, dtype: torch.dtype, fp8: bool = False
) -> LoadedComponent:
    """Load a component whose files have another dtype. The result equals the result of its `from_pretrained`.

    Args:
        cls: class of diffusers or transformers.
        folder: folder with `config.json` and the weights.
        variant: variant of the weights, such as `fp16`; None for the weights without a variant.
        dtype: dtype of the loaded component.
        fp8: whether `cast_to_fp8` follows. The weights that it stores in fp8 are then loaded in fp8.

    Returns:
        The component and the names of its missing tensors. The component is None if the files already have the dtype,
        so that mapping them needs no extra memory, or if loading needs more than the assignment of tensors.

    Raises:
        InputFileError: a file is damaged.
    """
    files = next((found.files for found in find_weights(folder) if found.variant == variant), ())
    if not fp8 and all(read_header(file).dtype == SAFETENSORS_DTYPES[dtype] for file in files):
        return None, ()
    if issubclass(cls, transformers.PreTrainedModel):
        return _load_transformers_component(cls, folder, files, dtype)
    return _load_diffusers_component(cls, folder, files, dtype, fp8), ()


def load_converted(
    files: Sequence[Path],
    dtype: torch.dtype,
    keep_dtype_substrings: Collection[str] = (),
    tensor_filter: Callable[[str], bool] = lambda _: True,
    fp8_names: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """Load the tensors of safetensors files into CPU memory. No part of the files remains mapped.

    Args:
        files: safetensors files. If several files have a tensor, the last file is used.
        dtype: dtype for floating-point tensors; other tensors keep their dtype.
        keep_dtype_substrings: substrings of the names of tensors that keep their dtype.
        tensor_filter: function that returns whether to load the tensor with a name.
        fp8_names: names of the tensors to cast to fp8.
    """
    state_dict = {}
    for file in files:
        for name, tensor in _iter_tensors(file, tensor_filter):
            if name in fp8_names:
                state_dict[name] = tensor.to(dtype).to(FP8)
                continue
            keeps_dtype = not tensor.is_floating_point() or any(part in name for part in keep_dtype_substrings)
            state_dict[name] = tensor.to(tensor.dtype if keeps_dtype else dtype, copy=True)
    return state_dict


def _iter_tensors(file: Path, tensor_filter: Callable[[str], bool]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the mapped tensors of a file in file order. The caller must copy each tensor before the next one."""
    with safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.offset_keys() if tensor_filter(name)]
    done = 0
    while done < len(names):
        read = 0
        with safe_open(file, framework="pt") as tensors:
            while done < len(names) and read < CHUNK_BYTES:
                tensor = tensors.get_tensor(names[done])
                read, done = read + tensor.nbytes, done + 1
                yield names[done - 1], tensor
            del tensor  # The last reference to the mapped file.


def load_int8_component(
    cls: Any, folder: Path, variant: str | None, dtype: torch.dtype, quantization: diffusers.TorchAoConfig
) -> Any:
    """Load a diffusers component, and quantize each matrix while it is read. The result equals `from_pretrained`.

    Args:
        cls, folder, variant, dtype: see `load_converted_component`.
        quantization: configuration of diffusers.

    Returns:
        The component; None if loading needs more than the assignment of tensors.

    Raises:
        InputFileError: a file is damaged.
    """
    files = next((found.files for found in find_weights(folder) if found.variant == variant), ())
    if (module := _meta_module(cls, folder, files, dtype)) is None:
        return None
    quantizer = DiffusersAutoQuantizer.from_config(quantization, pre_quantized=False)
    quantizer.preprocess_model(module, device_map=None, keep_in_fp32_modules=[])
    freed_bytes = 0
    for file in files:
        for name, tensor in _iter_tensors(file, lambda _: True):
            value = tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
            if quantizer.check_if_quantized_param(module, value, name, {}):
                quantizer.create_quantized_param(module, value, name, torch.device("cpu"), {}, [])
                freed_bytes += value.nbytes
            else:
                set_module_tensor_to_device(module, name, "cpu", value)
            if freed_bytes > TRIM_BYTES:
                freed_bytes = 0
                process.trim_heap()
    return module.eval()


def _load_diffusers_component(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype, fp8: bool) -> Any:
    """Load a diffusers component; return None if the files and the module differ in a name or a shape."""
    if (module := _meta_module(cls, folder, files, dtype)) is None:
        return None
    module.load_state_dict(
        load_converted(files, dtype, fp8_names=_fp8_names(module, dtype) if fp8 else ()), assign=True
    )
    module.register_to_config(_name_or_path=str(folder))
    return module.eval()


def _meta_module(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype) -> Any:
    """Return a diffusers component on the meta device; None if the files differ in a name or a shape."""
    config = cls.load_config(folder)
    if issubclass(cls, LegacyModelMixin) or cls._keep_in_fp32_modules or "quantization_config" in config:
        return None
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # For buffers that are not in the files.
    try:
        with init_empty_weights():
            module = cls.from_config(config)
    finally:
        torch.set_default_dtype(before)
    shapes = {name: shape for file in files for name, (_, shape) in read_header(file).tensors.items()}
    return module if shapes == {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} else None


def _fp8_names(module: Any, dtype: torch.dtype) -> set[str]:
    """Return the names of the weights of a meta module that `cast_to_fp8` stores in fp8."""
    cast = copy.deepcopy(module)
    cast_to_fp8(cast, dtype)
    return {name for name, tensor in cast.state_dict().items() if tensor.dtype == FP8}


def _load_transformers_component(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype) -> LoadedComponent:
    """Load a transformers component: `from_pretrained` takes tensors instead of files, renames and ties them."""
    config = cls.config_class.from_pretrained(folder)
    if cls.can_generate() or getattr(config, "quantization_config", None):
        return None, ()
    with torch.device("meta"):
        meta_module = cls(config)
    fp32_layers = {
        layer
        for module in meta_module.modules()
        for attribute in KEEP_FP32_ATTRS
        for layer in getattr(module, attribute, None) or ()
    }
    state_dict = load_converted(files, dtype, sorted(fp32_layers))
    module, report = cls.from_pretrained(
        None, config=config, state_dict=state_dict, dtype=dtype, output_loading_info=True
    )
    return module, report["missing_keys"]
