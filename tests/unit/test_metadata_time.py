"""Test that texts from files are parsed in time in proportion to their length."""

import itertools
import random
import time
from collections.abc import Callable, Iterator

import pytest

from artgen.metadata import format_a1111, parse_a1111, parse_comfy
from artgen.metadata.reading import _parse_record

SHORT_BYTES, LONG_BYTES = 1 << 18, 1 << 20
MAX_GROWTH = 8
"""Largest growth of the time; 4 for a linear parser, 16 for a quadratic one."""

MIN_SECONDS = 0.5
"""Shorter times are not compared."""

NUM_ATTEMPTS = 4
"""Largest number of measurements; other processes can make some of them slow."""

TOKENS = (
    " ", "\n", "\t", ",", ":", "x", "1", ".", '"', "\\", "[", "{", "<", "é", "-", "a: ", "a: [, ", 'a: "', "a: {",
    "Steps: ", "\nSteps: 1, a: b, c: d", "Negative prompt:", "<lora:", "<lora:a:1", "<lora:a:1>, ", "\u2028",
)  # fmt: skip
PREFIXES = ("", "x", "a: ", 'a: "', "a: [", "<lora:a:", "x\nSteps: 20, Sampler: Euler, Lora hashes: ")
SUFFIXES = ("", "\nSteps: 20, Sampler: Euler, CFG scale: 7", "Steps:", '"', "]", ">")


def grammar() -> Iterator[tuple[str, str, str]]:
    """Yield a prefix, a repeated part and a suffix: each token, and a sample of the combinations."""
    choose = random.Random(0)
    parts = [*TOKENS, *map("".join, choose.sample([*itertools.product(TOKENS, repeat=2)], 60))]
    for part in parts:
        yield choose.choice(PREFIXES), part, choose.choice(SUFFIXES)
    yield "x", " ", "Steps:"
    yield "", "a: [, ", ""
    yield "<lora:a:", "1", ""


def seconds(parse: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    parse(text)
    return time.process_time() - start


def repeat(prefix: str, part: str, suffix: str, num_bytes: int) -> str:
    return prefix + part * (num_bytes // len(part)) + suffix


def takes_linear_time(parse: Callable[[str], object], shape: tuple[str, str, str]) -> bool:
    """Return True if at least one measurement shows linear time. The lengths differ because results are cached."""
    for attempt in range(NUM_ATTEMPTS):
        short, long = (
            seconds(parse, repeat(*shape, num_bytes + 64 * attempt)) for num_bytes in (SHORT_BYTES, LONG_BYTES)
        )
        if long < max(MIN_SECONDS, MAX_GROWTH * short):
            return True
    return False


@pytest.mark.parametrize("shape", [*grammar()], ids=repr)
def test_a1111_text_is_parsed_in_linear_time(shape: tuple[str, str, str]) -> None:
    assert takes_linear_time(parse_a1111, shape)


@pytest.mark.parametrize("token", TOKENS, ids=repr)
def test_a1111_text_is_formatted_in_linear_time(token: str) -> None:
    def format_record(text: str) -> str:
        return format_a1111({"prompt": text, "model": text, "scheduler": text, "steps": 1, "lora": [text]})

    assert takes_linear_time(format_record, ("", token, ""))


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:artgen="urn:artgen:xmp:1.0#">'


@pytest.mark.parametrize("prefix", ["", "{", '{"a":', '{"a":"', XMP, f"{XMP}<a ", f"{XMP}<artgen:record>"])
@pytest.mark.parametrize(
    "part", ["[", '{"a":', "1", "\\", '"b":0,', "0,", " ", "<a>", "<", "&#65;", "&amp;", 'a="" ', "<!--", "<?", "]]"]
)
def test_records_are_parsed_in_linear_time(prefix: str, part: str) -> None:
    def parse(text: str) -> object:
        return _parse_record(text, [])

    assert takes_linear_time(parse, (prefix, part, ""))


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE a [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>"]
)
def test_document_types_in_xmp_are_ignored(text: str) -> None:
    assert _parse_record(f"{text}{XMP}<artgen:record>&b;</artgen:record></x:xmpmeta>", []) is None


def test_large_comfy_graphs_are_read_in_bounded_time() -> None:
    names = ("positive", "negative", "model", "latent_image", "seed", "steps", "cfg", "sampler_name", "scheduler")
    graph = {"0": {"class_type": "KSampler", "inputs": {name: ["1", 0] for name in names}}}
    graph |= {
        str(i): {"class_type": "x", "inputs": {str(j): [str((i * 7 + j) % 4999), 0] for j in range(40)}}
        for i in range(1, 4999)
    }
    start = time.process_time()
    parse_comfy(graph)
    assert time.process_time() - start < 20
