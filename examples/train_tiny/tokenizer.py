"""Train the tokenizer: a CLIP-style byte-level BPE over captions, nouns and synonyms.

The vocabulary contains each of the 256 bytes, alone and at the end of a word, so every text has tokens (Radford et al.
2021, arXiv 2103.00020, section 2.4; the format is OpenAI's `vocab.json` and `merges.txt`). Writes the folder
`tokenizer/` and `tokens.npy`: int16 of shape (scenes, captions, LENGTH), the token ids with the padding of the
pipeline.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from concepts import plural, read_concepts
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"


def train_bpe(texts: list[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary of about `size` entries and its merges in order of priority."""
    blank = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[])
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", fuse_unk=False))
    bpe.normalizer = blank.backend_tokenizer.normalizer
    bpe.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(byte + "</w>" for byte in alphabet), *("".join(m) for m in merges)]
    entries = [*dict.fromkeys(entries), START, END]
    return {entry: i for i, entry in enumerate(entries)}, [(a, b) for a, b in merges]


def train_tokenizer(options: argparse.Namespace, captions: list[list[str]]) -> CLIPTokenizer:
    """Train and write the tokenizer."""
    names = [
        text
        for concept in read_concepts(options.data, options.work).values()
        for noun in (*concept.nouns, *concept.synonyms)
        for text in (noun, plural(noun))
    ]
    vocabulary, merges = train_bpe(
        [*(c for scene_captions in captions for c in scene_captions[:2]), *names * 5], options.size
    )
    folder = options.work / "tokenizer"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=LENGTH,
        pad_token=END,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--tokenizer", type=Path, help="use the tokenizer of this folder instead of training one")
    parser.add_argument("--size", type=int, default=2900)
    options = parser.parse_args()
    captions: list[list[str]] = json.loads((options.work / "captions.json").read_text())
    tokenizer = (
        CLIPTokenizer.from_pretrained(options.tokenizer) if options.tokenizer else train_tokenizer(options, captions)
    )
    tokens = np.zeros((len(captions), len(captions[0]), LENGTH), np.int16)
    for i in range(0, len(captions), 1000):
        part = [caption for scene_captions in captions[i : i + 1000] for caption in scene_captions]
        ids = tokenizer(part, padding="max_length", truncation=True, max_length=LENGTH).input_ids
        tokens[i : i + 1000] = np.array(ids).reshape(-1, len(captions[0]), LENGTH)
    np.save(options.work / "tokens.npy", tokens)
    print(len(tokenizer), "entries;", tokenizer.tokenize("a purple elephant in the snow 狐"))


if __name__ == "__main__":
    main()
