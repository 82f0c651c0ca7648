"""Weights in another precision than that of their files, converted piece by piece, and in 8 bits.

safetensors maps a file into memory, and what was read of it counts as the process's own until it is let go of: for
diffusers and transformers, when all of a component is there. In bf16, from a file in fp32, a component takes three
times its size for that while. Here files are opened anew for every piece, so that no more than one lies in memory.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.models.modeling_utils import LegacyModelMixin
from safetensors import safe_open

from artgen.registry.diffusers_folder import denoiser_name, find_weights, iter_components, read_model_index
from artgen.registry.safetensors_header import component_of, read_header

CHUNK_BYTES = 16 << 20
"""Bytes of a file after which it is opened anew; single tensors may be larger."""

FP8 = torch.float8_e4m3fn

SAFETENSORS_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""What safetensors calls the precisions."""

EMA_PREFIX = "model_ema."
"""How a checkpoint names the averages of its denoiser's weights, which nothing here draws with."""

KEEP_FP32_ATTRS = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
"""Where a class names the layers that stay in fp32."""

LoadedComponent = tuple[Any, Collection[str]]
"""A component, None where its library has to read it, and the names of tensors that no file has."""


def cast_to_fp8(module: Any, compute_dtype: torch.dtype) -> None:
    """Stores the weights of a module of diffusers in 8 bits (e4m3), and widens those of each layer when it is called.

    Norms, positions and first and last layers keep their precision, as diffusers has it. Pictures change slightly.

    Args:
        module: with weights in the precision `compute_dtype`, 8 bits or none yet.
        compute_dtype: the precision that it computes in.
    """
    module.enable_layerwise_casting(storage_dtype=FP8, compute_dtype=compute_dtype)


def load_converted_component(
    cls: Any, folder: Path, variant: str | None, dtype: torch.dtype, fp8: bool = False
) -> LoadedComponent:
    """A component whose files have another precision than `dtype`, as its own `from_pretrained` would load it.

    Args:
        cls: its class, of diffusers or transformers.
        folder: where its `config.json` and its weights lie.
        variant: `fp16` to take these weights, None for the plain ones.
        dtype: the precision wanted.
        fp8: whether `in_8_bits` comes next, so that what it stores is read as it stores it.

    Returns:
        The component and what it lacks. Without a component where mapping the files costs nothing, because they have
        this precision, and where more has to be done than to fill in tensors, or to be said of them.

    Raises:
        InputFileError: a file is damaged.
    """
    files = next((offer.files for offer in find_weights(folder) if offer.variant == variant), ())
    if not fp8 and all(read_header(file).dtype == SAFETENSORS_DTYPES[dtype] for file in files):
        return None, ()
    if issubclass(cls, transformers.PreTrainedModel):
        return _load_transformers_component(cls, folder, files, dtype)
    return _load_diffusers_component(cls, folder, files, dtype, fp8), ()


def load_converted_single_file(
    file: Path, config: Path, dtype: torch.dtype, component_filter: Callable[[str], bool]
) -> dict[str, Any]:
    """The denoiser and the autoencoder of a single file in another precision, as `from_single_file` would load them.

    Args:
        file: a whole checkpoint.
        config: a model folder without weights.
        dtype: the precision wanted.
        component_filter: says by its name whether a component is wanted.

    Returns:
        By diffusers' names; none where mapping the file costs nothing.

    Raises:
        InputFileError: the file is damaged.
    """
    if read_header(file).dtype == SAFETENSORS_DTYPES[dtype]:
        return {}
    main = denoiser_name(config)
    found = {}
    for name, _, class_name in iter_components(read_model_index(config)):
        cls = getattr(diffusers, class_name, None)
        if name not in (main, "vae") or not component_filter(name) or cls is None or cls._keep_in_fp32_modules:
            continue

        def belongs(key: str, part: str = name) -> bool:
            return (component_of(key) or main) == part and not key.startswith(EMA_PREFIX)

        state = load_converted((file,), dtype, tensor_filter=belongs)
        found[name] = cls.from_single_file(
            state, config=str(config), subfolder=name, dtype=dtype, local_files_only=True
        )
    return found


def load_converted(
    files: Sequence[Path],
    dtype: torch.dtype,
    keep_dtype_substrings: Collection[str] = (),
    tensor_filter: Callable[[str], bool] = lambda _: True,
    fp8_names: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """The tensors of safetensors files, in main memory; nothing of the files stays mapped.

    Args:
        files: safetensors; of a tensor that several have, the last counts.
        dtype: what floating point numbers become; others stay.
        keep_dtype_substrings: parts of the names of tensors that keep their precision.
        tensor_filter: says by its name whether a tensor is wanted.
        fp8_names: names of tensors that are stored in 8 bits afterwards.
    """
    found = {}
    for file in files:
        for name, tensor in _iter_tensors(file, tensor_filter):
            if name in fp8_names:
                found[name] = tensor.to(dtype).to(FP8)
                continue
            stays = not tensor.is_floating_point() or any(part in name for part in keep_dtype_substrings)
            found[name] = tensor.to(tensor.dtype if stays else dtype, copy=True)
    return found


def _iter_tensors(file: Path, tensor_filter: Callable[[str], bool]) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a file in its order, mapped; each has to be copied before the next is asked for."""
    with safe_open(file, framework="pt") as opened:
        names = [name for name in opened.offset_keys() if tensor_filter(name)]
    done = 0
    while done < len(names):
        read = 0
        with safe_open(file, framework="pt") as opened:
            while done < len(names) and read < CHUNK_BYTES:
                tensor = opened.get_tensor(names[done])
                read, done = read + tensor.nbytes, done + 1
                yield names[done - 1], tensor
            del tensor  # the last reference to what is mapped


def _load_diffusers_component(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype, fp8: bool) -> Any:
    """A component of diffusers; None where files and module differ in a name or a shape."""
    config = cls.load_config(folder)
    if issubclass(cls, LegacyModelMixin) or cls._keep_in_fp32_modules or "quantization_config" in config:
        return None
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # of buffers that no file has
    try:
        with init_empty_weights():
            module = cls.from_config(config)
    finally:
        torch.set_default_dtype(before)
    shapes = {name: shape for file in files for name, (_, shape) in read_header(file).tensors.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}:
        return None
    module.load_state_dict(
        load_converted(files, dtype, fp8_names=_fp8_names(module, dtype) if fp8 else ()), assign=True
    )
    module.register_to_config(_name_or_path=str(folder))
    return module.eval()


def _fp8_names(module: Any, dtype: torch.dtype) -> set[str]:
    """The names of the weights of an empty module that `in_8_bits` stores so."""
    stored = copy.deepcopy(module)
    cast_to_fp8(stored, dtype)
    return {name for name, tensor in stored.state_dict().items() if tensor.dtype == FP8}


def _load_transformers_component(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype) -> LoadedComponent:
    """A component of transformers, which takes tensors in the place of files, renames and ties them."""
    config = cls.config_class.from_pretrained(folder)
    if cls.can_generate() or getattr(config, "quantization_config", None):
        return None, ()
    with torch.device("meta"):
        empty = cls(config)
    kept = {
        part for module in empty.modules() for place in KEEP_FP32_ATTRS for part in getattr(module, place, None) or ()
    }
    state = load_converted(files, dtype, sorted(kept))
    module, report = cls.from_pretrained(None, config=config, state_dict=state, dtype=dtype, output_loading_info=True)
    return module, report["missing_keys"]
