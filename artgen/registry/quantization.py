"""Check the `quantization_config` of a component: its package is installed, and it contains no other values.

diffusers and transformers read the key when they load the weights. It selects the code of a package, so only the
packages of `PACKAGES` and the types of values that these packages write are accepted.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, RefusedError
from artgen.registry.config_bounds import DTYPES
from artgen.system.optional_packages import install_command

PACKAGES: Mapping[str, tuple[str, str]] = {
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "bitsandbytes_4bit": ("bitsandbytes", "bitsandbytes"),
    "bitsandbytes_8bit": ("bitsandbytes", "bitsandbytes"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
    "torchao": ("torchao", "torchao"),
}
"""Value of `quant_method` -> module, and name of the package for pip."""
KEYS = re.compile(
    r"quant_method|_?load_in_[48]bit|bnb_4bit_\w{1,30}|llm_int8_\w{1,40}|quant_type|quant_type_kwargs|weights_dtype|"
    r"activations_dtype|compute_dtype|pre_quantized|modules_to_not_convert|include_input_output_embeddings|"
    r"untie_embedding_weights|(?:dynamic|static)_\w{1,30}|default|_type|_data|_version|group_size|weight_dtype|layout|"
    r"set_inductor_config|mapping_type|version|int4_\w{1,30}|inner_k_tiles|use_hqq|zero_point_domain|granularity"
)
TEXT = re.compile(r"[\w.\-]{0,100}")
MAX_ITEMS = 1000
_HINT = "Use a copy of the model that is not quantized."


def check_quantization(path: Path, config: Any) -> None:
    """Check the value of the key `quantization_config`.

    Args:
        path: the configuration, for the message.
        config: value of the key.

    Raises:
        ModelUnavailableError: the package of the quantization is not installed, or artgen does not support the method.
        RefusedError: a key or a value is not one that these packages write.
    """
    if not isinstance(config, dict):
        raise RefusedError(f"Cannot load '{path}': quantization_config is not an object.", _HINT)
    method = config.get("quant_method")
    if not isinstance(method, str) and (config.get("load_in_4bit") or config.get("load_in_8bit")):
        method = "bitsandbytes"
    if not isinstance(method, str):
        raise RefusedError(
            f"Cannot load '{path}': its quantization_config without a quant_method requires its own code.", _HINT
        )
    if method not in PACKAGES:
        raise ModelUnavailableError(
            f"Cannot load '{path}': it is quantized with {method[:40]!r}; artgen loads only "
            f"{', '.join(sorted({name for _, name in PACKAGES.values()}))}.",
            _HINT,
        )
    _check_values(path, config)
    module, package = PACKAGES[method]
    if not _is_installed(module):
        raise ModelUnavailableError(
            f"Cannot load '{path}': it is quantized with {method}, and the package {package} is not installed.",
            install_command([package]),
        )


def _is_installed(module: str) -> bool:
    parent = module.rpartition(".")[0]
    return (not parent or _is_installed(parent)) and importlib.util.find_spec(module) is not None


def _check_values(path: Path, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if not KEYS.fullmatch(key):
            raise RefusedError(f"Cannot load '{path}': quantization_config has the unknown key {key[:60]!r}.", _HINT)
        items = value if isinstance(value, list) else [value]
        if len(items) > MAX_ITEMS:
            raise RefusedError(f"Cannot load '{path}': {key} has {len(items):,} items.", _HINT)
        for item in items:
            if isinstance(item, dict):
                _check_values(path, item)
            elif isinstance(item, list) or (isinstance(item, str) and not TEXT.fullmatch(item)):
                raise RefusedError(f"Cannot load '{path}': {key} in quantization_config is not a name.", _HINT)
            elif isinstance(item, str) and key.endswith(("compute_dtype", "quant_storage")):
                _check_dtype(path, key, item)


def _check_dtype(path: Path, key: str, value: str) -> None:
    if value.removeprefix("torch.") not in {*DTYPES, "uint8", "int8"}:
        raise RefusedError(f"Cannot load '{path}': {key} cannot be {value!r}.", "Use another copy of the model.")
