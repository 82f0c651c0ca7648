"""Test that the prompts of ComfyUI graphs are found through the output slots of links."""

from collections.abc import Callable
from typing import Any

import pytest

from artgen.metadata import parse_comfy
from tests.helpers.comfy_graphs import FIELDS, Out, Parts, Pipeline, read, start

FORMS = pytest.mark.parametrize("form", ["api", "editor", "new editor"])


def control_net(parts: Parts) -> Out:
    return parts.graph.add("ControlNetLoader", control_net_name="canny.safetensors")


def apply_to_positive(parts: Parts) -> None:
    image = parts.graph.add("LoadImage", image="pose.png")
    parts.positive = parts.graph.add(
        "ControlNetApply", conditioning=parts.positive, control_net=control_net(parts), image=image, strength=0.8
    )


def apply_to_both(parts: Parts) -> None:
    image = parts.graph.add("LoadImage", image="pose.png")
    applied = parts.graph.add(
        "ControlNetApplyAdvanced", positive=parts.positive, negative=parts.negative, control_net=control_net(parts),
        image=image, strength=0.8, start_percent=0.0, end_percent=1.0,
    )  # fmt: skip
    parts.positive, parts.negative = applied, Out(applied.node, 1)


def apply_negative_first(parts: Parts) -> None:
    applied = parts.graph.add(
        "ControlNetApplyAdvanced", negative=parts.negative, positive=parts.positive, control_net=control_net(parts),
        image=parts.graph.add("LoadImage", image="pose.png"), strength=1.0, start_percent=0.0, end_percent=0.5,
    )  # fmt: skip
    parts.positive, parts.negative = applied, Out(applied.node, 1)


def apply_twice(parts: Parts) -> None:
    apply_to_both(parts)
    apply_to_both(parts)


def apply_to_both_of_inpaint(parts: Parts) -> None:
    apply_to_both(parts)
    image = parts.graph.add("LoadImage", image="room.png")
    inpaint = parts.graph.add(
        "InpaintModelConditioning", positive=parts.positive, negative=parts.negative, vae=parts.vae, pixels=image,
        mask=Out(image.node, 1), noise_mask=True,
    )  # fmt: skip
    parts.positive, parts.negative = inpaint, Out(inpaint.node, 1)


def set_ranges(parts: Parts) -> None:
    for name in ("positive", "negative"):
        ranged = parts.graph.add("ConditioningSetTimestepRange", conditioning=getattr(parts, name), start=0.0, end=1.0)
        setattr(parts, name, ranged)


def set_area(parts: Parts) -> None:
    parts.positive = parts.graph.add(
        "ConditioningSetArea", conditioning=parts.positive, width=64, height=64, x=0, y=0, strength=1.0
    )


def set_mask(parts: Parts) -> None:
    mask = parts.graph.add("LoadImageMask", image="mask.png", channel="red")
    parts.positive = parts.graph.add(
        "ConditioningSetMask", conditioning=parts.positive, mask=mask, strength=1.0, set_cond_area="default"
    )


def style_and_unclip(parts: Parts) -> None:
    vision = parts.graph.add("CLIPVisionEncode", clip_vision=parts.graph.add("CLIPVisionLoader", clip_name="vision"))
    style = parts.graph.add("StyleModelLoader", style_model_name="redux.safetensors")
    parts.positive = parts.graph.add(
        "StyleModelApply", conditioning=parts.positive, style_model=style, clip_vision_output=vision, strength=0.5,
        strength_type="multiply",
    )  # fmt: skip
    parts.positive = parts.graph.add(
        "unCLIPConditioning", conditioning=parts.positive, clip_vision_output=vision, strength=1.0,
        noise_augmentation=0.1,
    )  # fmt: skip


def gligen(parts: Parts) -> None:
    parts.positive = parts.graph.add(
        "GLIGENTextBoxApply", conditioning_to=parts.positive, clip=parts.clip,
        gligen_textbox_model=parts.graph.add("GLIGENLoader", gligen_name="g"), text="a hat", width=64, height=64, x=0,
        y=0,
    )  # fmt: skip


def reference_latent(parts: Parts) -> None:
    parts.positive = parts.graph.add("ReferenceLatent", conditioning=parts.positive, latent=parts.latent)


def reroutes(parts: Parts) -> None:
    for name in ("positive", "negative", "model", "latent"):
        for _ in range(3):
            setattr(parts, name, parts.graph.add("Reroute", **{"": getattr(parts, name)}))


def pair_of_new_conditionings(parts: Parts) -> None:
    node = parts.graph.add(
        "PairConditioningSetProperties", positive_NEW=parts.positive, negative_NEW=parts.negative, strength=1.0
    )
    parts.positive, parts.negative = node, Out(node.node, 1)


def control_with_model(parts: Parts) -> None:
    node = parts.graph.add(
        "ACN_AdvancedControlNetApply", positive=parts.positive, negative=parts.negative, model_optional=parts.model,
        control_net=control_net(parts), image=parts.graph.add("LoadImage", image="pose.png"), strength=0.5,
    )  # fmt: skip
    parts.positive, parts.negative, parts.model = node, Out(node.node, 1), Out(node.node, 2)


def controlnet_text(parts: Parts) -> None:
    """Add a node with a text that is only for the ControlNet."""
    parts.positive = parts.graph.add(
        "CLIPTextEncodeControlnet", clip=parts.clip, conditioning=parts.positive, text="other"
    )


WRAPPERS: list[Callable[[Parts], None]] = [
    apply_to_positive, apply_to_both, apply_negative_first, apply_twice, apply_to_both_of_inpaint, set_ranges, set_area,
    set_mask, style_and_unclip, gligen, reference_latent, reroutes, controlnet_text,
    pair_of_new_conditionings, control_with_model,
]  # fmt: skip


@FORMS
@pytest.mark.parametrize("negative_first", [False, True])
@pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: wrap.__name__)
def test_prompts_are_found_behind_conditioning_nodes(
    wrap: Callable[[Parts], None], negative_first: bool, form: str
) -> None:
    parts = start(negative_first=negative_first)
    wrap(parts)
    assert read(parts.finish(), form).fields == FIELDS


@FORMS
@pytest.mark.parametrize("inner", [set_ranges, reroutes, set_area], ids=lambda wrap: wrap.__name__)
@pytest.mark.parametrize("outer", [apply_to_both, apply_to_both_of_inpaint], ids=lambda wrap: wrap.__name__)
def test_prompts_are_found_behind_combinations(
    inner: Callable[[Parts], None], outer: Callable[[Parts], None], form: str
) -> None:
    parts = start(negative_first=True)
    inner(parts)
    outer(parts)
    inner(parts)
    assert read(parts.finish(), form).fields == FIELDS


@FORMS
def test_exchanged_outputs_exchange_the_prompts(form: str) -> None:
    parts = start()
    apply_to_both(parts)
    parts.positive, parts.negative = parts.negative, parts.positive
    fields = read(parts.finish(), form).fields
    assert (fields["prompt"], fields["negative_prompt"]) == ("blurry", "a red fox")


@FORMS
@pytest.mark.parametrize("has_control", [False, True])
def test_zeroed_conditioning_is_an_empty_prompt(has_control: bool, form: str) -> None:
    parts = start()
    parts.negative = parts.graph.add("ConditioningZeroOut", conditioning=parts.positive)
    if has_control:
        apply_to_both(parts)
    assert read(parts.finish(), form).fields == {**FIELDS, "negative_prompt": ""}


@FORMS
@pytest.mark.parametrize("kind", ["ConditioningCombine", "ConditioningConcat"])
def test_combined_prompts_contain_each_text_once(kind: str, form: str) -> None:
    parts = start()
    other = parts.graph.encode("a hat", parts.clip)
    names = ("conditioning_1", "conditioning_2") if kind == "ConditioningCombine" else (
        "conditioning_to", "conditioning_from"
    )  # fmt: skip
    inner = parts.graph.add(kind, **dict(zip(names, (parts.positive, other), strict=True)))
    parts.positive = parts.graph.add(kind, **dict(zip(names, (inner, parts.positive), strict=True)))
    record = read(parts.finish(), form)
    assert record.fields["prompt"] == "a red fox, a hat"
    assert record.fields["negative_prompt"] == "blurry"
    assert any("prompts" in feature.name for feature in record.features)


@pytest.mark.parametrize(("weight", "prompt"), [(1.0, "a red fox"), (0.0, "a hat"), (0.4, "a red fox, a hat")])
def test_averaged_prompts_depend_on_the_weight(weight: float, prompt: str) -> None:
    parts = start()
    other = parts.graph.encode("a hat", parts.clip)
    parts.positive = parts.graph.add(
        "ConditioningAverage", conditioning_to=parts.positive, conditioning_from=other, conditioning_to_strength=weight
    )
    assert read(parts.finish()).fields["prompt"] == prompt


ENCODERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("CLIPTextEncodeSDXL", {"width": 1024, "height": 1024, "crop_w": 0, "crop_h": 0, "target_width": 1024,
     "target_height": 1024, "text_g": "TEXT", "text_l": "TEXT"}, "TEXT", ""),
    ("CLIPTextEncodeSDXL", {"width": 1024, "height": 1024, "crop_w": 0, "crop_h": 0, "target_width": 1024,
     "target_height": 1024, "text_g": "TEXT", "text_l": "style words"}, "TEXT", "style words"),
    ("CLIPTextEncodeSDXL", {"width": 1024, "height": 1024, "crop_w": 0, "crop_h": 0, "target_width": 1024,
     "target_height": 1024, "text_g": "", "text_l": "TEXT"}, "TEXT", ""),
    ("CLIPTextEncodeSDXLRefiner", {"ascore": 6.0, "width": 1024, "height": 1024, "text": "TEXT"}, "TEXT", ""),
    ("CLIPTextEncodeFlux", {"clip_l": "TEXT", "t5xxl": "TEXT", "guidance": 3.5}, "TEXT", ""),
    ("CLIPTextEncodeFlux", {"clip_l": "tags", "t5xxl": "TEXT", "guidance": 3.5}, "TEXT", "tags"),
    ("CLIPTextEncodeSD3", {"clip_l": "TEXT", "clip_g": "TEXT", "t5xxl": "", "empty_padding": "none"}, "TEXT", ""),
    ("CLIPTextEncodeHunyuanDiT", {"bert": "TEXT", "mt5xl": "TEXT"}, "TEXT", ""),
    ("CLIPTextEncodeLumina2", {"system_prompt": "superior", "user_prompt": "TEXT"}, "TEXT", ""),
    ("TextEncodeQwenImageEdit", {"prompt": "TEXT"}, "TEXT", ""),
    ("BNK_CLIPTextEncodeAdvanced",
     {"text": "TEXT", "token_normalization": "none", "weight_interpretation": "comfy"}, "TEXT", ""),
]  # fmt: skip


@FORMS
@pytest.mark.parametrize(("kind", "inputs", "prompt", "second"), ENCODERS)
def test_text_encoders_with_several_texts_are_read(
    kind: str, inputs: dict[str, Any], prompt: str, second: str, form: str
) -> None:
    parts = start()
    for name, text in (("positive", "a blue cat"), ("negative", "ugly")):
        filled = {key: text if value == "TEXT" else value for key, value in inputs.items()}
        setattr(parts, name, parts.graph.add(kind, clip=parts.clip, **filled))
    record = read(parts.finish(), form)
    assert record.fields["prompt"] == prompt.replace("TEXT", "a blue cat")
    assert record.fields["negative_prompt"] == prompt.replace("TEXT", "ugly")
    others = [feature.value for feature in record.features if feature.name == "text of another encoder"]
    assert others == [second] * bool(second)


def primitive(graph: Pipeline, text: str) -> Out:
    return graph.add("PrimitiveNode", value=text)


def long_primitive(graph: Pipeline, text: str) -> Out:
    return graph.add("PrimitiveStringMultiline", value=text)


def concatenation(graph: Pipeline, text: str) -> Out:
    first, _, last = text.partition(" ")
    return graph.add(
        "StringConcatenate",
        string_a=graph.add("PrimitiveString", value=first),
        string_b=last,
        delimiter=" " * bool(last),
    )


def was_concatenation(graph: Pipeline, text: str) -> Out:
    first, _, last = text.partition(" ")
    texts = {"text_a": graph.add("Text Multiline", text=first), "text_b": graph.add("Text Multiline", text=last)}
    empty = graph.add("Text Multiline", text="")
    return graph.add("Text Concatenate", delimiter=" ", clean_whitespace="true", **texts, text_c=empty)


def appended(graph: Pipeline, text: str) -> Out:
    first, _, last = text.partition(" ")
    return graph.add(
        "StringFunction|pysssss", action="append", tidy_tags="no", text_a=first, text_b=" " if last else "", text_c=last
    )


def shown(graph: Pipeline, text: str) -> Out:
    return graph.add("ShowText|pysssss", text=graph.add("PrimitiveString", value=text), text_0="of another run")


def rerouted_text(graph: Pipeline, text: str) -> Out:
    return graph.add("Reroute", **{"": graph.add("easy string", value=text)})


def joined(graph: Pipeline, text: str) -> Out:
    first, _, last = text.partition(" ")
    return graph.add("JoinStrings", string1=first, string2=last, delimiter=" ")


def core_replaced(graph: Pipeline, text: str) -> Out:
    return graph.add("StringReplace", string=f"{text[:1]}##{text[1:]}", find="##", replace="")


def selected(graph: Pipeline, text: str) -> Out:
    texts = [graph.add("PrimitiveString", value=value) for value in ("first", text, "third")]
    inputs = {f"input{index + 1}": out for index, out in enumerate(texts)}
    return graph.add("ImpactSwitch", **inputs, select=2, sel_mode=False)


def replaced(graph: Pipeline, text: str) -> Out:
    return graph.add(
        "StringFunction|pysssss", action="replace", tidy_tags="no", text_a=f"{text}!!", text_b="!!", text_c=""
    )


TEXTS = [
    primitive, long_primitive, concatenation, was_concatenation, appended, shown, rerouted_text, selected, replaced,
    joined, core_replaced,
]  # fmt: skip


@pytest.mark.parametrize("form", ["api", "new editor"])
@pytest.mark.parametrize("make", TEXTS, ids=lambda make: make.__name__)
def test_texts_of_other_nodes_are_found(make: Callable[[Pipeline, str], Out], form: str) -> None:
    parts = start()
    for name, text in (("positive", "a red fox"), ("negative", "blurry")):
        setattr(parts, name, parts.graph.encode(make(parts.graph, text), parts.clip))
    assert read(parts.finish(), form).fields == FIELDS


def test_a_style_node_returns_both_prompts() -> None:
    parts = start()
    styler = parts.graph.add("SDXLPromptStyler", text_positive="a red fox", text_negative="blurry", style="base")
    parts.positive = parts.graph.encode(styler, parts.clip)
    parts.negative = parts.graph.encode(Out(styler.node, 1), parts.clip)
    assert read(parts.finish()).fields == FIELDS


def test_output_names_of_the_editor_select_the_input_of_an_unknown_node() -> None:
    parts = start()
    node = parts.graph.add("MyNode", image=parts.vae, negative=parts.negative, positive=parts.positive)
    parts.positive, parts.negative = Out(node.node, 2), Out(node.node, 1)
    prompt, workflow = parts.finish().api(), parts.graph.workflow()
    for name, output in zip(
        ("image", "negative", "positive"), workflow["nodes"][int(node.node) - 1]["outputs"], strict=False
    ):
        output["name"] = name
    record = parse_comfy(prompt, workflow)
    assert record is not None
    assert record.fields == FIELDS


def test_unknown_text_sources_give_a_note_and_no_prompt() -> None:
    parts = start()
    parts.positive = parts.graph.encode(parts.graph.add("Captioner", image=parts.vae), parts.clip)
    record = read(parts.finish())
    assert "prompt" not in record.fields
    assert record.fields["negative_prompt"] == "blurry"
    assert any("Captioner" in note for note in record.notes)
    assert any("no prompt" in note for note in record.notes)


def test_names_of_text_files_are_not_prompts() -> None:
    parts = start()
    loader = parts.graph.add("LoadPromptFromFile", prompt_file="prompts/fox.txt", index=0)
    parts.positive = parts.graph.encode(parts.graph.add("UnzipPrompt", zipped_prompt=loader), parts.clip)
    record = read(parts.finish())
    assert "prompt" not in record.fields
    assert any("LoadPromptFromFile" in note for note in record.notes)


def test_random_texts_are_unknown_and_changed_texts_give_a_note() -> None:
    parts = start()
    lines = parts.graph.add("Text Random Line", text="a\nb", seed=3)
    joined = parts.graph.add("Text Concatenate", linebreak_addition="false", text_a=lines, text_b="a red fox")
    parts.positive = parts.graph.encode(parts.graph.add("Text Parse Tokens", text=joined), parts.clip)
    record = read(parts.finish())
    assert record.fields["prompt"] == "a red fox"
    assert any("Text Random Line" in note for note in record.notes)
    assert any("Text Parse Tokens" in note for note in record.notes)


@pytest.mark.parametrize(("addition", "text"), [("true", "a\nb"), ("false", "ab")])
def test_line_breaks_of_joined_texts_are_read(addition: str, text: str) -> None:
    parts = start()
    texts = {
        "text_a": parts.graph.add("Text Multiline", text="a"),
        "text_b": parts.graph.add("Text Multiline", text="b"),
    }
    joined = parts.graph.add("Text Concatenate", linebreak_addition=addition, **texts)
    parts.positive = parts.graph.encode(joined, parts.clip)
    assert [read(parts.finish(), form).fields["prompt"] for form in ("api", "editor")] == [text, text]


@pytest.mark.parametrize("form", ["api", "new editor"])
def test_prompts_of_services_are_read(form: str) -> None:
    graph = Pipeline()
    image = graph.add("OpenAIDalle3", prompt=graph.add("PrimitiveString", value="a red fox"), seed=7, size="1024x1024")
    graph.add("SaveImage", images=image, filename_prefix="x")
    record = read(graph, form)
    assert record.fields == {"prompt": "a red fox", "prompt_weights": "none", "seed": 7}
    assert [(each.name, each.value) for each in record.features] == [("other generator", "OpenAIDalle3")]


def test_embeddings_weights_and_choices_are_kept() -> None:
    text = "a (red:1.3) fox, embedding:styles/soft.pt, {a|b}"
    parts = start()
    parts.graph.change(parts.positive, text=text)
    for form, has_note in (("api", False), ("editor", True)):
        record = read(parts.finish() if form == "api" else parts.graph, form)
        assert (record.fields["prompt"], record.fields["prompt_weights"]) == (text, "comfy")
        assert [file.name for file in record.embeddings] == ["styles/soft.pt"]
        assert any("braces" in note for note in record.notes) == has_note


def test_weights_with_the_rule_of_a1111_are_named() -> None:
    parts = start()
    parts.positive = parts.graph.add(
        "BNK_CLIPTextEncodeAdvanced", text="a red fox", clip=parts.clip, token_normalization="none",
        weight_interpretation="A1111",
    )  # fmt: skip
    assert read(parts.finish()).fields["prompt_weights"] == "a1111"


def test_lora_tags_are_text_unless_a_node_reads_them() -> None:
    parts = start()
    parts.graph.change(parts.positive, text="a <lora:foo:0.5> fox")
    record = read(parts.finish())
    assert record.fields["prompt"] == "a <lora:foo:0.5> fox"
    assert not record.loras
    assert any("LoRA tags" in note for note in record.notes)
    parts = start()
    node = parts.graph.add(
        "ImpactWildcardEncode", model=parts.model, clip=parts.clip, wildcard_text="a {red|blue} fox",
        populated_text="a red fox <lora:foo:0.5>", mode="populate", seed=3,
    )  # fmt: skip
    parts.model, parts.positive = node, Out(node.node, 2)
    record = read(parts.finish())
    assert record.fields["prompt"] == "a red fox"
    assert [str(lora) for lora in record.loras] == ["foo:0.5"]


def add_switch(parts: Parts, kind: str, names: tuple[str, str, str], choice: Any) -> None:
    """Connect the positive input to a node that returns the prompt or another prompt."""
    other = parts.graph.encode("a blue cat", parts.clip)
    condition, first, second = names
    values = {condition: choice, first: parts.positive, second: other}
    parts.positive = parts.graph.add(kind, **values)


@FORMS
@pytest.mark.parametrize("is_linked", [False, True])
@pytest.mark.parametrize(
    ("kind", "names", "first", "second"),
    [
        ("ImpactSwitch", ("select", "input1", "input2"), 1, 2),
        ("ImpactConditionalBranch", ("cond", "tt_value", "ff_value"), True, False),
        ("easy ifElse", ("boolean", "on_true", "on_false"), True, False),
        ("ComfySwitchNode", ("switch", "on_true", "on_false"), True, False),
    ],
)
def test_switches_return_the_input_that_they_select(
    form: str, is_linked: bool, kind: str, names: tuple[str, str, str], first: Any, second: Any
) -> None:
    for choice, prompt in ((first, "a red fox"), (second, "a blue cat")):
        parts = start()
        parts.graph.change(parts.positive, text="a red fox")
        source = parts.graph.add("PrimitiveInt", value=choice) if is_linked else choice
        add_switch(parts, kind, names, source)
        record = read(parts.finish(), form)
        assert record.fields["prompt"] == prompt
        assert not record.notes


def test_a_switch_with_a_computed_choice_has_a_note() -> None:
    parts = start()
    add_switch(parts, "ImpactSwitch", ("select", "input1", "input2"), parts.graph.add("RandomInt", low=1))
    assert any("ImpactSwitch" in note for note in read(parts.finish()).notes)
    switch = parts.positive
    parts.graph.change(switch, select=switch, input2=switch)  # A cycle.
    assert any("ImpactSwitch" in note for note in read(parts.graph).notes)


def test_the_second_prompt_of_a_guider_is_named() -> None:
    parts = start()
    guider = parts.graph.add(
        "DualCFGGuider", model=parts.model, cond1=parts.positive, cond2=parts.graph.encode("x", parts.clip),
        negative=parts.negative, cfg_conds=4.0, cfg_cond2_negative=2.0,
    )  # fmt: skip
    sampler = parts.graph.add(
        "SamplerCustomAdvanced", guider=guider, noise=parts.graph.add("RandomNoise", noise_seed=7),
        sampler=parts.graph.add("KSamplerSelect", sampler_name="euler"), latent_image=parts.graph.latent(),
        sigmas=parts.graph.add("Flux2Scheduler", steps=20, width=64, height=64),
    )  # fmt: skip
    parts.graph.save(sampler, Out(parts.model.node, 2))
    for form in ("api", "editor"):
        record = read(parts.graph, form)
        assert "second prompt of the guidance" in [feature.name for feature in record.features]
        assert record.fields["steps"] == 20
