"""Test LoRA tags in prompts: their grammar, their removal from the prompt, and the LoRAs of the request."""

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors_files import zero_file

from artgen import Txt2Img, metadata
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.events import note_listener
from artgen.jobs.prompt_expansion import expand_prompts
from artgen.spec.lora import LoraSpec
from artgen.spec.prompt_tags import PromptTag, find_tags, parse_lora_tag, remove_tags, spaced_tags, unclosed_tags

UNET = {
    "unet.mid_block.attentions.0.proj_in.lora_A.weight": (2, 16),
    "unet.mid_block.attentions.0.proj_in.lora_B.weight": (16, 2),
}
TEXT = {
    "text_encoder.encoder.layers.0.mlp.fc1.lora_A.weight": (2, 32),
    "text_encoder.encoder.layers.0.mlp.fc1.lora_B.weight": (37, 2),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a folder of LoRAs with different contents, and use it as lora_folder."""
    folder = tmp_path / "loras"
    folder.mkdir()
    zero_file(folder / "foo.safetensors", UNET | TEXT)
    zero_file(folder / "foo (v2) bar.safetensors", UNET | TEXT, {"number": "2"})
    zero_file(folder / "unet.safetensors", UNET)
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", str(folder))
    return folder


def expand(prompt: str, **settings: Any) -> tuple[Txt2Img, list[str]]:
    """Return the expanded request, and the notes."""
    notes: list[str] = []
    request = expand_prompts(Txt2Img(prompt=prompt, seed=1, **settings), note_listener(notes.append))
    assert isinstance(request, Txt2Img)
    return request, notes


def loras(request: Txt2Img) -> list[tuple[str, float, float | None]]:
    return [(Path(each.name).stem, each.scale, each.text_scale) for each in request.loras]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("1girl, <lora:foo:0.8>portrait", "1girl, portrait"),
        ("1girl, <lora:foo:0.8>, portrait", "1girl, , portrait"),
        ("a <lora:foo:1> fox", "a fox"),
        ("a<lora:foo:1>fox", "a fox"),
        ("a fox<lora:foo:1><lora:unet:1>", "a fox"),
        ("<lora:foo>a fox", "a fox"),
        ("(<lora:foo:1> red:1.2) fox", "( red:1.2) fox"),
        ("a\n<lora:foo:1>\nfox", "a\n\nfox"),
        ("<lora:foo:1>", ""),
    ],
)
def test_removing_a_tag_keeps_the_words_around_it(prompt: str, text: str) -> None:
    request, notes = expand(prompt)
    assert (request.prompt, notes) == (text, [])
    assert request.expansion is not None
    assert request.expansion.template == prompt
    assert metadata.parse_a1111(f"{prompt}\nSteps: 1, Sampler: Euler, Seed: 1").fields["prompt"] == text


@pytest.mark.parametrize(
    ("tag", "spec"),
    [
        ("<lora:foo>", ("foo", 1.0, None)),
        ("<lora:foo:.5>", ("foo", 0.5, None)),
        ("<lora: foo : -1 >", ("foo", -1.0, None)),
        ("<LoRA:foo:1e-1>", ("foo", 0.1, None)),
        ("<lyco:foo:1>", ("foo", 1.0, None)),
        ("<lora:foo:0.5:1>", ("foo", 1.0, 0.5)),
        ("<lora:foo:unet=1:te=0.5>", ("foo", 1.0, 0.5)),
        ("<lora:foo:te=0.5>", ("foo", 0.5, None)),
        ("<lora:foo:0>", ("foo", 0.0, None)),
        ("<lora:foo.safetensors:1>", ("foo", 1.0, None)),
        ("<lora:foo (v2) bar:1>", ("foo (v2) bar", 1.0, None)),
    ],
)
def test_a_tag_attaches_a_lora(tag: str, spec: tuple[str, float, float | None]) -> None:
    assert loras(expand(f"a {tag} fox")[0]) == [spec]


def test_two_scales_have_the_order_of_a1111_and_a_note() -> None:
    assert expand("a <lora:foo:0.5:1>")[1] == [
        "'<lora:foo:0.5:1>' sets scale 0.5 for the text encoders and 1 for the denoiser, as in AUTOMATIC1111."
    ]
    request, notes = expand("a <lora:unet:0.5:1>")
    assert loras(request) == [("unet", 1.0, None)]
    assert notes == [
        "The scale for text encoders in '<lora:unet:0.5:1>' has no effect: the LoRA does not change text encoders."
    ]


@pytest.mark.parametrize(
    ("prompt", "error", "message", "hint"),
    [
        ("<lora:fo:1>", InputFileError, "Cannot find the LoRA 'fo'.", "Did you mean foo?"),
        ("<lora:zzzzzz>", InputFileError, "Cannot find the LoRA 'zzzzzz'.", "Give a path"),
        ("<lora:foo:strong>", UsageError, "must be a number from -10 to 10, not 'strong'", "<lora:NAME:0.8>"),
        ("<lora:foo:nan>", UsageError, "must be a number from -10 to 10, not 'nan'", "<lora:NAME:0.8>"),
        ("<lora:foo:11>", UsageError, "must be a number from -10 to 10, not '11'", "<lora:NAME:0.8>"),
        ("<lora:foo:te=x>", UsageError, "must be a number from -10 to 10, not 'x'", "<lora:NAME:0.8>"),
        ("<lora::1>", UsageError, "names no LoRA", "<lora:NAME:0.8>"),
        ("<hypernet:x:1>", UsageError, "does not support hypernetworks", "Remove the tag"),
        ("<lora:foo:6> <lora:foo:5>", UsageError, "add up to 11", "Name the LoRA once."),
    ],
)
def test_wrong_tags_are_refused(prompt: str, error: type[ArtgenError], message: str, hint: str) -> None:
    with pytest.raises(error) as caught:
        expand(f"a fox {prompt}")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"prompt": "a <foo:bar> fox"}, "'<foo:bar>' is text"),
        ({"prompt": "a fox < lora:foo:1>"}, "'< lora:foo:1>' is text: a tag of a LoRA has no spaces before its name."),
        ({"prompt": "a fox <LoRA :foo>"}, "'<LoRA :foo>' is text: a tag of a LoRA has no spaces before its name."),
        ({"prompt": "a fox <lora:foo"}, "'<lora:foo' is text: a tag of a LoRA ends with '>'."),
        ({"prompt": "a", "negative_prompt": "<lora:foo:1> bad"}, "in the negative prompt is text, as in AUTOMATIC1111"),
        ({"prompt": "a", "negative_prompt": "<hypernet:x:1>"}, "in the negative prompt is text, as in AUTOMATIC1111"),
        ({"prompt": "a <lora:foo:1>", "prompt_weights": "none"}, "is text, because prompt_weights is none"),
    ],
)
def test_tags_without_an_effect_are_text_with_a_note(settings: dict[str, Any], note: str) -> None:
    request, notes = expand(**settings)
    assert (request.prompt, request.negative_prompt) == (settings["prompt"], settings.get("negative_prompt", ""))
    assert (request.lora, len(notes)) == ((), 1)
    assert note in notes[0]


@pytest.mark.parametrize(
    ("tag", "note"),
    [("<lora:foo:1:1:4>", "4 in"), ("<lora:foo:1:lbw=OUTALL>", "lbw=OUTALL in"), ("<lora:foo:1:dyn=2>", "dyn=2 in")],
)
def test_arguments_without_an_effect_get_a_note(tag: str, note: str) -> None:
    request, notes = expand(f"a {tag}")
    assert loras(request) == [("foo", 1.0, None)]
    assert notes == [f"{note} '{tag}' has no effect."]


def test_scales_of_a_lora_that_is_named_several_times_are_added() -> None:
    request, notes = expand("a <lora:foo:0.5> <lora:foo:0.25>", lora=("foo:0.1", "unet"))
    assert loras(request) == [("foo", 0.85, None), ("unet", 1.0, None)]
    assert notes == ["The LoRA 'foo' is named 3 times. Its scales are added: 0.85."]


def test_a_tag_in_square_brackets_gets_a_note() -> None:
    assert expand("[<lora:foo:1>::10] fox")[1] == [
        "A LoRA whose tag is in square brackets is active in all steps, as in AUTOMATIC1111."
    ]
    assert expand(r"\[<lora:foo:1> fox")[1] == []


def test_a_request_of_a_record_keeps_tags_as_text() -> None:
    from artgen.spec.records import from_record

    request = from_record({"artgen": "0.1.0", "task": "txt2img", "prompt": "<lora:unknown:1> embedding:unknown"})
    assert expand_prompts(request) is request


@pytest.mark.parametrize(
    "text",
    ["<lora:" * 16_000, "<" * 100_000, "<" + "a" * 99_000, f"<lora:{':' * 99_000}>", f"<lora:x:{'1' * 99_000}>",
     f"<lora:{'1:' * 49_000}>", "<a:b>" * 20_000, "[" * 50_000 + "<lora:x:1>"],
)  # fmt: skip
def test_tags_are_parsed_in_linear_time(text: str) -> None:
    start = time.process_time()
    for tag in find_tags(text):
        with contextlib.suppress(UsageError):
            parse_lora_tag(tag)
    remove_tags(text, lambda _: True)
    unclosed_tags(text)
    spaced_tags(text)
    assert time.process_time() - start < 3


@given(st.text(st.sampled_from("<lora:>ab 1.=\n,")))
def test_removing_tags_keeps_all_other_characters(text: str) -> None:
    removed = "".join(f"<{tag.kind}:{tag.arguments}>" for tag in find_tags(text))
    rest = remove_tags(text, lambda _: True)
    assert sorted("".join((rest + removed).split())) == sorted("".join(text.split()))


def test_a_name_may_contain_colons_and_numbers() -> None:
    assert parse_lora_tag(PromptTag("lora", "a:b:0.8", 0))[0] == LoraSpec("a:b", 0.8)
    assert parse_lora_tag(PromptTag("lora", "0.8", 0))[0] == LoraSpec("0.8")
    assert parse_lora_tag(PromptTag("lora", "civitai:123:0.8", 0))[0] == LoraSpec("civitai:123", 0.8)
