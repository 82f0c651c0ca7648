"""Detect the denoiser of a weights file from the names and shapes of its tensors.

The characteristic names are from diffusers' `loaders/single_file_utils.py` and from the model classes of diffusers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

TensorShapes = Mapping[str, tuple[int, ...]]

ORIGINAL_PREFIX = "model.diffusion_model."
EMA_PREFIX = "model_ema."
MARKERS = ("v_pred", "ztsnr", "edm_mean", "edm_std", "edm_vpred.sigma_min", "edm_vpred.sigma_max")
"""Tensors that are not weights: ComfyUI detects by them how the model is sampled."""
CONTEXT_KEY = re.compile(r"(?:input_blocks|down_blocks|middle_block|mid_block)\..*attn2\.to_k\.weight$")


@dataclass(frozen=True)
class Denoiser:
    """Describe the denoiser of a weights file.

    Attributes:
        architecture: sd1, sd2, sdxl, sdxl-refiner, sd3, flux, ...; "other" if it is unknown.
        channels: input channels; None if unknown.
        layout: original (the layout of the authors' repository) or diffusers.
        edit: name of a model with additional inputs that text-to-image pipelines do not have; else empty.
        guidance_embeds: whether the guidance scale is an input of a transformer of Flux.
        time_cond_dim: width of the guidance embedding of a UNet (latent consistency models); None without it.
    """

    architecture: str
    channels: int | None
    layout: str = "original"
    edit: str = ""
    guidance_embeds: bool = False
    time_cond_dim: int | None = None


_TRANSFORMER_KEYS: Mapping[str, tuple[str, str]] = {
    "flux2": ("single_stream_modulation.lin.weight", "single_stream_modulation.linear.weight"),
    "flux3": ("early_stream_modulations.image.lin.weight", "early_stream_modulations.image.linear.weight"),
    "chroma": ("distilled_guidance_layer.in_proj.bias", "distilled_guidance_layer.in_proj.bias"),
    "flux": ("double_blocks.0.img_attn.norm.key_norm.scale", "single_transformer_blocks.0.attn.norm_q.weight"),
    "sd3": ("joint_blocks.0.context_block.adaLN_modulation.1.bias", "pos_embed.proj.weight"),
    "qwen-image": ("transformer_blocks.0.img_mod.1.weight", "transformer_blocks.0.img_mod.1.weight"),
    "z-image": ("layers.0.adaLN_modulation.0.weight", "all_x_embedder.2-1.weight"),
    "lumina2": ("cap_embedder.0.weight", "time_caption_embed.caption_embedder.0.weight"),
    "auraflow": ("double_layers.0.attn.w2q.weight", "joint_transformer_blocks.0.attn.add_q_proj.weight"),
    "qwen-image21": ("txt_in.text_norm.weight", "txt_in.text_norm.weight"),
    "krea2": ("txtfusion.projector.weight", "text_fusion.projector.weight"),
    "sana": ("attention_y_norm.weight", "transformer_blocks.0.ff.conv_depth.weight"),
    "hidream": ("double_stream_blocks.0.block.adaLN_modulation.1.bias",) * 2,
    "pixart": ("t_block.1.weight", "adaln_single.linear.weight"),
    "hunyuan-dit": ("pooler.positional_embedding", "time_extra_emb.pooler.positional_embedding"),
}
"""Architecture -> names of a tensor in the original layout and in the layout of diffusers. The names are equal if the
layouts differ only in other tensors, or not at all."""

_CHROMA_DIFFUSERS_KEY = "single_transformer_blocks.0.attn.norm_q.weight"
_INPUT_LAYERS = ("img_in.weight", "x_embedder.proj.weight", "x_embedder.weight", "pos_embed.proj.weight")
_SDXL_EMBEDDING_WIDTHS = {2816: "sdxl", 2560: "sdxl-refiner"}
"""Width of the pooled text embedding with sizes and crops (SDXL) or with an aesthetic score (refiner)."""
_CONTEXT_ARCHITECTURES = {768: "sd1", 1024: "sd2", 1280: "sdxl-refiner", 2048: "sdxl"}
_FLUX_CONTROL_CHANNELS = 128
EDIT_CHANNELS = 8
"""Input channels of the UNet of InstructPix2Pix: the latents of the result and of the input image."""
_EDITS = {5: "depth-to-image", 7: "x4 upscaler"}
"""Input channels of a UNet for latents with 4 channels -> name of the model."""


def find_denoiser(shapes: TensorShapes) -> Denoiser | None:
    """Return the denoiser of a file with the names of `plain_names`; None if it has none."""
    for prefix in (ORIGINAL_PREFIX, "diffusion_model.", ""):
        tensors = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        if len(tensors.get("input_blocks.0.0.weight", ())) == 4:
            return _ldm_unet(tensors, shapes)
        if found := _transformer(tensors):
            return found
    is_unet = "time_embedding.linear_1.weight" in shapes and any(name.startswith("down_blocks.") for name in shapes)
    return _diffusers_unet(shapes) if is_unet and len(shapes.get("conv_in.weight", ())) == 4 else None


def _ldm_unet(tensors: TensorShapes, shapes: TensorShapes) -> Denoiser:
    label = tensors.get("label_emb.0.0.weight", ())
    context = _context_width(tensors)
    is_sd2 = context == 1024 or any(name.startswith("cond_stage_model.model.") for name in shapes)
    fallback = "sdxl" if any(name.startswith("conditioner.embedders.1.") for name in shapes) else "sd1"
    if label and not is_sd2:
        fallback = "sdxl"
    architecture = _unet_architecture(label, context, "sd2" if is_sd2 else fallback)
    channels = tensors["input_blocks.0.0.weight"][1]
    edit = _edit(architecture, channels, label, "label_emb.weight" in tensors)
    if any(name.startswith("cond_stage_model.model.visual.") for name in shapes):
        edit = "image variations"
    return Denoiser(
        architecture, channels, "original", edit, time_cond_dim=_width(tensors, "time_embed.cond_proj.weight")
    )


def _diffusers_unet(shapes: TensorShapes) -> Denoiser:
    label = shapes.get("add_embedding.linear_1.weight", ())
    classes = shapes.get("class_embedding.linear_1.weight", ())
    architecture = _unet_architecture(label, _context_width(shapes), "sdxl" if label else "sd1")
    channels = shapes["conv_in.weight"][1]
    edit = _edit(architecture, channels, classes, "class_embedding.weight" in shapes)
    cond_dim = _width(shapes, "time_embedding.cond_proj.weight")
    return Denoiser(architecture, channels, "diffusers", edit, time_cond_dim=cond_dim)


def _unet_architecture(label: tuple[int, ...], context: int | None, fallback: str) -> str:
    """Return the architecture of a UNet from the widths of its embeddings."""
    by_label = _SDXL_EMBEDDING_WIDTHS.get(label[-1]) if label else None
    if by_label or context is None or context < min(_CONTEXT_ARCHITECTURES):
        return by_label or fallback
    by_context = _CONTEXT_ARCHITECTURES.get(context, "other")
    return "sdxl" if label and by_context == "other" else by_context


def _edit(architecture: str, channels: int, class_embedding: tuple[int, ...], has_classes: bool) -> str:
    if has_classes:
        return _EDITS[7]
    if class_embedding and architecture == "sd2":
        return "unCLIP"
    return _EDITS.get(channels, "")


def _context_width(tensors: TensorShapes) -> int | None:
    """Return the width of the text embedding that the cross-attention takes."""
    return next((shape[-1] for name, shape in tensors.items() if CONTEXT_KEY.match(name) and shape), None)


def _width(tensors: TensorShapes, name: str) -> int | None:
    shape = tensors.get(name, ())
    return shape[1] if len(shape) == 2 else None


def _transformer(tensors: TensorShapes) -> Denoiser | None:
    for architecture, keys in _TRANSFORMER_KEYS.items():
        found = next((key for key in keys if key in tensors), None)
        if found is None or (found == "pos_embed.proj.weight" and not _is_sd3(tensors)):
            continue
        shape = next((tensors[name] for name in _INPUT_LAYERS if name in tensors), ())
        guidance = any(name.startswith(("guidance_in.", "time_text_embed.guidance_")) for name in tensors)
        guidance = guidance or any(name.startswith("time_guidance_embed.guidance_") for name in tensors)
        channels = shape[1] if len(shape) > 1 else None
        edit = "Flux.1 Canny or Depth" if architecture == "flux" and channels == _FLUX_CONTROL_CHANNELS else ""
        is_diffusers = found != keys[0] or (architecture == "chroma" and _CHROMA_DIFFUSERS_KEY in tensors)
        layout = "diffusers" if is_diffusers else "original"
        return Denoiser(architecture, channels, layout, edit, guidance_embeds=guidance)
    return None


def _is_sd3(tensors: TensorShapes) -> bool:
    has_joint_blocks = any(name.startswith("transformer_blocks.0.attn.add_q_proj.") for name in tensors)
    return has_joint_blocks and len(tensors["pos_embed.proj.weight"]) == 4


_EMA_NAME = re.compile(
    r"(?P<block>input_blocks|output_blocks)(?P<at>\d+)(?P<part>\d)(?=\D)|(?P<single>middle_block|time_embed|out)"
    r"(?P<number>\d)(?=\D)|label_emb(?P<label>\d)(?P<layer>\d)(?=\D)"
)
_EMA_LAYERS = re.compile(
    r"transformer_blocks(?=\d)|(?:in|out|emb)_layers(?=\d)|to_out(?=\d)|skip_connection|proj_in"
    r"|proj_out|attn[12]|norm[123]?|ff(?=net)|net(?=\d)|to_[qkv]|op|conv|proj|weight|bias|\d+"
)


def plain_names(names: TensorShapes | list[str]) -> dict[str, str]:
    """Return name -> name without EMA: the EMA weights are the denoiser of a file that has no other denoiser.

    The training code of Stable Diffusion stores the name of an EMA weight without its dots:
    `model_ema.diffusion_modelinput_blocks00weight`.
    """
    has_denoiser = any(name.startswith(ORIGINAL_PREFIX) for name in names)
    if has_denoiser or not any(name.startswith(EMA_PREFIX + "diffusion_model") for name in names):
        return {name: name for name in names}
    return {name: _plain_name(name) for name in names}


def _plain_name(name: str) -> str:
    flat = name.removeprefix(EMA_PREFIX + "diffusion_model")
    match = _EMA_NAME.match(flat)
    if flat == name or match is None:
        return name
    parts = [group for group in match.groups() if group is not None]
    if match["label"] is not None:
        parts.insert(0, "label_emb")
    return ORIGINAL_PREFIX + ".".join(parts + _EMA_LAYERS.findall(flat[match.end() :]))
