"""Read peft's configuration from the metadata of a LoRA that diffusers saved: the alphas of its layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.system.external_data import parse_json

PEFT_METADATA_KEY = "lora_adapter_metadata"
"""Metadata key with the configuration, as JSON: `COMPONENT.OPTION` -> value."""


def read_peft_config(path: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """Return peft's configuration of all components; empty if the file has none.

    Raises:
        InputFileError: the configuration is not a JSON object, or an alpha is not a number.
    """
    if PEFT_METADATA_KEY not in metadata:
        return {}
    try:
        config = parse_json(metadata[PEFT_METADATA_KEY])
        if not isinstance(config, dict):
            raise ValueError("it is not a JSON object")
        for key, value in config.items():
            is_pattern = key.endswith(".alpha_pattern")
            if is_pattern and not isinstance(value, dict | None):
                raise ValueError(f"{key[:100]} is not an object")
            alphas = value.values() if isinstance(value, dict) else [value]
            if is_pattern or key.endswith(".lora_alpha"):
                for alpha in alphas:
                    if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, int | float)):
                        raise ValueError(f"{key[:100]} is not a number")
    except ValueError as error:
        reason = str(error)
    else:
        return config
    raise InputFileError(
        f"'{path.name}' is damaged: its configuration of peft is not valid: {reason}.", "Download it again."
    )


def peft_multiplier(config: Mapping[str, Any], module: str, rank: int) -> float | None:
    """Return alpha / rank of a module; None if the configuration has no alpha for it.

    peft compares the keys of `alpha_pattern` with the end of the module's path. In files of peft they are regular
    expressions; only their literal meaning is supported, because the file is untrusted.

    Args:
        config: see `read_peft_config`.
        module: path of the module with its component, such as `unet.mid_block.attentions.0.proj_in`.
        rank: rank of the LoRA.
    """
    component, _, name = module.partition(".")
    alpha = config.get(f"{component}.lora_alpha")
    for pattern, value in (config.get(f"{component}.alpha_pattern") or {}).items():
        if f".{name}".endswith(f".{pattern.removeprefix('^').removeprefix('text_model.')}"):
            alpha = value
            break
    if alpha is None:
        return None
    return float(alpha / (rank**0.5 if config.get(f"{component}.use_rslora") is True else rank))
