"""Divide prompts into chunks of tokens, and decide which images can share a pipeline call.

A CLIP text encoder accepts chunks of 75 tokens. `artgen.engine.sampling` encodes them; this module needs no torch.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from artgen.errors import ArtgenError
from artgen.jobs.pipeline_options import uses_cfg
from artgen.jobs.prompt_plan import prompt_plan, prompts_of
from artgen.registry import ResolvedModel
from artgen.registry.clip_tokenizer import ClipTokenizer, clip_tokenizers, embedding_sizes
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.embedding import PLACEHOLDER_PATTERN
from artgen.spec.prompt_syntax import Break, WeightedText

COMMA_TOKENS = 20
"""Tokens after a comma: a full chunk that has at most as many is cut at the comma, as in A1111."""
COMFY_WORD_TOKENS = 8
"""Tokens of a text with one weight: ComfyUI does not divide a shorter text between two chunks."""
MAX_CACHED_TEXTS = 4096


@dataclass(frozen=True)
class Chunk:
    """Store a chunk of a text.

    Attributes:
        token_ids: tokens without start, end and padding tokens, at most the limit of the tokenizer.
        weights: weight of each token.
    """

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]


def group_key(request: Request, model: ResolvedModel | None) -> tuple[object, ...]:
    """Return a value that is equal for requests whose prompts can share a pipeline call with equal settings.

    The prompts of a pipeline call have the same number of chunks, because padding changes the embeddings. Requests
    with a schedule or AND share a call only if their prompts are equal.
    """
    if not isinstance(request, PromptRequest):
        return ()
    has_negative = bool(request.negative_prompt)
    if model is None or not model.pipeline_entry.supports("prompt-syntax"):
        return (has_negative,)
    plan = prompt_plan(request)
    prompts = prompts_of(request) if plan.is_dynamic else ()
    return has_negative, *prompts, num_chunks(request, model)


def num_chunks(request: PromptRequest, model: ResolvedModel) -> int:
    """Return the number of chunks of the prompts of a request, 1 or more. 1 if the model's tokenizer cannot be read."""
    if request.long_prompt != "chunk" or model.remote is not None:
        return 1
    plan = prompt_plan(request)
    texts = plan.texts(with_negative=uses_cfg(request, model.pipeline_entry))
    try:
        tokenizers = clip_tokenizers(model)
    except (ArtgenError, OSError):
        return 1  # The check of the model reports the error.
    rule = request.prompt_weights or "none"
    return max((_count(model, each, text, rule) for each in tokenizers for text in texts), default=1)


def _count(model: ResolvedModel, tokenizer: ClipTokenizer, text: str, rule: str) -> int:
    is_short = len(text) <= tokenizer.max_tokens and text.isascii() and not PLACEHOLDER_PATTERN.search(text)
    if is_short and "BREAK" not in text:
        return 1  # A token has at least one character.
    return _count_cached(model, tokenizer.component, text, rule)


@functools.lru_cache(maxsize=MAX_CACHED_TEXTS)
def _count_cached(model: ResolvedModel, component: str, text: str, rule: str) -> int:
    tokenizer = next(each for each in clip_tokenizers(model) if each.component == component)
    max_tokens, comma = tokenizer.max_tokens, tokenizer.comma
    return len(tokenize(text, rule, tokenizer.token_ids, max_tokens, comma, group_sizes=embedding_sizes))


def tokenize(
    text: str,
    rule: str,
    token_ids: Callable[[Sequence[str]], list[list[int]]],
    max_tokens: int,
    comma: int | None,
    *,
    group_sizes: Callable[[list[int]], list[int]] | None = None,
    chunked: bool = True,
) -> tuple[Chunk, ...]:
    """Return the chunks of a text, at least one.

    Args:
        text: text of one part of a prompt at one step.
        rule: rule of the weights, `--prompt-weights`.
        token_ids: tokenizer: texts -> tokens of each text.
        max_tokens: largest number of tokens of a chunk.
        comma: token of the comma, after which a full chunk is cut; None for no such token.
        group_sizes: sizes of the groups of tokens that stay in one chunk, such as the vectors of an embedding.
            None: each token is a group.
        chunked: return all chunks; otherwise the first `max_tokens` tokens, without the effect of commas and BREAK.
    """
    pieces = prompt_syntax.parse_weights(text, rule)
    tokenized = iter(token_ids([piece.text for piece in pieces if isinstance(piece, WeightedText)]))
    # Without syntax, the chunks are those of records of earlier versions.
    chunker = _Chunker(max_tokens, comma if chunked and rule == "a1111" else None)
    for piece in pieces:
        if isinstance(piece, Break):
            if chunked:
                chunker.end_chunk()
            continue
        ids, position = next(tokenized), 0
        if chunked and rule == "comfy" and len(ids) < COMFY_WORD_TOKENS:
            chunker.reserve(len(ids))
        for size in group_sizes(ids) if group_sizes and chunked else [1] * len(ids):
            chunker.add(ids[position : position + size], piece.weight)
            position += size
    return chunker.chunks() if chunked else chunker.chunks()[:1]


class _Chunker:
    """Divide weighted tokens into chunks."""

    def __init__(self, max_tokens: int, comma: int | None) -> None:
        self._max_tokens = max_tokens
        self._comma = comma
        self._chunks: list[Chunk] = []
        self._tokens: list[tuple[int, float]] = []
        self._last_comma: int | None = None

    def add(self, group: Sequence[int], weight: float) -> None:
        """Add tokens of one group. A group that is longer than a chunk is divided."""
        if list(group) == [self._comma]:
            self._last_comma = len(self._tokens)
        elif len(self._tokens) == self._max_tokens:
            self._cut_at_comma()
        self.reserve(len(group))
        for token in group:
            self.reserve(1)
            self._tokens.append((token, weight))

    def _cut_at_comma(self) -> None:
        """Move the tokens after the last comma of a full chunk to a new chunk, if they are at most COMMA_TOKENS."""
        comma = self._last_comma
        if comma is None or len(self._tokens) - comma > COMMA_TOKENS:
            return
        moved = self._tokens[comma + 1 :]
        del self._tokens[comma + 1 :]
        self.end_chunk()
        self._tokens = moved

    def reserve(self, size: int) -> None:
        """Start a chunk if `size` more tokens do not fit into this one."""
        if self._tokens and len(self._tokens) + size > self._max_tokens:
            self.end_chunk()

    def end_chunk(self) -> None:
        """Start a new chunk."""
        self._chunks.append(Chunk(tuple(each[0] for each in self._tokens), tuple(each[1] for each in self._tokens)))
        self._tokens, self._last_comma = [], None

    def chunks(self) -> tuple[Chunk, ...]:
        """Return all chunks, without an empty one at the end."""
        if self._tokens or not self._chunks:
            self.end_chunk()
        return tuple(self._chunks)
