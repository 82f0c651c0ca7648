"""Check that the components of a model fit its pipeline class and each other."""

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
import transformers

from artgen.engine.loading import components
from artgen.errors import ModelUnavailableError
from artgen.registry import ResolvedModel

CORE_COMPONENTS = frozenset({"unet", "transformer", "vae", "scheduler", "tokenizer", "text_encoder"})
"""Components that a pipeline needs if its constructor takes them and does not declare them as optional. Others, such as
the T5 encoder of Stable Diffusion 3, can be null."""


def check_pipeline(model: ResolvedModel, index: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Check that the pipeline accepts the components, and that the components fit each other."""
    class_name = index["_class_name"]
    cls = components.find_class("diffusers", class_name, diffusers.DiffusionPipeline)
    with components.wrap_build_errors(model, "pipeline"):
        optional = check_component_names(model, cls, parts)
        _check_types(model, cls, parts)
        _check_tokenizers(model, parts)
        settings = {name: value for name, value in index.items() if name in optional - parts.keys()}
        if parts.get("safety_checker", True) is None:
            settings["requires_safety_checker"] = False
        cls(**parts, **settings)


def check_component_names(model: ResolvedModel, cls: Any, parts: Mapping[str, Any]) -> set[str]:
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
