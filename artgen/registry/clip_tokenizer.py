"""Tokenize prompts for CLIP text encoders without torch and transformers, whose import takes more than a second.

The tokens equal the tokens of `transformers.CLIPTokenizer`, which uses the same library (`tokenizers`).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.registry.diffusers_folder import read_model_index, read_optional_config
from artgen.registry.model_configs import SMALL_VOCABULARY_BYTES
from artgen.registry.resolved import ResolvedModel
from artgen.spec.embedding import PLACEHOLDER_PATTERN
from artgen.system.external_data import decode_text, parse_json, read_limited

_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
_DEFAULT_TOKEN = "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
FIRST_VECTOR, NEXT_VECTOR = -1, -2
"""Ids of the vectors of embeddings, which are not in the vocabulary."""
_ASCII_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", re.ASCII)
"""`_WORDS` for ASCII texts in lower case without special tokens."""
_COMMA = ",</w>"
MAX_CACHED_WORDS = 20_000
MAX_CACHED_WORD_CHARS = 40


@dataclass(frozen=True)
class ClipTokenizer:
    """Store the tokenizer of a CLIP text encoder.

    Attributes:
        component: name of the tokenizer in the pipeline: tokenizer or tokenizer_2.
        max_tokens: token limit of a chunk, without its start and end tokens.
        comma: id of the comma at the end of a word; None if the vocabulary lacks it.
    """

    component: str
    max_tokens: int
    comma: int | None
    _backend: Any = field(repr=False, compare=False)
    _special: tuple[str, ...] = field(repr=False, compare=False)
    _cached_words: dict[str, list[int]] = field(default_factory=dict, repr=False, compare=False)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the tokens of each text, without start and end tokens.

        The vectors of the placeholder of an embedding have the ids `FIRST_VECTOR` and `NEXT_VECTOR`.
        """
        return [self._token_ids(text) for text in texts]

    def _token_ids(self, text: str) -> list[int]:
        ids: list[int] = []
        position = 0
        for match in PLACEHOLDER_PATTERN.finditer(text):
            ids += self._text_ids(text[position : match.start()])
            ids += [FIRST_VECTOR, *[NEXT_VECTOR] * (int(match[1]) - 1)]
            position = match.end()
        return ids + self._text_ids(text[position:])

    def _text_ids(self, text: str) -> list[int]:
        """Return the tokens of a text. The tokens of ASCII words are cached: prompts of a batch have equal words."""
        if not text.isascii() or any(each in text for each in self._special):
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        ids: list[int] = []
        for word in _ASCII_WORDS.findall(text.lower()):
            if (of_word := self._cached_words.get(word)) is None:
                of_word = self._backend.encode(word, add_special_tokens=False).ids
                if len(self._cached_words) < MAX_CACHED_WORDS and len(word) < MAX_CACHED_WORD_CHARS:
                    self._cached_words[word] = of_word
            ids += of_word
        return ids

    def piece(self, token_id: int) -> str:
        """Return the text of a token, in which `</w>` ends a word."""
        if token_id in (FIRST_VECTOR, NEXT_VECTOR):
            return "<embedding>"
        return str(self._backend.id_to_token(token_id))


def embedding_sizes(ids: Sequence[int]) -> list[int]:
    """Return the sizes of the groups of tokens that stay in one chunk: the vectors of an embedding, or one token."""
    sizes: list[int] = []
    for token in ids:
        if token == NEXT_VECTOR:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


@functools.lru_cache(maxsize=8)
def clip_tokenizers(model: ResolvedModel) -> tuple[ClipTokenizer, ...]:
    """Return the tokenizers of the CLIP text encoders of a model, in the order of its pipeline.

    Raises:
        InputFileError: a file of a tokenizer is missing, unreadable, too large or invalid.
    """
    folder = model.config_folder
    index = read_model_index(folder, model.omitted)
    components = [each.component for each in model.pipeline_entry.encoders if each.kind == "clip"]
    names = [name.replace("text_encoder", "tokenizer") for name in components if any(index.get(name) or ())]
    return tuple(_load(folder / name) for name in names)


def _load(folder: Path) -> ClipTokenizer:
    from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    config = read_optional_config(folder / "tokenizer_config.json")
    vocabulary, merges = _read_vocabulary(folder)
    special = [_token_text(config.get(name)) or _DEFAULT_TOKEN for name in _SPECIAL_TOKENS]
    limit = config.get("model_max_length")
    if not isinstance(limit, int) or limit < 3:
        raise InputFileError(
            f"Cannot read '{folder}': model_max_length in tokenizer_config.json must be a number of 3 or more, not "
            f"{str(limit)[:40]!r}."
        )
    try:
        backend = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=special[2]))
        backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        backend.add_special_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(special)])
    except Exception as error:  # the library raises plain Exception and TypeError for an invalid vocabulary
        raise InputFileError(f"Cannot read the tokenizer in '{folder}': {str(error)[:200].rstrip('.')}.") from error
    return ClipTokenizer(folder.name, limit - 2, vocabulary.get(_COMMA), backend, tuple(dict.fromkeys(special)))


def _read_vocabulary(folder: Path) -> tuple[dict[str, int], list[Any]]:
    """Return the vocabulary and the merges, from `tokenizer.json` if it exists, like transformers."""
    if (path := folder / "tokenizer.json").is_file():
        model = _object(path).get("model")
        values = model if isinstance(model, dict) else {}
        vocabulary, merges = values.get("vocab"), values.get("merges")
    else:
        path = folder / "vocab.json"
        vocabulary = _object(path)
        merges = [
            line for line in _text(folder / "merges.txt").splitlines() if line and not line.startswith("#version")
        ]
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise InputFileError(f"Cannot read '{path}': it has no vocabulary of a CLIP tokenizer.")
    return vocabulary, [tuple(each.split(" ")) if isinstance(each, str) else tuple(each) for each in merges]


def _object(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(_text(path))
    except ValueError as error:
        raise InputFileError(f"Cannot read '{path}': {error}.") from None
    return value if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    try:
        return decode_text(read_limited(path, SMALL_VOCABULARY_BYTES))
    except ValueError as error:
        raise InputFileError(f"Cannot read '{path}': {error}.") from None


def _token_text(value: object) -> str:
    """Return the text of a special token in a configuration: a string, or an object with the key `content`."""
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else ""
