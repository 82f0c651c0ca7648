"""Divide prompts into chunks of tokens, and decide which images can share a pipeline call.

A CLIP text encoder accepts chunks of 75 tokens. `artgen.engine.sampling` encodes them; this module needs no torch.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
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
    group_sizes = embedding_sizes if PLACEHOLDER_PATTERN.search(text) else None
    return len(tokenize(text, rule, tokenizer.token_ids, max_tokens, comma, group_sizes=group_sizes))


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
    segments = [_Segment()]
    for piece in pieces:
        if not isinstance(piece, Break):
            segments[-1].add(next(tokenized), piece.weight, group_sizes, is_word=rule == "comfy")
        elif chunked:
            segments.append(_Segment())
    if not chunked:
        return (segments[0].chunk(0, max_tokens),)
    if len(segments) > 1 and not segments[-1].token_ids:
        del segments[-1]
    # Records of earlier versions have no syntax, and their chunks do not end at commas.
    comma = comma if rule == "a1111" else None
    return tuple(chunk for segment in segments for chunk in segment.chunks(max_tokens, comma))


class _Segment:
    """Store the tokens between two BREAKs, and divide them into chunks.

    Attributes:
        token_ids: tokens.
        weights: weight of each token.
        joined: indices of the tokens that stay in the chunk of the previous token.
    """

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.weights: list[float] = []
        self.joined: set[int] = set()

    def add(
        self,
        token_ids: list[int],
        weight: float,
        group_sizes: Callable[[list[int]], list[int]] | None,
        *,
        is_word: bool,
    ) -> None:
        """Add the tokens of a text with one weight."""
        start = len(self.token_ids)
        self.token_ids += token_ids
        self.weights += [weight] * len(token_ids)
        if is_word and len(token_ids) < COMFY_WORD_TOKENS:
            self.joined.update(range(start + 1, start + len(token_ids)))
        elif group_sizes is not None:
            for size in group_sizes(token_ids):
                self.joined.update(range(start + 1, start + size))
                start += size

    def chunk(self, start: int, end: int) -> Chunk:
        """Return a range of the tokens."""
        return Chunk(tuple(self.token_ids[start:end]), tuple(self.weights[start:end]))

    def chunks(self, max_tokens: int, comma: int | None) -> Iterator[Chunk]:
        """Yield the chunks, at least one."""
        start = 0
        while len(self.token_ids) - start > max_tokens:
            end = self._end(start, start + max_tokens, comma)
            yield self.chunk(start, end)
            start = end
        yield self.chunk(start, len(self.token_ids))

    def _end(self, start: int, end: int, comma: int | None) -> int:
        """Return the end of a chunk that can have the tokens from `start` to `end`."""
        if end in self.joined:
            first = end
            while first in self.joined:
                first -= 1
            return first if first > start else end  # A group that is longer than a chunk is divided.
        if self.token_ids[end] == comma:
            return end
        last_tokens = range(end - 1, max(start, end - COMMA_TOKENS) - 1, -1)
        return next((i + 1 for i in last_tokens if self.token_ids[i] == comma), end)
