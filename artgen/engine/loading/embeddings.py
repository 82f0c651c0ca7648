"""Attach embeddings (textual inversions) to the tokenizers and text encoders of a pipeline for one call.

The weights of the text encoders do not change: a hook replaces the rows of the token embeddings. Therefore, a pipeline
without embeddings generates the same bytes as before. diffusers' `load_textual_inversion` gives the same results, with
one exception: for a text encoder with `eos_token_id` 2 (SDXL), artgen uses the output at the end token as the pooled
output, as AUTOMATIC1111 does.
"""

import contextlib
import copy
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from artgen.errors import InputFileError
from artgen.registry.embeddings import EmbeddingFile, EmbeddingRequest
from artgen.spec.embedding import vector_names
from artgen.system.files import file_identity

_copies: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()
"""Copy of a tokenizer with the placeholders of all embeddings that were used. Copying takes a second."""


@contextlib.contextmanager
def attached_embeddings(pipe: Any, embeddings: Sequence[EmbeddingRequest]) -> Iterator[None]:
    """Add the placeholders of embeddings to the tokenizers of a pipeline, and their vectors to its text encoders.

    Args:
        pipe: pipeline; the refiner of SDXL has only the second text encoder.
        embeddings: embeddings that the text encoders support.

    Raises:
        InputFileError: a file changed.
    """
    with contextlib.ExitStack() as stack:
        for component in ("text_encoder", "text_encoder_2") if embeddings else ():
            if (encoder := getattr(pipe, component, None)) is not None:
                name = component.replace("text_encoder", "tokenizer")
                vectors = {each.placeholder: _load(each.file, component) for each in embeddings}
                stack.enter_context(_attached(pipe, name, encoder, vectors))
        yield


@contextlib.contextmanager
def _attached(pipe: Any, tokenizer_name: str, encoder: Any, vectors: dict[str, torch.Tensor]) -> Iterator[None]:
    original = getattr(pipe, tokenizer_name)
    if (tokenizer := _copies.get(original)) is None:
        _copies[original] = tokenizer = copy.deepcopy(original)
    rows: dict[int, torch.Tensor] = {}
    for text, tensor in vectors.items():
        names = list(vector_names(text))
        tokenizer.add_tokens(names)
        rows |= dict(zip(tokenizer.convert_tokens_to_ids(names), tensor, strict=True))
    # `setattr` of a pipeline would also change its configuration.
    object.__setattr__(pipe, tokenizer_name, tokenizer)
    found: list[tuple[tuple[int, ...], torch.Tensor]] = []

    def before_encoder(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        ids = (args[0] if args else kwargs["input_ids"]).clone()
        is_placeholder = torch.isin(ids, torch.tensor(list(rows), dtype=ids.dtype, device=ids.device))
        found[:] = [(tuple(at), rows[int(ids[tuple(at)])]) for at in is_placeholder.nonzero().tolist()]
        ids[is_placeholder] = 0
        return ((ids, *args[1:]), kwargs) if args else (args, {**kwargs, "input_ids": ids})

    def after_embedding(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        for at, vector in found:
            output[at] = vector.to(output)
        return output

    hooks = [
        encoder.register_forward_pre_hook(before_encoder, with_kwargs=True),
        encoder.get_input_embeddings().register_forward_hook(after_embedding),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        object.__setattr__(pipe, tokenizer_name, original)


def _load(file: EmbeddingFile, component: str) -> torch.Tensor:
    """Return the vectors for a text encoder, shape (vectors, width)."""
    try:
        tensor = load_file(file.path)[file.tensors[component]]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputFileError(f"Cannot read '{file.path.name}': {error}.", "Run the command again.") from error
    if file_identity(file.path) != file.identity:
        raise InputFileError(f"Cannot use '{file.path.name}': the file changed while it was used.", "Run it again.")
    return tensor if tensor.dim() == 2 else tensor.unsqueeze(0)
