"""Read the JSON files of a model, and reject values before diffusers or transformers use them.

A configuration is untrusted: its keys select classes, allocate memory, and some keys make transformers download or
import code. `read_config` checks types and bounds of all keys. `check_config_fits_weights` compares the sizes with the
number of values and tensors in the weights, because one layer cannot be larger than the weights of all layers.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError, RefusedError
from artgen.registry.config_bounds import (
    ATTENTION_KEYS,
    CODE_KEYS,
    DTYPES,
    LIST_KEYS,
    MAX_BLOCKS,
    NUMBERS,
    OPTIONAL_IN_BLOCKS,
    PER_BLOCK_NUMBERS,
    REQUIRED_NUMBERS,
    SAFE_ATTENTION,
    SCALAR_OR_LIST_KEYS,
    TEXTS,
    UNBOUNDED,
    WHOLE_NUMBERS,
    WITHOUT_POSITION_EMBEDDING,
)
from artgen.registry.hub.select_files import MAX_CONFIG_BYTES, VOCABULARY_FILES
from artgen.registry.quantization import check_quantization
from artgen.system.counts import counted
from artgen.system.external_data import parse_json, read_limited

MAX_VOCABULARY_BYTES = 48 << 20
"""Size of `tokenizer.json` and other vocabularies. The largest known is Gemma's (34 MB)."""
SMALL_VOCABULARY_BYTES = 12 << 20
"""Size of the vocabularies of CLIP and T5, which have less than 4 MB."""
MAX_ADDED_TOKENS = 10_000
MAX_ITEMS = 100_000
"""Items of one list or object, such as `trained_betas`."""
MAX_TEXT_LENGTH = 100_000
MAX_NUMBER = 10**9
"""Absolute value of the numbers of unknown keys."""

_HINT = "Use another copy of the model."
_REPAIR_HINT = "Download the model again."
_CODE_HINT = "artgen does not run code of a model. Use another copy of the model."


def read_config(path: Path) -> dict[str, Any]:
    """Read and validate a JSON object from a model's folder.

    Raises:
        InputFileError: the file is missing, unreadable, larger than `MAX_CONFIG_BYTES` or not an object.
        ModelUnavailableError: a value has the wrong type, or is out of bounds.
        RefusedError: a key would make a library import or download code.
    """
    value = _read_object(path, MAX_CONFIG_BYTES)
    quantization = value.get("quantization_config") if path.name == "config.json" else None
    if quantization is not None:
        check_quantization(path, quantization)
    _check_object(path, {key: item for key, item in value.items() if quantization is None or item is not quantization})
    return value


def is_quantized(config: Mapping[str, Any]) -> bool:
    """Return whether the weights of a component are quantized, according to its configuration."""
    return config.get("quantization_config") is not None


def max_vocabulary_bytes(class_name: str) -> int:
    """Return the size limit of the vocabulary of a tokenizer class."""
    return SMALL_VOCABULARY_BYTES if class_name.startswith(("CLIP", "T5")) else MAX_VOCABULARY_BYTES


def check_added_tokens(folder: Path, class_name: str) -> None:
    """Check that `tokenizer.json` of a tokenizer is a JSON object with at most `MAX_ADDED_TOKENS` added tokens.

    Raises:
        InputFileError: the file is unreadable, too large or not an object.
        ModelUnavailableError: it adds too many tokens; adding one takes 0.1 ms.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        added = _read_object(path, max_vocabulary_bytes(class_name)).get("added_tokens")
        if not isinstance(added, list) or len(added) > MAX_ADDED_TOKENS:
            count = f"{len(added):,} items" if isinstance(added, list) else _shown(added)
            raise _invalid(path, "added_tokens", count, f"a list of at most {MAX_ADDED_TOKENS:,} tokens")


def check_folder(folder: Path, max_vocabulary: int = MAX_VOCABULARY_BYTES) -> None:
    """Check the types and sizes of all files in the folder of a component, and read its configurations.

    Links are followed, because the cache of the hub contains links to its blobs.

    Raises:
        InputFileError, ModelUnavailableError, RefusedError: as `read_config`; or an entry is a pipe, a device or a
            broken link, or the folder has Python code or an adapter.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" or path.name == "adapter_config.json":
            reason = "requires its own code" if path.suffix == ".py" else "is an adapter of another model"
            raise RefusedError(f"Cannot load '{folder}': it {reason}, '{path.name}'.", _CODE_HINT)
        if not path.is_file() and not path.is_dir():
            raise InputFileError(f"Cannot read '{path}': it is not a regular file.", _HINT)
        if path.name in VOCABULARY_FILES:
            size = path.stat().st_size
            if size > max_vocabulary:
                limit = f"{max_vocabulary >> 20} MiB"
                raise InputFileError(f"Cannot read '{path}': it has {size:,} bytes, more than {limit}.", _HINT)
        elif path.suffix == ".json":
            read_config(path)


def check_config_fits_weights(path: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that no layer and no list of layers of a configuration is larger than the weights of the component.

    Quantized weights are packed, so their sizes are not compared.

    Args:
        path: the configuration, for the message.
        config: validated configuration.
        shapes: shapes of all tensors of the component, by name.

    Raises:
        ModelUnavailableError: the configuration describes a larger model.
    """
    if is_quantized(config):
        return
    values = sum(map(math.prod, shapes.values()))
    for layer, size in _implied_sizes(config):
        if size > max(values, 1):
            raise ModelUnavailableError(
                f"Cannot load '{path}': {layer} would have {size:,} values, and the weights have {values:,}.", _HINT
            )
    for key in ("num_hidden_layers", "num_layers", "num_single_layers", "layers_per_block"):
        count = sum(_numbers(config.get(key)))
        if count > len(shapes):
            raise ModelUnavailableError(
                f"Cannot load '{path}': {key} is {config[key]}, and the weights have {counted(len(shapes), 'tensor')}.",
                _HINT,
            )


def _read_object(path: Path, max_bytes: int) -> dict[str, Any]:
    try:
        value = parse_json(read_limited(path, max_bytes), allow_infinity=True)
    except ValueError as error:
        raise InputFileError(f"Cannot read '{path}': {error}.", _REPAIR_HINT) from None
    except InputFileError as error:
        raise InputFileError(error.message, _REPAIR_HINT) from None
    if not isinstance(value, dict):
        raise InputFileError(f"Cannot read '{path}': it is not a JSON object.", _REPAIR_HINT)
    return value


def _check_object(path: Path, config: Mapping[str, Any]) -> None:
    if len(config) > MAX_ITEMS:
        raise _invalid(path, "the object", f"{len(config):,} keys", f"at most {MAX_ITEMS:,} keys")
    for key, value in config.items():
        _reject_code(path, key, value)
        _check_value(path, key, value)
        _check_other(path, key, value)


def _reject_code(path: Path, key: str, value: Any) -> None:
    name = key.lstrip("_")
    if value is None:
        return
    if name in CODE_KEYS:
        raise RefusedError(f"Cannot load '{path}': its key '{key}' requires its own code or other files.", _CODE_HINT)
    if name.removesuffix("_internal") in ATTENTION_KEYS:
        for implementation in value.values() if isinstance(value, dict) else [value]:
            if implementation is not None and str(implementation) not in SAFE_ATTENTION:
                raise RefusedError(
                    f"Cannot load '{path}': its key '{key}' selects {_shown(implementation)}; artgen allows only eager "
                    "and sdpa, which are part of torch.",
                    _CODE_HINT,
                )


def _check_value(path: Path, key: str, value: Any) -> None:
    """Check the value of a known key."""
    if value is None:
        is_required = key in REQUIRED_NUMBERS
        if is_required or (key == "num_train_timesteps" and path.name == "scheduler_config.json"):
            raise _invalid(path, key, "null", "a number")
        return
    if key in ("dtype", "torch_dtype") and (not isinstance(value, str) or value.removeprefix("torch.") not in DTYPES):
        raise _invalid(path, key, _shown(value), "the name of a dtype, such as float32")
    if key in PER_BLOCK_NUMBERS and isinstance(value, list):
        for number in value[:MAX_BLOCKS]:
            _check_value(path, key, number)
        return
    if key in NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _invalid(path, key, _shown(value), "a number")
    if key == "scaling_factor" and value <= 0:
        raise _invalid(path, key, _shown(value), "a number above 0")
    if key == "_class_name" and not isinstance(value, str):
        raise RefusedError(f"Cannot load '{path}': its class {_shown(value)} requires its own code.", _CODE_HINT)
    if key in TEXTS and not isinstance(value, str):
        raise _invalid(path, key, _shown(value), "a text")
    if key not in WHOLE_NUMBERS:
        return
    low, high = WHOLE_NUMBERS[key]
    if key in LIST_KEYS and not (isinstance(value, list) and 1 <= len(value) <= MAX_BLOCKS):
        raise _invalid(path, key, _shown(value), f"a list of 1 to {MAX_BLOCKS} numbers")
    is_list = isinstance(value, list) and key in LIST_KEYS | SCALAR_OR_LIST_KEYS and 1 <= len(value) <= 64
    numbers = _flat(value) if is_list else [value]
    if is_list and key in OPTIONAL_IN_BLOCKS:
        low = -1
    # JSON's true is a bool, which is an int in Python.
    if not all(type(number) is int and low <= number <= high for number in numbers):
        raise _invalid(path, key, _shown(value), f"a whole number from {low:,} to {high:,}")


def _check_other(path: Path, key: str, value: Any) -> None:
    """Check the type and the size of any value; check objects in it like the object that contains it."""
    if isinstance(value, dict):
        _check_object(path, value)
    elif isinstance(value, list):
        if len(value) > MAX_ITEMS:
            raise _invalid(path, key, f"a list of {len(value):,} items", f"at most {MAX_ITEMS:,} items")
        for item in value:
            _check_other(path, key, item)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT_LENGTH:
            raise _invalid(path, key, f"a text of {len(value):,} characters", f"at most {MAX_TEXT_LENGTH:,}")
    elif (key, value) == UNBOUNDED:
        return
    elif value is not None and key not in WHOLE_NUMBERS and abs(value) > MAX_NUMBER:
        raise _invalid(path, key, _shown(value), f"a number from {-MAX_NUMBER:,} to {MAX_NUMBER:,}")


def _implied_sizes(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of values of layers of a configuration, each of which is part of its weights."""

    def largest(key: str) -> int:
        return max(_numbers(config.get(key)), default=0)

    width, channels = largest("hidden_size") or largest("d_model"), largest("block_out_channels")
    yield "its token embedding (vocab_size x hidden_size)", largest("vocab_size") * width
    yield "a feed-forward layer (intermediate_size x hidden_size)", largest("intermediate_size") * width
    yield "a feed-forward layer (d_ff x d_model)", largest("d_ff") * width
    if str(config.get("model_type", "")).startswith("clip"):
        positions = largest("max_position_embeddings")
        yield "its position embedding (max_position_embeddings x hidden_size)", positions * width
    yield "a convolution (block_out_channels)", channels * channels
    yield "its first layer (in_channels x block_out_channels)", largest("in_channels") * channels
    yield "its classes (num_class_embeds x block_out_channels)", largest("num_class_embeds") * channels
    if channels:
        yield "cross-attention (cross_attention_dim)", largest("cross_attention_dim")
    inner = largest("num_attention_heads") * largest("attention_head_dim")
    if inner and not channels:
        side = largest("pos_embed_max_size") or largest("sample_size") // max(largest("patch_size"), 1)
        positions = side if config.get("_class_name") == "AuraFlowTransformer2DModel" else side * side
        if config.get("_class_name") not in WITHOUT_POSITION_EMBEDDING:
            yield "its position embedding (pos_embed_max_size or sample_size)", positions * inner
        yield "attention (num_attention_heads x attention_head_dim)", inner * inner


def _numbers(value: Any) -> list[int]:
    return [number for number in _flat(value) if isinstance(number, int)]


def _flat(value: Any) -> list[Any]:
    """Return the items of a list, whose items can be lists of scalars; or a scalar as a list of one item."""
    if not isinstance(value, list):
        return [value]
    return [item for each in value for item in (each if isinstance(each, list) else [each])]


def _shown(value: Any) -> str:
    """Return a short text of a value for messages."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _invalid(path: Path, key: str, received: str, expected: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"Cannot load '{path}': {key[:60]} is {received}; expected {expected}.", _HINT)
