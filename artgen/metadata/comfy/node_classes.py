"""Define the properties of ComfyUI's nodes, and of common extensions, that the links of a graph do not show."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from artgen.metadata.comfy.graph import Link, Node

_CONTEXT = ("base_ctx", "model", "clip", "vae", "positive", "negative", "latent", "images", "seed")
_BIG_CONTEXT = (
    *_CONTEXT, "steps", "step_refiner", "cfg", "ckpt_name", "sampler_name", "scheduler", "clip_width", "clip_height",
    "text_pos_g", "text_pos_l", "text_neg_g", "text_neg_l", "mask", "control_net",
)  # fmt: skip
_EFFICIENT_SAMPLER = ("model", "positive", "negative", "latent", "vae", "image")
_EASY_SAMPLER = ("pipe", "image", "model", "positive", "negative", "latent", "vae", "clip", "seed")

_OUTPUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CheckpointLoaderSimple": ("model", "clip", "vae"),
        "LoraLoader": ("model", "clip"),
        "InpaintModelConditioning": ("positive", "negative", "latent"),
        "KSampler (Efficient)": _EFFICIENT_SAMPLER,
        "KSampler Adv. (Efficient)": _EFFICIENT_SAMPLER,
        "KSampler SDXL (Eff.)": ("sdxl_tuple", "latent", "vae", "image"),
        "Efficient Loader": ("model", "positive", "negative", "latent", "vae", "clip"),
        "Eff. Loader SDXL": ("sdxl_tuple", "latent", "vae"),
        "Unpack SDXL Tuple": (
            "model", "clip", "positive", "negative", "refiner_model", "refiner_clip", "refiner_positive",
            "refiner_negative",
        ),
        "Context (rgthree)": _CONTEXT,
        "Context Switch (rgthree)": _CONTEXT,
        "Context Merge (rgthree)": _CONTEXT,
        "Context Big (rgthree)": _BIG_CONTEXT,
        "Context Switch Big (rgthree)": _BIG_CONTEXT,
        "Context Merge Big (rgthree)": _BIG_CONTEXT,
        "KSampler Config (rgthree)": ("steps", "refiner_step", "cfg", "sampler_name", "scheduler"),
        "Power Prompt (rgthree)": ("conditioning", "model", "clip", "text"),
        "FromBasicPipe": ("model", "clip", "vae", "positive", "negative"),
        "FromBasicPipe_v2": ("basic_pipe", "model", "clip", "vae", "positive", "negative"),
        "Text String": ("text", "text_b", "text_c", "text_d"),
        "ImpactWildcardEncode": ("model", "clip", "conditioning", "text"),
        "easy fullLoader": ("pipe", "model", "vae", "clip", "positive", "negative", "latent"),
        "easy a1111Loader": ("pipe", "model", "vae"),
        "easy comfyLoader": ("pipe", "model", "vae"),
        "easy fluxLoader": ("pipe", "model", "vae"),
        "easy kSampler": ("pipe", "image"),
        "easy fullkSampler": _EASY_SAMPLER,
        "easy pipeOut": ("pipe", "model", "positive", "negative", "latent", "vae", "clip", "image", "seed"),
        "easy pipeEdit": ("pipe", "model", "positive", "negative", "latent", "vae", "clip", "image"),
        "easy controlnetLoader": ("pipe", "positive", "negative"),
        "easy controlnetLoaderADV": ("pipe", "positive", "negative"),
    }
)  # fmt: skip

_INPUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "positive": ("positive", "pos", "base_positive", "optional_positive", "positive_prompt", "text_positive",
                     "cond1", "positive_conditioning", "conditioning_positive", "prompt_positive", "positive_seq",
                     "positive_NEW"),
        "negative": ("negative", "neg", "base_negative", "optional_negative", "negative_prompt", "text_negative",
                     "negative_conditioning", "conditioning_negative", "prompt_negative", "negative_seq",
                     "negative_NEW"),
        "model": ("model", "base_model", "opt_model", "model_override", "unet", "model1", "model_1",
                  "model_optional"),
        "clip": ("clip", "base_clip", "opt_clip", "clip_override", "clip1", "clip_1"),
        "vae": ("vae", "optional_vae", "vae_override"),
        "latent": ("latent_image", "latent", "samples", "optional_latent", "init_latent", "image_to_latent"),
        "seed": ("seed", "noise_seed", "seed_num"),
        "steps": ("steps", "steps_total"),
        "guidance_scale": ("cfg", "cfg_scale", "cfg_conds"),
        "scheduler": ("sampler_name", "sampler"),
        "sigmas": ("scheduler", "sigmas"),
        "strength": ("denoise",),
        "width": ("width", "empty_latent_width", "image_width"),
        "height": ("height", "empty_latent_height", "image_height"),
        "text": ("populated_text", "text", "string", "value", "prompt", "wildcard_text", "user_prompt", "positive",
                 "multiline_text", "input", "content", "widget_0"),
    }
)  # fmt: skip
"""Names of the inputs that have one meaning, in order of priority."""

_ROLES = {"conditioning+": "positive", "conditioning-": "negative", "pos": "positive", "neg": "negative"}
_PIPE_PATTERN = re.compile(
    r"(?:base_|opt_|optional_)?(?:basic_|detailer_)?(?:pipe|ctx|context|sdxl_tuple)(?:_?[0-9]+)?"
)
_IMAGE_PATTERN = re.compile(
    r"(?:(?:base|upscaled|opt|optional|init|input|source|destination|latent)_)*"
    r"(?:images?|pixels|samples?|latents?|latent_image|destination|source|frames|upscaled_latent|image_to_latent)"
    r"_?(?:[0-9]{1,3}|[a-z]|to|from|upscale)?"
)
_SIZE_PATTERN = re.compile(r"(?<![0-9])([0-9]{2,5}) ?[x×*] ?([0-9]{2,5})(?![0-9])")
_SAMPLER_PATTERN = re.compile(r"ksampler|samplercustom|sampler_?custom")
_NO_SAMPLER_PATTERN = re.compile(
    r"select|config|provider|preview|save|presampling|context|detector|loader|hook|parameters|xy ?input|to.*pipe"
)


def output_role(node: Node, slot: int) -> str:
    """Return the meaning of an output: a name such as `positive` or `model`; empty if it is unknown."""
    names = _OUTPUTS.get(node.kind, node.outputs)
    name = names[slot] if 0 <= slot < len(names) else ""
    return _ROLES.get(name, name)


def input_names(role: str) -> tuple[str, ...]:
    """Return the names of the inputs with a meaning, in order of priority."""
    return _INPUTS.get(role, (role,))


def find_input(node: Node, role: str) -> object:
    """Return the value or link of the first input with a meaning; None if the node has none."""
    names = input_names(role)
    return next((node.inputs[name] for name in names if node.inputs.get(name) is not None), None)


def size_text(node: Node) -> tuple[int, int] | None:
    """Return the width and height of a node with a list of resolutions, such as "896x1152"; None for other nodes."""
    for name in ("resolution", "dimensions", "size", "aspect_ratio"):
        text = node.inputs.get(name)
        if isinstance(text, str) and (match := _SIZE_PATTERN.search(text[:100])):
            width, height = int(match[1]), int(match[2])
            return (height, width) if node.inputs.get("swap_dimensions") == "On" else (width, height)
    return None


def pipe_links(node: Node) -> list[Link]:
    """Return the inputs that bundle several values. A later context overrides an earlier one only in a merge node."""
    links = [link for name, link in node.links if _PIPE_PATTERN.fullmatch(name)]
    return links[::-1] if "Merge" in node.kind else links


def image_links(node: Node) -> list[Link]:
    """Return the inputs that are images or latents, latents of samplers first."""
    links = {name: link for name, link in node.links if _IMAGE_PATTERN.fullmatch(name)}
    first = [links.pop(name) for name in input_names("latent") if name in links]
    return [*first, *links.values()]


def own_prompt(node: Node) -> object:
    """Return the prompt of a node that generates images without a sampler, such as a node of a service; else None."""
    if re.search(r"encode|load|save|preview", node.kind.lower()) or "clip" in node.inputs:
        return None
    names = ("prompt", "positive_prompt", "text_prompt", "prompt_text")
    values = [node.inputs.get(name) for name in names]
    return next((value for value in values if isinstance(value, str | Link)), None)


def is_transparent(node: Node) -> bool:
    """Return whether a node returns its only link unchanged."""
    return node.kind.lower().startswith(("reroute", "easy cleangpu", "easy convertanything")) and len(node.links) >= 1


def is_sampler(node: Node) -> bool:
    """Return whether a node denoises latents or an image. `KSamplerSelect` and nodes that bundle settings do not."""
    kind = node.kind.lower()
    if _NO_SAMPLER_PATTERN.search(kind):
        return False
    if _SAMPLER_PATTERN.search(kind):
        return True
    names = node.inputs.keys()
    has_noise = bool(names & {"seed", "noise_seed", "noise"})
    has_settings = bool(names & {"steps", "sigmas"}) and bool(names & {"cfg", "guider", "positive", "sampler_name"})
    return has_noise and has_settings and bool(image_links(node) or pipe_links(node))
