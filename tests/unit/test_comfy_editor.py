"""Test the structures that exist only in the editor format of ComfyUI."""

import copy
from typing import Any

import pytest

from artgen.metadata import ExternalRecord, parse_comfy
from tests.helpers.comfy_graphs import FIELDS, ComfyGraph, Out, Parts, Pipeline, read, start

EDITORS = pytest.mark.parametrize("form", ["editor", "new editor"])


def workflow(graph: ComfyGraph, form: str = "editor") -> dict[str, Any]:
    return graph.workflow(lists_widgets=form == "new editor")


def parse(graph: dict[str, Any]) -> ExternalRecord:
    record = parse_comfy(None, graph)
    assert record is not None
    return record


def apply_control(parts: Parts) -> Out:
    net = parts.graph.add("ControlNetLoader", control_net_name="canny.safetensors")
    applied = parts.graph.add(
        "ControlNetApplyAdvanced", positive=parts.positive, negative=parts.negative, control_net=net,
        image=parts.graph.add("LoadImage", image="pose.png"), strength=0.8, start_percent=0.0, end_percent=1.0,
    )  # fmt: skip
    parts.positive, parts.negative = applied, Out(applied.node, 1)
    return applied


@EDITORS
def test_bypassed_nodes_pass_the_input_of_the_same_slot(form: str) -> None:
    parts = start()
    parts.graph.change(apply_control(parts), mode=4)
    lora = parts.graph.add("LoraLoader", model=parts.model, clip=parts.clip, lora_name="a", strength_model=1.0,
                           strength_clip=1.0)  # fmt: skip
    parts.model = lora
    parts.graph.change(lora, mode=4)
    record = read(parts.finish(), form)
    assert record.fields == FIELDS
    assert not record.features
    assert not record.loras


@EDITORS
def test_bypassed_sampler_of_the_second_pass_is_skipped(form: str) -> None:
    parts = start()
    first = parts.graph.sampler(parts.model, parts.positive, parts.negative, parts.latent)
    second = parts.graph.sampler(parts.model, parts.positive, parts.negative, first, seed=1, denoise=0.5)
    parts.graph.change(second, mode=4)
    parts.graph.save(second, parts.vae)
    record = read(parts.graph, form)
    assert record.fields == FIELDS
    assert not record.features


@EDITORS
def test_muted_nodes_are_absent(form: str) -> None:
    parts = start()
    parts.graph.change(parts.negative, mode=2)
    other = parts.graph.sampler(parts.model, parts.positive, parts.negative, parts.latent, seed=1)
    muted = parts.graph.save(other, parts.vae)
    parts.graph.change(muted, mode=2)
    record = read(parts.finish(), form)
    assert record.fields == {name: value for name, value in FIELDS.items() if name != "negative_prompt"}
    assert not any("samplers" in note for note in record.notes)


@EDITORS
@pytest.mark.parametrize(("setter", "getter"), [("SetNode", "GetNode"), ("easy setNode", "easy getNode")])
def test_set_and_get_nodes_are_followed(setter: str, getter: str, form: str) -> None:
    parts = start()
    for name in ("positive", "negative", "model", "latent"):
        node = parts.graph.add(setter, CONDITIONING=getattr(parts, name))
        parts.graph.change(node, widgets=[name])
        got = parts.graph.add(getter)
        parts.graph.change(got, widgets=[name])
        setattr(parts, name, got)
    assert read(parts.finish(), form).fields == FIELDS


@EDITORS
def test_broadcasts_to_inputs_without_a_link_are_followed(form: str) -> None:
    parts = start()
    graph = workflow(parts.finish(), form)
    sampler = next(node for node in graph["nodes"] if node["type"] == "KSampler")
    links = {slot["name"]: slot["link"] for slot in sampler["inputs"] if slot["link"]}
    for slot in sampler["inputs"]:
        if slot["name"] in ("model", "positive", "negative"):
            slot["link"] = None
    for index, names in enumerate((["model"], ["positive", "negative"])):
        labels = {"model": "anything", "positive": "+ve", "negative": "-ve"}
        kind = "Anything Everywhere" if index == 0 else "Prompts Everywhere"
        inputs = [{"name": labels[name], "type": "*", "link": links[name]} for name in names]
        graph["nodes"].insert(0, {"id": 80 + index, "type": kind, "inputs": inputs, "outputs": []})
    assert parse(graph).fields == FIELDS


def test_unused_setters_and_cyclic_reroutes_are_ignored() -> None:
    parts = start()
    graph = workflow(parts.finish())
    sampler = next(node for node in graph["nodes"] if node["type"] == "KSampler")
    link = next(slot["link"] for slot in sampler["inputs"] if slot["name"] == "negative")
    for entry in graph["links"]:
        if entry[0] == link:
            entry[1] = 90
    graph["links"] += [[91, 90, 0, 92, 0, "*"], [93, 92, 0, 90, 0, "*"]]
    graph["nodes"] += [
        {"id": 90, "type": "Reroute", "inputs": [{"name": "", "link": 93}], "outputs": [{"name": ""}]},
        {"id": 92, "type": "Reroute", "inputs": [{"name": "", "link": 91}], "outputs": [{"name": ""}]},
    ]
    assert "negative_prompt" not in parse(graph).fields


def in_subgraph(graph: Pipeline, inner: set[str], form: str, name: str = "sub") -> dict[str, Any]:
    """Move nodes into a subgraph. Inputs and outputs of the subgraph are created for the links that cross it."""
    whole = workflow(graph, form)
    nodes = {str(node["id"]): node for node in whole["nodes"]}
    definition: dict[str, Any] = {
        "id": name, "name": "My part", "inputNode": {"id": -10}, "outputNode": {"id": -20}, "inputs": [], "outputs": [],
        "links": [], "nodes": [nodes[key] for key in inner],
    }  # fmt: skip
    instance: dict[str, Any] = {"id": 500, "type": name, "mode": 0, "inputs": [], "outputs": [], "widgets_values": []}
    outside = []
    for number, origin, slot, target, target_slot, kind in whole["links"]:
        ends = (str(origin) in inner, str(target) in inner)
        link = {"id": number, "origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": target_slot,
                "type": kind}  # fmt: skip
        if ends == (False, True):
            outside.append([number, origin, slot, 500, len(instance["inputs"]), kind])
            pin = f"pin{number}"
            instance["inputs"].append({"name": pin, "type": kind, "link": number})
            link |= {"origin_id": -10, "origin_slot": len(definition["inputs"])}
            definition["inputs"].append({"name": pin, "type": kind, "linkIds": [number]})
        elif ends == (True, False):
            outside.append([number, 500, len(instance["outputs"]), target, target_slot, kind])
            link |= {"target_id": -20, "target_slot": len(definition["outputs"])}
            instance["outputs"].append({"name": kind, "type": kind})
            definition["outputs"].append({"name": kind, "type": kind, "linkIds": [number]})
        elif ends == (False, False):
            outside.append([number, origin, slot, target, target_slot, kind])
        if any(ends):
            definition["links"].append(link)
    whole["nodes"] = [node for key, node in nodes.items() if key not in inner] + [instance]
    whole["links"] = outside
    whole["definitions"] = {"subgraphs": [definition]}
    return whole


@EDITORS
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_subgraphs_are_expanded(size: int, form: str) -> None:
    parts = start()
    apply_control(parts)
    graph = parts.finish()
    keys = list(graph.nodes)
    for first in range(len(keys) - size + 1):
        record = parse(in_subgraph(graph, set(keys[first : first + size]), form))
        assert record.fields == FIELDS
        assert [feature.name for feature in record.features] == ["ControlNet"]


@EDITORS
def test_nested_and_bypassed_subgraphs_are_expanded(form: str) -> None:
    parts = start()
    graph = in_subgraph(parts.finish(), {"2", "3", "5"}, form)
    outer = copy.deepcopy(graph)
    instance = next(node for node in outer["nodes"] if node["id"] == 500)
    inner = {**instance, "id": 1}
    outer["definitions"]["subgraphs"].append({
        "id": "outer", "inputs": outer["definitions"]["subgraphs"][0]["inputs"], "nodes": [inner],
        "outputs": instance["outputs"],
        "links": [
            *({"id": slot["link"], "origin_id": -10, "origin_slot": index, "target_id": 1, "target_slot": index}
              for index, slot in enumerate(inner["inputs"])),
            *({"id": 900 + index, "origin_id": 1, "origin_slot": index, "target_id": -20, "target_slot": index}
              for index in range(len(instance["outputs"]))),
        ],
    })  # fmt: skip
    instance["type"] = "outer"
    assert parse(outer).fields == FIELDS


def test_subgraphs_that_contain_themselves_are_bounded() -> None:
    nodes = [{"id": index, "type": "loop", "inputs": [], "outputs": []} for index in range(100)]
    graph = {"nodes": nodes, "links": [], "definitions": {"subgraphs": [{"id": "loop", "nodes": nodes, "links": []}]}}
    assert parse_comfy(None, graph) is None


@pytest.mark.parametrize("proxies", [[["-1", "text"]], [["2", "text"]], None])
def test_promoted_widgets_of_subgraphs_override_the_inner_values(proxies: list[list[str]] | None) -> None:
    graph = in_subgraph(start().finish(), {"2"}, "new editor")
    instance = next(node for node in graph["nodes"] if node["id"] == 500)
    definition = graph["definitions"]["subgraphs"][0]
    if proxies is None or proxies[0][0] == "-1":
        slot = len(definition["inputs"])
        definition["inputs"].append({"name": "text", "type": "STRING", "linkIds": [99]})
        definition["links"].append({"id": 99, "origin_id": -10, "origin_slot": slot, "target_id": 2, "target_slot": 0})
        next(each for each in definition["nodes"][0]["inputs"] if each["name"] == "text")["link"] = 99
        instance["inputs"].append({"name": "text", "link": None, "widget": {"name": "text"}})
    instance["properties"] = {"proxyWidgets": proxies} if proxies else {}
    assert parse(graph).fields["prompt"] == "a red fox"
    instance["widgets_values"] = ["a blue cat"]
    assert parse(graph).fields["prompt"] == "a blue cat"


def test_group_nodes_are_expanded() -> None:
    graph = workflow(start().finish())
    nodes = {node["id"]: node for node in graph["nodes"]}
    names = ("model", "clip", "clip", "latent_image")
    # The group contains both text encoders and the sampler: nodes 2, 3 and 5.
    group = {
        "nodes": [{**copy.deepcopy(nodes[key]), "index": index} for index, key in enumerate((2, 3, 5))],
        "links": [[0, 0, 2, 1, 2, "CONDITIONING"], [1, 0, 2, 2, 3, "CONDITIONING"]],
        "external": [[2, 0, "LATENT"]],
    }
    for node in group["nodes"]:
        node.pop("id")
    order = [("clip", 1, 1), ("CLIPTextEncode 2 clip", 1, 1), ("model", 1, 0), ("latent_image", 4, 0)]
    instance = {
        "id": 50, "type": "workflow/my group", "mode": 0,
        "inputs": [{"name": name, "link": 100 + index} for index, (name, _, _) in enumerate(order)],
        "outputs": [{"name": "LATENT", "type": "LATENT"}],
        "widgets_values": ["a red fox", "blurry", 42, "randomize", 25, 6.5, "euler", "karras", 1.0],
    }  # fmt: skip
    kept = [node for key, node in nodes.items() if key not in (2, 3, 5)]
    links = [link for link in graph["links"] if link[1] not in (2, 3, 5) and link[3] not in (2, 3, 5)]
    links += [[100 + index, node, slot, 50, index, "*"] for index, (_, node, slot) in enumerate(order)]
    decode = next(node for node in kept if node["type"] == "VAEDecode")
    next(slot for slot in decode["inputs"] if slot["name"] == "samples")["link"] = 110
    links.append([110, 50, 0, decode["id"], 0, "LATENT"])
    whole = {**graph, "nodes": [*kept, instance], "links": links, "extra": {"groupNodes": {"my group": group}}}
    assert len(names) == len(order)
    assert parse(whole).fields == FIELDS
    instance["widgets_values"] = ["a blue cat", *instance["widgets_values"][1:]]  # type: ignore[index]
    assert parse(whole).fields["prompt"] == "a blue cat"


def test_widgets_with_names_and_links_with_names_are_read() -> None:
    graph = workflow(start().finish())
    for node in graph["nodes"]:
        if node["type"] == "CLIPTextEncode":
            node["widgets_values"] = {"text": node["widgets_values"][0]}
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    graph["links"] = [dict(zip(names, link, strict=True)) for link in graph["links"]]
    assert parse(graph).fields == FIELDS


def test_text_nodes_with_unknown_widgets_are_read() -> None:
    parts = start()
    text = parts.graph.add("My Text Box", words="a red fox")
    parts.positive = parts.graph.encode(text, parts.clip)
    assert read(parts.finish(), "editor").fields == FIELDS


def test_seeds_without_a_control_value_are_read() -> None:
    graph = workflow(start().finish())
    sampler = next(node for node in graph["nodes"] if node["type"] == "KSampler")
    for control in ("fixed", "randomize", None, "missing"):
        values = [42, *([] if control == "missing" else [control]), 25, 6.5, "euler", "karras", 1.0]
        sampler["widgets_values"] = values
        assert parse(graph).fields == FIELDS
