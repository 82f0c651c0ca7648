"""Test that hostile metadata of other tools raises no errors, and the conversion of prompt weights."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from artgen import metadata
from artgen.errors import InputFileError
from artgen.metadata.tools import read_external
from tests.helpers import other_tools as tools

EASY_LINES = (
    "Prompt: a red fox\nNegative Prompt: a house\nSeed: 42\nStable Diffusion model: fox-model\nSampler: euler_a\n"
)


@pytest.mark.parametrize(
    ("text", "converted"),
    [
        ("{a} b", "(a:1.05) b"),
        ("{{a}} b", "(a:1.103) b"),
        ("[a] b", "(a:0.952) b"),
        ("{a, [b]} c", "(a:1.05), b c"),
        ("1.5::a:: b", "(a:1.5) b"),
        ("(a)", r"\(a\)"),
        ("plain", "plain"),
        ("{a", "(a:1.05)"),
    ],
)
def test_weights_of_novelai_are_converted(text: str, converted: str) -> None:
    comment = {**tools.NOVELAI, "prompt": text}
    record = read_external({"Software": "NovelAI", "Comment": json.dumps(comment), "Description": text})
    assert record is not None
    assert record.fields["prompt"] == converted
    assert bool(record.notes) == (text != converted)


@pytest.mark.parametrize(
    ("text", "converted"),
    [
        ("a red+ fox", "a (red:1.1) fox"),
        ("(a fox)1.3 x", "(a fox:1.3) x"),
        ("(a fox)-- x", "(a fox:0.81) x"),
        ("((a)+ b)1.2", "((a:1.1) b:1.2)"),
        ("a [b]", r"a \[b\]"),
        ("well-known, c++", "well-known, (c:1.21)"),
        (r"\(a\)", r"\(a\)"),
        ("(a b)", "a b"),
        ("a)", r"a\)"),
    ],
)
def test_weights_of_invokeai_are_converted(text: str, converted: str) -> None:
    record = read_external({"invokeai_metadata": json.dumps({**tools.INVOKEAI, "positive_prompt": text})})
    assert record is not None
    assert record.fields["prompt"] == converted
    functions = json.dumps({**tools.INVOKEAI, "positive_prompt": '("a", "b").blend(1, 1)'})
    record = read_external({"invokeai_metadata": functions})
    assert record is not None
    assert record.fields["prompt_weights"] == "none"
    assert "functions of InvokeAI" in record.notes[0]


SOURCES = {
    "parameters": [tools.A1111, json.dumps(tools.SWARMUI), json.dumps(tools.FOOOCUS)],
    "invokeai_metadata": [json.dumps(tools.INVOKEAI)],
    "sd-metadata": [json.dumps(tools.INVOKEAI_2)],
    "Dream": [tools.DREAM],
    "Comment": [json.dumps(tools.NOVELAI)],
    "UserComment": [json.dumps(tools.MFLUX)],
    "json": [json.dumps(tools.EASYDIFFUSION)],
    "xmp:UserComment": [json.dumps(tools.DRAWTHINGS)],
    "Description": [tools.MIDJOURNEY],
    "text": [EASY_LINES],
}
CASES = [(name, text) for name, texts in SOURCES.items() for text in texts]
INSERTED = st.sampled_from(
    ["null", "[]", "{}", '"x"', "-1", "1e999", "true", "<lora:", "[", "}", ",", "\n", "\0", "é", "9" * 50]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CASES), st.integers(0, 2000), st.integers(0, 40), INSERTED)
def test_mutated_metadata_raises_no_errors(case: tuple[str, str], start: int, length: int, inserted: str) -> None:
    name, text = case
    start %= len(text)
    record = read_external({name: text[:start] + inserted + text[start + length :]})
    if record is not None:
        assert set(record.fields) <= metadata.external_record.FIELD_KINDS.keys()
        assert json.dumps(record.to_dict(), allow_nan=False)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_values_of_other_types_raise_no_errors(data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from([case for case in CASES if case[1].startswith("{")]))
    content = json.loads(text)
    target = content
    for key in ("sui_image_params", "image"):
        target = content.get(key, target) if isinstance(content.get(key), dict) else target
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON_VALUES)
    record = read_external({name: json.dumps(content, allow_nan=False)})
    if record is not None:
        for field, value in record.fields.items():
            assert type(value) is metadata.external_record.FIELD_KINDS[field]


@pytest.mark.parametrize(
    "part", [" ", "[", "{", "(", "++", "::", " --ar 1", "<lora:a:1>", "Steps: 2, ", "\n", ": ", "\\"]
)
@pytest.mark.parametrize(
    "template",
    [
        "{}",
        '"a{} -s 2',
        '"{}" -s 20 -A x',
        "fox{}\nSteps: 20, Sampler: Euler, Seed: 1",
        "fox\nSteps: 20, Sampler: Euler{}",
    ],
)
def test_long_texts_are_read_in_bounded_time(template: str, part: str) -> None:
    text = template.replace("{}", part * (300_000 // len(part)))
    start = time.process_time()
    for name in ("parameters", "Dream", "Description", "text"):
        read_external({name: text})
    names = ", ".join(f"{index}: 0123456789ab" for index in range(20_000))
    read_external({"parameters": f'{text}\nSteps: 20, Sampler: Euler, TI hashes: "{names}", Lora hashes: "{names}"'})
    for comment in ({**tools.NOVELAI, "prompt": text}, {**tools.INVOKEAI, "positive_prompt": text}):
        read_external({"Comment": json.dumps(comment), "invokeai_metadata": json.dumps(comment), "Software": "NovelAI"})
    assert time.process_time() - start < 10


def test_stealth_signature_needs_a_complete_image(tmp_path: Path) -> None:
    path = tools.write_stealth(tmp_path / "a.png", "stealth_pngcomp", in_alpha=True)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputFileError):
        metadata.read_metadata(path)
    Image.new("RGBA", (1, 1)).save(path)
    with pytest.raises(InputFileError, match="contains no generation metadata"):
        metadata.read_metadata(path)
