"""Read two passes with enlarged latents between them as hires fix: KSampler, LatentUpscale, KSampler."""

import math
from collections.abc import Sequence

from artgen.metadata.comfy.features import input_values
from artgen.metadata.comfy.graph import Link, Node
from artgen.metadata.comfy.sampling import Pass, read_settings
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.external_record import MAX_VALUE_CHARS, Feature
from artgen.metadata.features import make_feature

MAX_STEPS = 1000
_SHARED_SETTINGS = ("guidance_scale", "scheduler", "sigmas")
_SHARED_INPUTS = ("model", "positive", "negative")


def read_hires(walker: Walker, passes: Sequence[Pass], values: dict[str, object]) -> list[Feature] | None:
    """Set the settings of hires fix.

    ComfyUI runs the number of steps of the second sampler, and artgen the fraction of its steps that the strength
    selects, as in img2img.

    Args:
        walker: graph.
        passes: samplers, the first pass first.
        values: values of the record, with the size of the first pass.

    Returns:
        The features without an equivalent; None if the graph has another form.
    """
    if len(passes) != 2 or len(passes[1].before.nodes) != 1:
        return None
    first, second = (walker.graph[each.node_id] for each in passes)
    node = walker.graph[passes[1].before.nodes[0]]
    shared = all(input_values(walker, first, role) == input_values(walker, second, role) for role in _SHARED_INPUTS)
    own, settings = read_settings(walker, passes[0].node_id), read_settings(walker, passes[1].node_id)
    shared &= all(own.get(name) == settings.get(name) for name in _SHARED_SETTINGS)
    strength, steps, scale = settings.get("strength"), settings.get("steps"), _scale(walker, node, values)
    is_partial = "first_step" in settings or "last_step" in settings or "last_step" in own
    if not shared or is_partial or scale is None or not isinstance(strength, float) or not isinstance(steps, int):
        return None
    if not (1 < scale <= 8 and 0 < strength <= 1 and steps > 0):
        return None
    values |= {"hires": f"{scale:g}:{strength:g}", "hires_in": "latent"}
    values["hires_steps"] = min(MAX_STEPS, math.ceil(steps / strength - 1e-9))
    walker.visit(passes[1].before.nodes[0])
    method = node.inputs.get("upscale_method")
    features = []
    if isinstance(method, str) and method != "bilinear":
        features.append(make_feature("hires interpolation", method[:MAX_VALUE_CHARS]))
    if settings.get("seed") != own.get("seed"):
        features.append(make_feature("hires seed", str(settings.get("seed"))))
    return features


def _scale(walker: Walker, node: Node, values: dict[str, object]) -> float | None:
    """Return the factor of both sides; None for another node, an unknown size, and sides with different factors."""
    if node.kind == "LatentUpscaleBy":
        scale = walker.number(node.inputs.get("scale_by"), "scale_by", float)
        return scale if isinstance(scale, float) else None
    if node.kind != "LatentUpscale" or isinstance(node.inputs.get("upscale_method"), Link):
        return None
    sides = [(walker.number(node.inputs.get(name), name, int), values.get(name)) for name in ("width", "height")]
    # A side of 0 keeps the aspect ratio.
    scales = [large / small for large, small in sides if isinstance(large, int) and isinstance(small, int) and large]
    return round(scales[0], 4) if scales and max(scales) - min(scales) < 0.02 else None
