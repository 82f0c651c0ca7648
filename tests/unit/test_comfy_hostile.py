"""Test that damaged and hostile ComfyUI graphs are read in bounded time, without errors."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artgen.metadata import parse_comfy, read_metadata
from tests.helpers.comfy_graphs import FIELDS, Out, Parts, Pipeline, read, start

MAX_SECONDS = 20

NAMES = (
    "class_type", "inputs", "positive", "negative", "model", "latent_image", "text", "nodes", "links", "type", "id",
    "widgets_values", "seed", "pipe", "sigmas", "guider", "definitions", "subgraphs", "extra", "groupNodes",
    "external",
    "origin_id", "lora_stack", "lora_1", "properties", "proxyWidgets", "link", "name", "widget", "1", "2", "mode",
    "select", "value", "width", "image", "images", "outputs", "prompt",
)  # fmt: skip
KINDS = (
    "KSampler", "SaveImage", "Reroute", "SetNode", "GetNode", "CLIPTextEncode", "workflow/g", "g", "ImpactSwitch",
    "ControlNetApplyAdvanced", "SamplerCustomAdvanced", "Power Lora Loader (rgthree)", "StringConcatenate",
    "Context (rgthree)", "easy kSampler", "PrimitiveNode", "LoRA Stacker", "ConditioningAverage",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.floats() | st.sampled_from(NAMES + KINDS) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
NODES = st.dictionaries(
    st.sampled_from("123456"),
    st.fixed_dictionaries({
        "class_type": st.sampled_from(KINDS),
        "inputs": st.dictionaries(
            st.sampled_from(NAMES), JSON | st.tuples(st.sampled_from("123456"), st.integers(-1, 3)).map(list),
            max_size=8,
        ),
    }),
)  # fmt: skip
EDITOR_NODES = st.lists(
    st.fixed_dictionaries({
        "id": st.integers(1, 6), "type": st.sampled_from(KINDS), "mode": st.sampled_from([0, 2, 4, "x"]),
        "widgets_values": JSON, "outputs": st.lists(JSON, max_size=3) | JSON, "properties": JSON,
        "inputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(NAMES), "link": st.integers(1, 6) | JSON, "type": JSON}),
            max_size=4,
        ),
    }),
    max_size=6,
)  # fmt: skip
LINKS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(-1, 3), st.integers(1, 6), st.integers(0, 3)).map(list)
    | JSON,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(NODES | JSON, JSON)
def test_random_prompts_raise_no_errors(prompt: object, workflow: object) -> None:
    record = parse_comfy(prompt, workflow)
    if record is not None:
        record.to_dict()


@settings(deadline=None, max_examples=60)
@given(EDITOR_NODES, LINKS, EDITOR_NODES, LINKS, JSON)
def test_random_workflows_raise_no_errors(nodes: Any, links: Any, inner: Any, inner_links: Any, other: Any) -> None:
    part = {"id": "g", "nodes": inner, "links": inner_links, "external": other, "inputs": inner, "outputs": other}
    extra = {"groupNodes": {"g": part}}
    graph = {"nodes": nodes, "links": links, "definitions": {"subgraphs": [part, other]}, "extra": extra}
    parse_comfy(None, graph)
    parse_comfy(other, {**graph, "definitions": other, "extra": other})


@pytest.mark.parametrize("mode", [0, 4])
def test_group_that_contains_itself_is_not_expanded_forever(mode: int) -> None:
    node = {"id": 1, "type": "workflow/g", "mode": mode, "inputs": [{"name": "x", "link": 1}], "outputs": [{}]}
    other = {**node, "id": 2, "mode": 4}
    graph = {"nodes": [node], "links": [], "extra": {"groupNodes": {"g": {"nodes": [{**node, "mode": 0}, other]}}}}
    assert parse_comfy(None, graph) is None


def long_reroutes() -> Any:
    parts = start()
    for _ in range(1500):
        for name in ("positive", "model", "latent"):
            setattr(parts, name, parts.graph.add("Reroute", **{"": getattr(parts, name)}))
    return parts.finish().api()


def diamonds() -> Any:
    parts = start()
    text = parts.graph.add("PrimitiveString", value="a red fox")
    for _ in range(200):
        text = parts.graph.add("StringConcatenate", string_a=text, string_b=text, delimiter=" ")
    parts.positive = parts.graph.encode(text, parts.clip)
    for _ in range(1000):
        parts.positive = parts.graph.add(
            "ConditioningCombine", conditioning_1=parts.positive, conditioning_2=parts.positive
        )
    for _ in range(1000):
        parts.model = parts.graph.add("ModelMergeSimple", model1=parts.model, model2=parts.model, ratio=0.5)
    return parts.finish().api()


def dense() -> Any:
    names = (
        "positive",
        "negative",
        "model",
        "latent_image",
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "image",
    )
    graph: dict[str, Any] = {"0": {"class_type": "KSampler", "inputs": {name: ["1", 0] for name in names}}}
    graph |= {
        str(index): {
            "class_type": kind,
            "inputs": {f"{names[j % 10]}": [str((index * 7 + j) % 4999), j % 3] for j in range(40)},
        }
        for index, kind in zip(range(1, 4999), KINDS * 300, strict=False)
    }
    return graph


def many_outputs() -> Any:
    parts = start()
    chain = Out(str(len(parts.finish().nodes) - 1))
    for _ in range(1500):
        chain = parts.graph.add("ImageSharpen", image=chain)
        parts.graph.add("SaveImage", images=chain)
    return parts.graph.api()


def nested_groups() -> Any:
    nodes = [{"id": index, "type": "workflow/g" if index % 2 else "g", "inputs": []} for index in range(3000)]
    links = [[index, index, 0, index, 0, "X"] for index in range(20_000)]
    part = {"id": "g", "nodes": nodes, "links": links, "external": links}
    return {"nodes": nodes, "links": links, "definitions": {"subgraphs": [part]}, "extra": {"groupNodes": {"g": part}}}


def many_widgets() -> Any:
    values = ["x"] * 5000
    inputs = [{"name": f"n{index}", "widget": {}} for index in range(5000)]
    nodes = [{"id": 1, "type": "KSampler", "inputs": inputs, "widgets_values": values, "outputs": inputs, "mode": 4}]
    return {"nodes": nodes * 300, "links": []}


@pytest.mark.parametrize(
    "make", [long_reroutes, diamonds, dense, many_outputs, nested_groups, many_widgets], ids=lambda make: make.__name__
)
def test_large_graphs_are_read_in_bounded_time(make: Any) -> None:
    graph = make()
    begin = time.process_time()
    parse_comfy(graph, graph)
    assert time.process_time() - begin < MAX_SECONDS


def test_long_chains_are_followed() -> None:
    record = parse_comfy(long_reroutes())
    assert record is not None
    assert record.fields == FIELDS


def test_joined_texts_have_a_limit() -> None:
    record = parse_comfy(diamonds())
    assert record is not None
    assert len(str(record.fields.get("prompt", ""))) <= 100_000


@pytest.mark.parametrize("side", ["positive", "negative", "model", "latent_image", "seed"])
def test_cycles_leave_the_field_unset(side: str) -> None:
    graph = start().finish()
    sampler = next(key for key, node in graph.nodes.items() if node.kind == "KSampler")
    loop = graph.add("Loop", **{name: Out(sampler) for name in ("conditioning", "model", "samples", "value")})
    graph.change(loop, conditioning=loop, value=loop, model=loop)
    graph.change(Out(sampler), **{side: loop})
    fields = read(graph).fields
    names = {"positive": "prompt prompt_weights", "negative": "negative_prompt", "latent_image": "width height"}
    missing = names.get(side, side).split()
    assert fields == {name: value for name, value in FIELDS.items() if name not in missing}


@pytest.mark.parametrize(
    "value", [None, True, [], {}, "x", 10**400, float("inf"), float("nan"), -1.5, ["5"], ["5", 0, 1]]
)
def test_values_of_a_wrong_type_are_unset(value: Any) -> None:
    graph = start().finish()
    for name in ("seed", "steps", "cfg"):
        graph.change(Out("5"), **{name: value})
    fields = parse_comfy(graph.api()).fields  # type: ignore[union-attr]
    assert "seed" not in fields
    assert "steps" not in fields
    assert fields["prompt"] == "a red fox"


NODES_WITH_ONE_INPUT = {
    "ConditioningSetArea": "conditioning", "ConditioningSetMask": "conditioning", "FluxGuidance": "conditioning",
    "ControlNetApply": "conditioning", "unCLIPConditioning": "conditioning", "Reroute": "",
    "ConditioningSetTimestepRange": "conditioning", "StyleModelApply": "conditioning", "MyNode": "cond",
}  # fmt: skip
NODES_WITH_TWO_INPUTS = ("ControlNetApplyAdvanced", "InpaintModelConditioning", "MyControl")


@st.composite
def wirings(draw: st.DrawFn) -> tuple[Pipeline, dict[str, str]]:
    """Return a graph with random conditioning nodes, and the prompts, which are known by construction."""
    parts: Parts = start(negative_first=draw(st.booleans()))
    graph = parts.graph
    outputs = [(parts.positive, "a red fox"), (parts.negative, "blurry")]
    for index in range(draw(st.integers(0, 3))):
        text = f"decoy {index}"
        outputs.append((graph.encode(text, parts.clip), text))
    for _ in range(draw(st.integers(0, 12))):
        first, text = draw(st.sampled_from(outputs))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(sorted(NODES_WITH_ONE_INPUT)))
            outputs.append((graph.add(kind, **{NODES_WITH_ONE_INPUT[kind]: first}), text))
        else:
            second, other = draw(st.sampled_from(outputs))
            inputs = {"positive": first, "negative": second}
            if draw(st.booleans()):
                inputs = dict(reversed(inputs.items()))
            node = graph.add(draw(st.sampled_from(NODES_WITH_TWO_INPUTS)), **inputs)
            outputs += [(node, text), (Out(node.node, 1), other)]
    parts.positive, prompt = draw(st.sampled_from(outputs))
    parts.negative, negative = draw(st.sampled_from(outputs))
    return parts.finish(), {"prompt": prompt, "negative_prompt": negative}


@settings(deadline=None, max_examples=60)
@given(wirings(), st.sampled_from(["api", "editor", "new editor"]))
def test_prompts_of_random_wirings_are_found(wiring: tuple[Pipeline, dict[str, str]], form: str) -> None:
    graph, prompts = wiring
    assert read(graph, form).fields == {**FIELDS, **prompts}


@pytest.mark.parametrize("form", ["api", "editor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_unset_with_a_note(value: float, form: str, tmp_path: Path) -> None:
    graph = start().finish()
    graph.change(Out("5"), cfg=value)
    data: Any = graph.api() if form == "api" else graph.workflow()
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(data), "utf-8")
    found = read_metadata(path)
    assert found.fields == {name: item for name, item in FIELDS.items() if name != "guidance_scale"}
    assert any("not finite" in note for note in found.notes)
    if form == "api":
        graph.change(Out("5"), cfg=6.5)
        data = graph.api()
        data["5"]["is_changed"] = [value]
        path.write_text(json.dumps(data), "utf-8")
        assert read_metadata(path).fields == FIELDS
