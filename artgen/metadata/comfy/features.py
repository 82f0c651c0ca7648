"""Name the features of a ComfyUI graph that are not settings of artgen."""

import re
from collections.abc import Iterator, Sequence

from artgen.metadata.comfy.graph import Link, Node
from artgen.metadata.comfy.node_classes import is_sampler, own_prompt, pipe_links, size_text
from artgen.metadata.comfy.sampling import Pass, read_settings
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.comfy.weights import weight_chain
from artgen.metadata.external_record import MAX_VALUE_CHARS, Feature
from artgen.metadata.features import make_feature

_KINDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "ControlNet",
        r"control.?net|controllora|t2iadapter|cnet",
        ("control_net_name", "strength", "start_percent", "end_percent"),
    ),
    ("ControlNet stack", r"(?:control.?net|cnet).*(?:stack|multi)|(?:stack|multi).*(?:control.?net|cnet)", ()),
    ("model merge", r"merge", ("ratio",)),
    ("hypernetwork", r"hypernet", ("hypernetwork_name", "strength")),
    ("IP-Adapter", r"ipadapter|ip.?adapter|instantid|pulid|faceid|photomaker", ("weight", "preset")),
    ("unCLIP image", r"unclip", ("strength", "noise_augmentation")),
    ("style model", r"stylemodel|redux", ("style_model_name", "strength")),
    ("GLIGEN", r"gligen", ("text",)),
    ("regional prompts", r"setarea|setmask|regional|areacond|conditioningsetproperties", ("strength",)),
    ("prompt schedule", r"settimesteprange|promptschedule", ("start", "end")),
    ("averaged prompts", r"conditioningaverage", ("conditioning_to_strength",)),
    ("concatenated prompts", r"conditioningconcat", ()),
    ("combined prompts", r"conditioningcombine|conditioningmulti", ()),
    ("second prompt of the guidance", r"dualcfg", ("cfg_cond2_negative",)),
    ("hires fix", r"high.?res.?fix|hires.?fix", ("upscale_by", "hires_steps", "denoise")),
    ("reference image", r"referencelatent|kontext|qwenimageedit|instructpix(?:2|to)pix|imagestitch", ()),
    ("refiner", r"sdxlrefiner", ("ascore",)),
    ("adaptive projected guidance", r"^apg", ("eta", "norm_threshold", "momentum")),
    ("CFG-Zero*", r"cfgzerostar", ()),
    ("perturbed-attention guidance", r"perturbedattention|^pag", ("scale",)),
    ("upscale model", r"upscalewithmodel|ultimatesdupscale", ("model_name", "upscale_by")),
    ("face restoration", r"facerestor|reactor|gfpgan|codeformer", ()),
    ("detailer", r"detailer", ()),
    (
        "resized image",
        r"^(?:image|latent)_?(?:scale|upscale|resize)|imageresize|imagecrop",
        ("width", "height", "scale_by"),
    ),
    ("batch of latents", r"latentbatch|latentfrombatch|repeatlatent", ("amount",)),
    ("composition of images", r"composite|blend|imagepad|outpaint", ()),
    ("noise options", r"injectnoise|addnoise|unsampler|disablenoise|noisylatent", ()),
)
"""Name of a feature, pattern of the classes of its nodes in lower case, and the inputs that its value lists."""

_IMAGE_FEATURES = ("ControlNet", "IP-Adapter", "style model", "unCLIP image")
"""Features that read an image."""

_SILENT_PATTERN = re.compile(
    r"^(?:ckpt|checkpoint|easy|eff|efficient|unet|clip|dualclip|tripleclip|quadrupleclip|vae|load|lora|power|model$|"
    r"to|from|edit|context|reroute|primitive|empty|basic|cfgguider|dualcfg|random|karras|exponential|polyexp|beta|"
    r"sdturbo|alignyour|gits|vpsch|laplace|splitsigmas|conditioning|fluxguidance|fluxdisable|bnk_|smz|cr |sdxl|"
    r"textencode|pack|unpack|inpaintmodel|setlatentnoise|preview|show|string|text|impactwildcard|modelsampling|"
    r"ksamplerselect|rescalecfg|setunion|differential|get|set|null|nunchaku|diffusers|bizyair|dpr)|loader|switch|prompt|encode|lora|"
    r"decode|string|seed|latentimage|empty.*latent|cliplayer|setlast|pipe"
)
"""Nodes that the other modules read, or that do not change the image."""


def node_features(walker: Walker) -> list[Feature]:
    """Return the features of the visited nodes. Nodes without a known meaning are one feature: "other nodes"."""
    values: dict[str, dict[str, None]] = {}
    for key in walker.visited:
        node = walker.graph[key]
        kind = node.kind.lower().replace(" ", "")
        matches = [(name, inputs) for name, pattern, inputs in _KINDS if re.search(pattern, kind)]
        if not any(name == "ControlNet" for name, _ in matches) and _loads_controlnet(node):
            matches.append(("ControlNet", ("control_net_name", "strength")))
        for name, inputs in matches:
            parts = [_describe(walker, node, inputs), *(_image_parts(walker, node) if name in _IMAGE_FEATURES else ())]
            values.setdefault(name, {})[", ".join(filter(None, parts))] = None
        if (
            not matches
            and not is_sampler(node)
            and own_prompt(node) is None
            and not _SILENT_PATTERN.search(node.kind.lower())
        ):
            values.setdefault("other nodes", {})[node.kind] = None
    return [make_feature(name, "; ".join(filter(None, found))[:MAX_VALUE_CHARS]) for name, found in values.items()]


def _image_parts(walker: Walker, node: Node) -> list[str]:
    """Return the preprocessor and the image of a ControlNet or an IP-Adapter; empty if the image is not a file."""
    value: object = node.inputs.get("image", node.inputs.get("clip_vision_output"))
    kinds: list[str] = []
    for _ in range(20):
        value = walker.follow(value)
        if isinstance(value, str):
            return [*(f"preprocessor {kind}" for kind in kinds[:-1][:1]), f"image {value}"]
        if not isinstance(value, Link):
            return []
        loader = walker.graph[value.node]
        kinds.append(loader.kind)
        value = loader.inputs.get("image", loader.inputs.get("images", loader.inputs.get("pixels")))
    return []


def _loads_controlnet(node: Node) -> bool:
    names = ("control_net", "control_net_name", "cnet_stack", "optional_controlnet_stack")
    return any(node.inputs.get(name) is not None for name in names) and "context" not in node.kind.lower()


def _describe(walker: Walker, node: Node, inputs: Sequence[str]) -> str:
    parts = []
    for name in inputs:
        value = node.inputs.get(name)
        if name == "control_net_name":
            value = _loaded_name(walker, node, "control_net", name)
        elif name == "style_model_name":
            value = _loaded_name(walker, node, "style_model", name)
        elif isinstance(value, Link):
            value = walker.number(value, name, float)
        elif name == "model_name":
            value = _loaded_name(walker, node, "upscale_model", name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            parts.append(str(value) if name.endswith("_name") else f"{name} {value}")
    return ", ".join(parts)


def _loaded_name(walker: Walker, node: Node, link_name: str, name: str) -> object:
    """Return the file name that a node has, or that the loader has which the node is connected to."""
    value: object = node.inputs.get(name, node.inputs.get(link_name))
    for _ in range(20):
        value = walker.follow(value)
        if not isinstance(value, Link):
            return value
        loader = walker.graph[value.node]
        value = loader.inputs.get(name, loader.inputs.get(link_name))
    return None


def source_features(walker: Walker, first: Pass) -> tuple[str, list[Feature], dict[str, int]]:
    """Describe the input of the first pass.

    Returns:
        The task: `img2img`, `inpaint`, or empty for empty latents; features; width and height of empty latents.
    """
    path = [walker.visit(key) for key in first.before.nodes]
    source = walker.visit(first.before.source) if first.before.source else None
    sampler = walker.graph[first.node_id]
    if source is not None and is_sampler(source):  # A cycle.
        return "", [], {}
    nodes = [sampler, *path, *([source] if source else [])]
    has_mask = any(isinstance(node.inputs.get("mask"), Link) for node in nodes)
    image = _image_name(walker, nodes)
    size = _latent_size(walker, source)
    features = []
    has_image = bool(image) or (bool(first.before.source) and not size) or any(map(_encodes_image, path))
    if any(_REFERENCE_PATTERN.search(node.kind.lower()) for node in path):  # The latents have only the image's size.
        return "", ([make_feature("reference image", image)] if image else []), {}
    task = "inpaint" if has_mask else "img2img"
    if has_image:
        features.append(make_feature("input image", image or (source.kind if source else "")))
    if has_mask:
        features.append(make_feature("mask"))
    return (task if has_image or has_mask else ""), features, ({} if has_image else size)


_REFERENCE_PATTERN = re.compile(r"instructpix(?:2|to)pix")


def _encodes_image(node: Node) -> bool:
    return "encode" in node.kind.lower() and "vae" in node.kind.lower()


def _image_name(walker: Walker, nodes: Sequence[Node]) -> str:
    for node in reversed(nodes):
        value = walker.follow(node.inputs.get("image"))
        if isinstance(value, str):
            return value
    return ""


def _latent_size(walker: Walker, source: Node | None) -> dict[str, int]:
    """Return the size of empty latents."""
    if source is None:
        return {}
    if (size := size_text(source)) is not None:
        return dict(zip(("width", "height"), size, strict=True))
    values = {side: walker.number(walker.attribute(source, side), side, int) for side in ("width", "height")}
    return {side: value for side, value in values.items() if isinstance(value, int)}


def pass_features(walker: Walker, passes: Sequence[Pass], name: str) -> Iterator[Feature]:
    """Yield the features of the passes after the first one: hires fix, refiner or several passes.

    Args:
        walker: graph.
        passes: samplers, the first pass first.
        name: model of the first pass.
    """
    for item in passes[1:]:
        settings = read_settings(walker, item.node_id)
        kinds = " ".join(walker.visit(key).kind.lower() for key in item.before.nodes)
        model = weight_chain(walker, input_values(walker, walker.graph[item.node_id], "model"), "model").name
        details = [f"{key} {value}" for key, value in settings.items()]
        if "scale" in kinds or "resize" in kinds:
            yield make_feature("hires fix", ", ".join(details))
        elif "refiner" in model.lower() or (model and name and model != name):
            yield make_feature("refiner", ", ".join([model, *details]))
    if len(passes) > 1:
        yield make_feature("several passes", f"{len(passes)}")


def input_values(walker: Walker, node: Node, role: str) -> list[object]:
    """Return an input of a sampler, or of the guider of `SamplerCustomAdvanced`, or the pipes that may contain it."""
    guider = walker.follow(walker.attribute(node, "guider"))
    if isinstance(guider, Link):
        node = walker.visit(guider.node)
        if role == "positive" and "conditioning" in node.inputs:
            return [node.inputs["conditioning"]]
    value = walker.attribute(node, role)
    if value is None and role == "positive":
        value = own_prompt(node)
    return list(pipe_links(node)) if value is None else [value]
