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

from artgen.checkpoints import part_of, read_header
from artgen.registry.folders import components, find_weights, main_component, read_index

PIECE = 16 << 20
"""Bytes of a file after which it is opened anew; single tensors may be larger."""

EIGHTHS = torch.float8_e4m3fn

FORMATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""What safetensors calls the precisions."""

AVERAGES = "model_ema."
"""How a checkpoint names the averages of its denoiser's weights, which nothing here draws with."""

KEPT = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
"""Where a class names the layers that stay in fp32."""

Loaded = tuple[Any, Collection[str]]
"""A component, None where its library has to read it, and the names of tensors that no file has."""


def in_8_bits(module: Any, dtype: torch.dtype) -> None:
    """Stores the weights of a module of diffusers in 8 bits (e4m3), and widens those of each layer when it is called.

    Norms, positions and first and last layers keep their precision, as diffusers has it. Pictures change slightly.

    Args:
        module: with weights in the precision `dtype`, 8 bits or none yet.
        dtype: the precision that it computes in.
    """
    module.enable_layerwise_casting(storage_dtype=EIGHTHS, compute_dtype=dtype)


def read(cls: Any, folder: Path, variant: str | None, dtype: torch.dtype, eighths: bool = False) -> Loaded:
    """A component whose files have another precision than `dtype`, as its own `from_pretrained` would load it.

    Args:
        cls: its class, of diffusers or transformers.
        folder: where its `config.json` and its weights lie.
        variant: `fp16` to take these weights, None for the plain ones.
        dtype: the precision wanted.
        eighths: whether `in_8_bits` comes next, so that what it stores is read as it stores it.

    Returns:
        The component and what it lacks. Without a component where mapping the files costs nothing, because they have
        this precision, and where more has to be done than to fill in tensors, or to be said of them.

    Raises:
        InputFileError: a file is damaged.
    """
    files = next((offer.files for offer in find_weights(folder) if offer.variant == variant), ())
    if not eighths and all(read_header(file).dtype == FORMATS[dtype] for file in files):
        return None, ()
    if issubclass(cls, transformers.PreTrainedModel):
        return _of_transformers(cls, folder, files, dtype)
    return _of_diffusers(cls, folder, files, dtype, eighths), ()


def read_parts(file: Path, config: Path, dtype: torch.dtype, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The denoiser and the autoencoder of a single file in another precision, as `from_single_file` would load them.

    Args:
        file: a whole checkpoint.
        config: a model folder without weights.
        dtype: the precision wanted.
        wanted: says by its name whether a component is wanted.

    Returns:
        By diffusers' names; none where mapping the file costs nothing.

    Raises:
        InputFileError: the file is damaged.
    """
    if read_header(file).dtype == FORMATS[dtype]:
        return {}
    main = main_component(config)
    found = {}
    for name, _, class_name in components(read_index(config)):
        cls = getattr(diffusers, class_name, None)
        if name not in (main, "vae") or not wanted(name) or cls is None or cls._keep_in_fp32_modules:
            continue

        def belongs(key: str, part: str = name) -> bool:
            return (part_of(key) or main) == part and not key.startswith(AVERAGES)

        state = converted((file,), dtype, only=belongs)
        found[name] = cls.from_single_file(
            state, config=str(config), subfolder=name, dtype=dtype, local_files_only=True
        )
    return found


def converted(
    files: Sequence[Path],
    dtype: torch.dtype,
    kept: Collection[str] = (),
    only: Callable[[str], bool] = lambda _: True,
    eighths: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """The tensors of safetensors files, in main memory; nothing of the files stays mapped.

    Args:
        files: safetensors; of a tensor that several have, the last counts.
        dtype: what floating point numbers become; others stay.
        kept: parts of the names of tensors that keep their precision.
        only: says by its name whether a tensor is wanted.
        eighths: names of tensors that are stored in 8 bits afterwards.
    """
    found = {}
    for file in files:
        for name, tensor in _pieces(file, only):
            if name in eighths:
                found[name] = tensor.to(dtype).to(EIGHTHS)
                continue
            stays = not tensor.is_floating_point() or any(part in name for part in kept)
            found[name] = tensor.to(tensor.dtype if stays else dtype, copy=True)
    return found


def _pieces(file: Path, only: Callable[[str], bool]) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a file in its order, mapped; each has to be copied before the next is asked for."""
    with safe_open(file, framework="pt") as opened:
        names = [name for name in opened.offset_keys() if only(name)]
    done = 0
    while done < len(names):
        read = 0
        with safe_open(file, framework="pt") as opened:
            while done < len(names) and read < PIECE:
                tensor = opened.get_tensor(names[done])
                read, done = read + tensor.nbytes, done + 1
                yield names[done - 1], tensor
            del tensor  # the last reference to what is mapped


def _of_diffusers(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype, eighths: bool) -> Any:
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
    module.load_state_dict(converted(files, dtype, eighths=_eighths(module, dtype) if eighths else ()), assign=True)
    module.register_to_config(_name_or_path=str(folder))
    return module.eval()


def _eighths(module: Any, dtype: torch.dtype) -> set[str]:
    """The names of the weights of an empty module that `in_8_bits` stores so."""
    stored = copy.deepcopy(module)
    in_8_bits(stored, dtype)
    return {name for name, tensor in stored.state_dict().items() if tensor.dtype == EIGHTHS}


def _of_transformers(cls: Any, folder: Path, files: Sequence[Path], dtype: torch.dtype) -> Loaded:
    """A component of transformers, which takes tensors in the place of files, renames and ties them."""
    config = cls.config_class.from_pretrained(folder)
    if cls.can_generate() or getattr(config, "quantization_config", None):
        return None, ()
    with torch.device("meta"):
        empty = cls(config)
    kept = {part for module in empty.modules() for place in KEPT for part in getattr(module, place, None) or ()}
    state = converted(files, dtype, sorted(kept))
    module, report = cls.from_pretrained(None, config=config, state_dict=state, dtype=dtype, output_loading_info=True)
    return module, report["missing_keys"]
