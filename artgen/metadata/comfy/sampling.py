"""Find the samplers that the saved image comes from, and read their settings."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from artgen.metadata.comfy.graph import Link, Node, sort_key
from artgen.metadata.comfy.node_classes import find_input, image_links, is_sampler, own_prompt, pipe_links
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.external_record import FieldValue

MAX_PASSES = 50
_SETTINGS: tuple[tuple[str, type[FieldValue]], ...] = (
    ("seed", int),
    ("steps", int),
    ("guidance_scale", float),
    ("scheduler", str),
    ("sigmas", str),
    ("strength", float),
)
_SAMPLER_OBJECTS = {
    "SamplerDPMAdaptative": "dpm_adaptive",
    "SamplerEulerAncestral": "euler_ancestral",
    "SamplerEulerAncestralCFGPP": "euler_ancestral_cfg_pp",
    "SamplerEulerCFGpp": "euler_cfg_pp",
    "SamplerLCMUpscale": "lcm",
    "SamplerSASolver": "sa_solver",
    "SamplerER_SDE": "er_sde",
    "SamplerSEEDS2": "seeds_2",
}
_SIGMA_OBJECTS = {
    "KarrasScheduler": "karras",
    "ExponentialScheduler": "exponential",
    "PolyexponentialScheduler": "polyexponential",
    "BetaSamplingScheduler": "beta",
    "LaplaceScheduler": "laplace",
    "VPScheduler": "vp",
    "SDTurboScheduler": "sd_turbo",
    "AlignYourStepsScheduler": "align_your_steps",
    "GITSScheduler": "gits",
}
_OTHER_INPUTS = re.compile(r".*(?:model|clip|vae|positive|negative|conditioning|control_net|mask|lora|text|seed).*")
_SAVE_WORDS = ("save", "video", "preview", "output", "display", "viewer", "compare", "send")
MAX_OUTPUTS = 50
"""Limit of the nodes that save images, of which the samplers are searched."""


class Path(NamedTuple):
    """Represent the path from an image or latents back to its source.

    Attributes:
        nodes: ids of the nodes between, without the source; the node nearest to the saved image is first.
        source: id of a sampler, or of the node where the path ends; empty if there is none.
    """

    nodes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Pass:
    """Represent one sampler on the way to the saved image.

    Attributes:
        node_id: id of the sampler.
        after: path from the saved image, or from the next sampler, to this sampler.
        before: path from this sampler to its input: the previous sampler, an image or empty latents.
    """

    node_id: str
    after: Path
    before: Path


def find_passes(walker: Walker) -> list[Pass]:
    """Return the samplers of the saved image, the first pass first.

    The saved image is the input of the first node that saves images, or of another one that adds passes to its image;
    previews are used if nothing is saved. Samplers that do not lead to an output are used only if no output has one.
    """
    graph = walker.graph
    ids = sorted(graph, key=sort_key)
    found: list[Pass] = []
    for word in _SAVE_WORDS:
        for key in [key for key in ids if word in graph[key].kind.lower() and not is_sampler(graph[key])][:MAX_OUTPUTS]:
            passes = _passes_from(walker, image_links(graph[key]) or pipe_links(graph[key]))
            if {item.node_id for item in passes} > {item.node_id for item in found}:
                found = passes
        if found:
            return found
    used = {link.node for node in graph.values() for _, link in node.links}
    samplers = [key for key in ids if is_sampler(graph[key])]
    if samplers:
        unused = [key for key in samplers if key not in used]
        return _passes_from(walker, [Link(key, 0) for key in [*unused, *samplers][:1]])
    return _generators(walker, [key for key in ids if any(word in graph[key].kind.lower() for word in _SAVE_WORDS)])


def _generators(walker: Walker, outputs: list[str]) -> list[Pass]:
    """Return the node with a prompt of its own that the image of the first of some output nodes comes from."""
    for output in outputs[:MAX_OUTPUTS]:
        path = _find_source(walker, image_links(walker.graph[output]))
        for index, key in enumerate([*path.nodes, path.source]):
            if key and own_prompt(walker.graph[key]) is not None:
                before = _find_source(walker, image_links(walker.graph[key]))
                return [Pass(key, Path(path.nodes[:index], key), before)]
    return []


def count_saved_samplers(walker: Walker) -> int:
    """Return the number of different samplers whose images the graph saves."""
    nodes = [node for node in walker.graph.values() if "save" in node.kind.lower() and not is_sampler(node)]
    sources = {_find_source(walker, image_links(node)).source for node in nodes[:MAX_OUTPUTS]}
    return len({key for key in sources if key and is_sampler(walker.graph[key])})


def _passes_from(walker: Walker, links: list[Link]) -> list[Pass]:
    passes: list[Pass] = []
    after = _find_source(walker, links)
    seen = set[str]()
    while (
        after.source and is_sampler(walker.graph[after.source]) and after.source not in seen and len(seen) < MAX_PASSES
    ):
        seen.add(after.source)
        before = _find_source(walker, _sampler_inputs(walker, after.source))
        passes.append(Pass(after.source, after, before))
        after = before
    return passes[::-1]


def _sampler_inputs(walker: Walker, node_id: str) -> list[Link]:
    """Return the latents or the image that a sampler starts from."""
    node = walker.graph[node_id]
    latent = walker.attribute(node, "latent")
    if isinstance(latent, Link):
        return [latent]
    return image_links(node) or pipe_links(node)


def _find_source(walker: Walker, links: list[Link]) -> Path:
    """Return the path to the nearest sampler, or to the nearest node without an input image; a breadth-first search."""
    parents: dict[str, str] = {}
    ends: list[str] = []
    queue: deque[tuple[str, object]] = deque(("", link) for link in links)
    while queue:
        parent, value = queue.popleft()
        value = walker.follow(value)
        if not isinstance(value, Link) or value.node in parents:
            continue
        key = value.node
        parents[key] = parent
        node = walker.graph[key]
        if is_sampler(node):
            return Path(_path_to(parents, key), key)
        inputs: list[Link] = image_links(node) or pipe_links(node)
        if not inputs and not _is_source(node):
            inputs = [link for name, link in node.links if not _OTHER_INPUTS.fullmatch(name)]
        if not inputs:
            ends.append(key)
        queue.extend((key, link) for link in inputs)
    return Path(_path_to(parents, ends[0]), ends[0]) if ends else Path((), "")


def _path_to(parents: dict[str, str], key: str) -> tuple[str, ...]:
    nodes = []
    while key := parents[key]:
        nodes.append(key)
    return tuple(nodes[::-1])


def _is_source(node: Node) -> bool:
    """Return whether a node creates latents or loads an image."""
    return find_input(node, "width") is not None or isinstance(node.inputs.get("image"), str)


def read_settings(walker: Walker, node_id: str) -> dict[str, FieldValue]:
    """Return the settings of a sampler: seed, steps, guidance_scale, scheduler, sigmas, strength.

    The scheduler and the sigmas have the names of ComfyUI. `first_step` and `last_step` are set if the sampler
    runs only a part of the steps.
    """
    node = walker.visit(node_id)
    if isinstance(script := walker.follow(node.inputs.get("script")), Link):
        walker.visit(script.node)
    values: dict[str, object] = {role: walker.attribute(node, role) for role, _ in _SETTINGS}
    values |= {"first_step": node.inputs.get("start_at_step"), "last_step": node.inputs.get("end_at_step")}
    values |= dict(_object_settings(walker, node))
    settings: dict[str, FieldValue] = {}
    for role, kind in (*_SETTINGS, ("first_step", int), ("last_step", int)):
        if values.get(role) is not None and (value := walker.number(values[role], role, kind)) is not None:
            settings[role] = value
    return settings


def _object_settings(walker: Walker, node: Node) -> Iterator[tuple[str, object]]:
    """Yield the settings of the nodes that `SamplerCustom` and `SamplerCustomAdvanced` are connected to."""
    for name, role in (("noise", "seed"), ("guider", "guidance_scale")):
        link = walker.follow(walker.attribute(node, name))
        if isinstance(link, Link):
            yield role, find_input(walker.visit(link.node), role)
    sampler = walker.follow(node.inputs.get("sampler"))
    if isinstance(sampler, Link):
        source = walker.graph[sampler.node]
        known = _SAMPLER_OBJECTS.get(source.kind, source.kind.removeprefix("Sampler").lower())
        yield "scheduler", source.inputs.get("sampler_name", known)
    sigmas, first_step = node.inputs.get("sigmas"), None
    for _ in range(len(walker.graph)):
        sigmas = walker.follow(sigmas)
        if not isinstance(sigmas, Link):
            return
        source = walker.visit(sigmas.node)
        if "sigmas" not in source.inputs:
            yield "steps", find_input(source, "steps")
            yield "sigmas", source.inputs.get("scheduler", _SIGMA_OBJECTS.get(source.kind))
            yield "strength", find_input(source, "strength")
            yield "first_step", first_step
            return
        if source.kind == "SplitSigmas" and sigmas.slot == 1:
            first_step = source.inputs.get("step")
        sigmas = source.inputs["sigmas"]
