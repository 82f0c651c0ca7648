"""Build graphs in the formats of ComfyUI: the API format, and the editor format of older and newer versions.

The values of a node are given in the order of its widgets in ComfyUI.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from artgen.metadata import ExternalRecord, parse_comfy

OUTPUT_TYPES: Mapping[str, tuple[str, ...]] = {
    "CheckpointLoaderSimple": ("MODEL", "CLIP", "VAE"),
    "LoraLoader": ("MODEL", "CLIP"),
    "Power Lora Loader (rgthree)": ("MODEL", "CLIP"),
    "CLIPTextEncode": ("CONDITIONING",),
    "ControlNetApply": ("CONDITIONING",),
    "ControlNetApplyAdvanced": ("CONDITIONING", "CONDITIONING"),
    "InpaintModelConditioning": ("CONDITIONING", "CONDITIONING", "LATENT"),
    "KSampler": ("LATENT",),
    "VAEDecode": ("IMAGE",),
    "LoadImage": ("IMAGE", "MASK"),
}
OUTPUT_NAMES: Mapping[str, tuple[str, ...]] = {
    "ControlNetApplyAdvanced": ("positive", "negative"),
    "InpaintModelConditioning": ("positive", "negative", "latent"),
}


class Out(NamedTuple):
    """Represent an output of a node."""

    node: str
    slot: int = 0


@dataclass(frozen=True)
class GraphNode:
    """Represent a node: class, inputs in order, mode (0 active, 2 muted, 4 bypassed) and stored widget values."""

    kind: str
    inputs: Mapping[str, Any]
    mode: int = 0
    widgets: Any = None


@dataclass
class ComfyGraph:
    """Collect nodes. Node ids are numbers in the order of creation."""

    nodes: dict[str, GraphNode] = field(default_factory=dict)
    _links: list[list[Any]] = field(default_factory=list)

    def add(self, kind: str, **inputs: Any) -> Out:
        """Add a node and return its first output."""
        key = str(len(self.nodes) + 1)
        self.nodes[key] = GraphNode(kind, inputs)
        return Out(key)

    def change(self, out: Out, **changes: Any) -> None:
        """Change the mode, the widgets or the inputs of a node."""
        node = self.nodes[out.node]
        own = {name: value for name, value in changes.items() if name in ("mode", "widgets")}
        rest = {name: value for name, value in changes.items() if name not in own}
        self.nodes[out.node] = replace(node, inputs={**node.inputs, **rest}, **own)

    def api(self) -> dict[str, Any]:
        """Return the API format."""
        return {
            key: {
                "class_type": node.kind,
                "inputs": {
                    name: list(value) if isinstance(value, Out) else value for name, value in node.inputs.items()
                },
                "_meta": {"title": node.kind},
            }
            for key, node in self.nodes.items()
        }

    def workflow(self, *, lists_widgets: bool = False) -> dict[str, Any]:
        """Return the editor format.

        Args:
            lists_widgets: list the widgets in the inputs, as newer editors do.
        """
        self._links = []
        nodes = [self._editor_node(key, node, lists_widgets) for key, node in self.nodes.items()]
        return {"last_node_id": len(nodes), "nodes": nodes, "links": self._links, "groups": [], "version": 0.4}

    def _editor_node(self, key: str, node: GraphNode, lists_widgets: bool) -> dict[str, Any]:
        slots, values = [], []
        for name, value in node.inputs.items():
            is_link = isinstance(value, Out)
            is_widget = not is_link or name in WIDGET_LINKS
            if is_link or lists_widgets:
                slot: dict[str, Any] = {"name": name, "type": self._type(value) if is_link else "STRING"}
                slot["link"] = self._link(value, key, len(slots)) if is_link else None
                if is_widget:
                    slot["widget"] = {"name": name}
                slots.append(slot)
            if is_widget:
                values.append(STALE_VALUES.get(name, "stale") if is_link else value)
                if name in ("seed", "noise_seed"):
                    values.append("randomize")
        types = OUTPUT_TYPES.get(node.kind, ("*",) * 8)
        names = OUTPUT_NAMES.get(node.kind, types)
        outputs = [{"name": name, "type": kind, "links": []} for name, kind in zip(names, types, strict=True)]
        values = values if node.widgets is None else node.widgets
        return {
            "id": int(key), "type": node.kind, "pos": [0, 0], "mode": node.mode, "inputs": slots, "outputs": outputs,
            "properties": {"Node name for S&R": node.kind}, "widgets_values": values,
        }  # fmt: skip

    def _type(self, out: Out) -> str:
        types = OUTPUT_TYPES.get(self.nodes[out.node].kind, ("*",) * 8)
        return types[out.slot]

    def _link(self, out: Out, target: str, slot: int) -> int:
        number = len(self._links) + 1
        self._links.append([number, int(out.node), out.slot, int(target), slot, self._type(out)])
        return number


WIDGET_LINKS = frozenset({"text", "seed", "noise_seed", "steps", "cfg", "width", "height", "denoise", "value"})
"""Inputs that have a widget. If they are linked, the file still contains the value that the widget had before."""
STALE_VALUES = {"seed": 1, "noise_seed": 1, "steps": 1, "cfg": 1.5, "width": 64, "height": 64, "denoise": 0.1}


@dataclass
class Pipeline(ComfyGraph):
    """Build the parts of a usual graph. The truth is `FIELDS`, if nothing is changed."""

    def loader(self) -> Out:
        """Add a checkpoint: outputs model, CLIP, VAE."""
        return self.add("CheckpointLoaderSimple", ckpt_name="base.safetensors")

    def encode(self, text: Any, clip: Out) -> Out:
        """Add a text encoder."""
        return self.add("CLIPTextEncode", text=text, clip=clip)

    def latent(self) -> Out:
        """Add empty latents."""
        return self.add("EmptyLatentImage", width=512, height=768, batch_size=1)

    def sampler(self, model: Out, positive: Out, negative: Out, latent: Out, **changes: Any) -> Out:
        """Add a KSampler."""
        values = {"seed": 42, "steps": 25, "cfg": 6.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0}
        links = {"model": model, "positive": positive, "negative": negative, "latent_image": latent}
        return self.add("KSampler", **(values | changes), **links)

    def save(self, samples: Out, vae: Out) -> Out:
        """Add a decoder and a node that saves the image."""
        return self.add("SaveImage", images=self.add("VAEDecode", samples=samples, vae=vae), filename_prefix="ComfyUI")


FIELDS = {
    "prompt": "a red fox", "negative_prompt": "blurry", "prompt_weights": "comfy", "seed": 42, "steps": 25,
    "guidance_scale": 6.5, "scheduler": "euler", "sigmas": "karras", "width": 512, "height": 768,
    "model": "base.safetensors",
}  # fmt: skip
"""Fields of a graph of `Pipeline`."""


@dataclass
class Parts:
    """Store the outputs that a test connects differently."""

    graph: Pipeline
    model: Out
    clip: Out
    vae: Out
    positive: Out
    negative: Out
    latent: Out

    def finish(self, **changes: Any) -> Pipeline:
        """Add the sampler, the decoder and the node that saves the image."""
        samples = self.graph.sampler(self.model, self.positive, self.negative, self.latent, **changes)
        self.graph.save(samples, self.vae)
        return self.graph


def start(*, negative_first: bool = False) -> Parts:
    """Return a graph without its sampler. The node of the negative prompt may have the lower id."""
    graph = Pipeline()
    loader = graph.loader()
    texts = ["blurry", "a red fox"] if negative_first else ["a red fox", "blurry"]
    first, second = (graph.encode(text, Out(loader.node, 1)) for text in texts)
    positive, negative = (second, first) if negative_first else (first, second)
    return Parts(graph, loader, Out(loader.node, 1), Out(loader.node, 2), positive, negative, graph.latent())


def read(graph: Pipeline, form: str = "api") -> ExternalRecord:
    """Return the record of a graph after a round trip through JSON. Forms: `api`, `editor`, `new editor`."""
    data: Any = graph.api() if form == "api" else graph.workflow(lists_widgets=form == "new editor")
    data = json.loads(json.dumps(data))
    record = parse_comfy(data) if form == "api" else parse_comfy(None, data)
    assert record is not None
    return record
