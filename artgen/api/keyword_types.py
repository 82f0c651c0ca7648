"""Define the types of the keywords of the functions.

`docs/generate_keywords.py` generates this module from `artgen.api.function_keywords`. Do not edit it.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypedDict

from artgen.events import Listener

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput


class Txt2ImgKeywords(TypedDict, total=False):
    """Store the keywords of `txt2img`."""

    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    variation_seed: int | None
    variation_strength: float | None
    morph_prompt: str | None
    morph_negative_prompt: str | None
    morph_seed: str | None
    morph_position: float | None
    width: int | None
    height: int | None
    size: str | tuple[int, int] | None
    hires: str | None
    hires_in: Literal["latent", "pixel"] | None
    hires_model: str | PathLike[str] | None
    hires_steps: int | None
    panorama: bool | None
    seamless: Literal["x", "y", "both"] | None
    batch_size: int | Literal["auto"] | None
    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    best_of: int | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class Img2ImgKeywords(TypedDict, total=False):
    """Store the keywords of `img2img`."""

    max_side: int | None
    background: str | None
    strength: float | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    invert: bool | None
    source_prompt: str | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    variation_seed: int | None
    variation_strength: float | None
    width: int | None
    height: int | None
    size: str | tuple[int, int] | None
    seamless: Literal["x", "y", "both"] | None
    batch_size: int | Literal["auto"] | None
    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    best_of: int | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class InpaintKeywords(TypedDict, total=False):
    """Store the keywords of `inpaint`."""

    max_side: int | None
    background: str | None
    strength: float | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    invert_mask: bool | None
    resize_mask: bool | None
    grow: int | None
    mask_threshold: float | None
    mask_model: str | PathLike[str] | None
    mask_text: str | None
    save_mask: str | PathLike[str] | None
    feather: int | None
    keep_original: bool | None
    soft_mask: bool | None
    only_masked: int | None
    fill: Literal["original", "noise", "blur", "biharmonic"] | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    variation_seed: int | None
    variation_strength: float | None
    width: int | None
    height: int | None
    size: str | tuple[int, int] | None
    batch_size: int | Literal["auto"] | None
    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    best_of: int | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class OutpaintKeywords(TypedDict, total=False):
    """Store the keywords of `outpaint`."""

    max_side: int | None
    background: str | None
    strength: float | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    expand: int | str | Mapping[str, int] | None
    target_size: str | tuple[int, int] | None
    feather: int | None
    keep_original: bool | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    variation_seed: int | None
    variation_strength: float | None
    batch_size: int | Literal["auto"] | None
    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    best_of: int | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class EditKeywords(TypedDict, total=False):
    """Store the keywords of `edit`."""

    max_side: int | None
    background: str | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    image_guidance_scale: float | None
    reference: "ImageInput | Sequence[ImageInput] | None"
    invert_mask: bool | None
    resize_mask: bool | None
    grow: int | None
    mask_threshold: float | None
    mask_model: str | PathLike[str] | None
    mask_text: str | None
    save_mask: str | PathLike[str] | None
    feather: int | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    width: int | None
    height: int | None
    size: str | tuple[int, int] | None
    batch_size: int | Literal["auto"] | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    mask: "ImageInput | None"
    progress: bool | None
    listener: Listener | None


class DenoiseKeywords(TypedDict, total=False):
    """Store the keywords of `denoise`."""

    max_side: int | None
    sigma: float | str | None
    method: Literal["pixel", "latent", "tv", "nlm"] | None
    eta: float | None
    self_ensemble: int | None
    fidelity: float | None
    steps: int | None
    seed: int | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    reference: "ImageInput | None"
    progress: bool | None
    listener: Listener | None


class UpscaleKeywords(TypedDict, total=False):
    """Store the keywords of `upscale`."""

    target_size: str | tuple[int, int] | None
    method: Literal["lanczos", "model", "redraw"] | None
    strength: float | None
    by: float | None
    upscale_model: str | PathLike[str] | None
    tile_size: int | None
    tile_overlap: int | None
    sharpen: int | None
    max_side: int | None
    prompt: str | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    seed: int | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    progress: bool | None
    listener: Listener | None


class SampleKeywords(TypedDict, total=False):
    """Store the keywords of `sample`."""

    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    class_label: int | str | None
    batch_size: int | Literal["auto"] | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class ReplayKeywords(TypedDict, total=False):
    """Store the keywords of `replay`."""

    prompt: str | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    invert: bool | None
    source_prompt: str | None
    mask: "ImageInput"
    invert_mask: bool | None
    resize_mask: bool | None
    image: "ImageInput"
    max_side: int | None
    background: str | None
    strength: float | None
    expand: int | str | Mapping[str, int] | None
    target_size: str | tuple[int, int] | None
    grow: int | None
    mask_threshold: float | None
    mask_model: str | PathLike[str] | None
    mask_text: str | None
    save_mask: str | PathLike[str] | None
    feather: int | None
    keep_original: bool | None
    soft_mask: bool | None
    only_masked: int | None
    fill: Literal["original", "noise", "blur", "biharmonic"] | None
    image_guidance_scale: float | None
    reference: "ImageInput | Sequence[ImageInput] | None"
    sigma: float | str | None
    method: Literal["pixel", "latent", "tv", "nlm"] | None
    eta: float | None
    self_ensemble: int | None
    fidelity: float | None
    by: float | None
    upscale_model: str | PathLike[str] | None
    tile_size: int | None
    tile_overlap: int | None
    sharpen: int | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    variation_seed: int | None
    variation_strength: float | None
    morph_prompt: str | None
    morph_negative_prompt: str | None
    morph_seed: str | None
    morph_position: float | None
    width: int | None
    height: int | None
    hires: str | None
    hires_in: Literal["latent", "pixel"] | None
    hires_model: str | PathLike[str] | None
    hires_steps: int | None
    panorama: bool | None
    seamless: Literal["x", "y", "both"] | None
    class_label: int | str | None
    seed: int | None
    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    best_of: int | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class VariationsKeywords(TypedDict, total=False):
    """Store the keywords of `variations`."""

    prompt: str | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    max_side: int | None
    background: str | None
    strength: float | None
    grow: int | None
    mask_threshold: float | None
    mask_model: str | PathLike[str] | None
    mask_text: str | None
    save_mask: str | PathLike[str] | None
    feather: int | None
    keep_original: bool | None
    soft_mask: bool | None
    only_masked: int | None
    fill: Literal["original", "noise", "blur", "biharmonic"] | None
    expand: int | str | Mapping[str, int] | None
    target_size: str | tuple[int, int] | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    width: int | None
    height: int | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    amount: float
    progress: bool | None
    listener: Listener | None


class MorphKeywords(TypedDict, total=False):
    """Store the keywords of `morph`."""

    prompt: str | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    width: int | None
    height: int | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: "ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"
    control: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    frames: int
    loop: bool
    progress: bool | None
    listener: Listener | None


class BatchKeywords(TypedDict, total=False):
    """Store the keywords of `batch`."""

    limit: int | None
    shuffle: bool | None
    shard: str | None
    keep_going: bool | None
    retry_failed: bool | None
    workers: int | None
    ray: str | None
    task: Literal["txt2img", "img2img", "inpaint", "outpaint", "edit", "denoise", "sample", "upscale"] | None
    ignore_columns: str | None
    prompt: str | None
    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    class_label: int | str | None
    width: int | None
    height: int | None
    size: str | tuple[int, int] | None
    hires: str | None
    hires_in: Literal["latent", "pixel"] | None
    hires_model: str | PathLike[str] | None
    hires_steps: int | None
    panorama: bool | None
    seamless: Literal["x", "y", "both"] | None
    max_side: int | None
    background: str | None
    strength: float | None
    invert: bool | None
    source_prompt: str | None
    mask: str | PathLike[str] | None
    invert_mask: bool | None
    resize_mask: bool | None
    feather: int | None
    keep_original: bool | None
    soft_mask: bool | None
    only_masked: int | None
    fill: Literal["original", "noise", "blur", "biharmonic"] | None
    expand: int | str | Mapping[str, int] | None
    target_size: str | tuple[int, int] | None
    grow: int | None
    mask_threshold: float | None
    mask_model: str | PathLike[str] | None
    mask_text: str | None
    save_mask: str | PathLike[str] | None
    image_guidance_scale: float | None
    reference: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    sigma: float | str | None
    method: Literal["pixel", "latent", "tv", "nlm"] | None
    eta: float | None
    self_ensemble: int | None
    fidelity: float | None
    by: float | None
    upscale_model: str | PathLike[str] | None
    tile_size: int | None
    tile_overlap: int | None
    sharpen: int | None
    variation_seed: int | None
    variation_strength: float | None
    morph_prompt: str | None
    morph_negative_prompt: str | None
    morph_seed: str | None
    morph_position: float | None
    seed: int | Sequence[int] | None
    count: int | None
    batch_size: int | Literal["auto"] | None
    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    best_of: int | None
    combinatorial: bool | None
    preset: str | Sequence[str] | None
    filter: str | Sequence[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    image_prompt: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    control: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    control_guess: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full", "openvino"] | None
    format: Literal["png", "jpeg", "jpg", "webp"] | None
    quality: int | None
    png_level: int | None
    metadata: Literal["full", "minimal", "none"] | None
    sign: bool | None
    history: bool | None
    frames: str | None
    fps: float | None
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    folder: str | PathLike[str] | None
    sweep: Mapping[str, object] | Sequence[str] | None
    progress: bool | None
    listener: Listener | None


class TrainKeywords(TypedDict, total=False):
    """Store the keywords of `train`."""

    caption_template: str | None
    require_license: bool | None
    licenses: str | None
    resolution: int | None
    min_side: int | None
    crop: Literal["center", "random"] | None
    flip: bool | None
    duplicates: Literal["keep", "drop", "refuse"] | None
    on_bad_image: Literal["skip", "refuse"] | None
    mode: Literal["lora", "full", "vae", "scratch"] | None
    rank: int | None
    alpha: float | None
    target: Literal["attention", "linear", "all", "decoder"] | None
    train_text_encoder: bool | None
    trigger: str | None
    caption_dropout: float | None
    channels: int | None
    train_steps: int | None
    learning_rate: float | None
    lr_scheduler: Literal["constant", "cosine", "step"] | None
    lr_warmup_steps: int | None
    train_batch_size: int | None
    gradient_accumulation_steps: int | None
    max_grad_norm: float | None
    weight_decay: float | None
    ema_decay: float | None
    gradient_checkpointing: bool | None
    perceptual_weight: float | None
    vgg: str | PathLike[str] | None
    snr_gamma: float | None
    checkpoint_every: int | None
    keep_checkpoints: int | None
    resume: bool | None
    snapshot_every: int | None
    snapshot_prompts: str | Sequence[str] | None
    lora_format: Literal["diffusers", "kohya"] | None
    model: str | PathLike[str] | None
    offline: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    output: str | PathLike[str] | None
    steps: int | None
    overwrite: bool
    seed: int
    progress: bool | None
    listener: Listener | None


class AnomalyKeywords(TypedDict, total=False):
    """Store the keywords of `anomaly`."""

    method: Literal["pixel", "latent"] | None
    prompt: str | None
    noise_levels: float | Sequence[float] | str | None
    noise_samples: int | None
    seed: int | None
    fit: str | PathLike[str] | None
    alpha: float | None
    model: str | PathLike[str] | None
    offline: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    save_fit: str | PathLike[str] | None
    overwrite: bool
    progress: bool | None
    listener: Listener | None


class ControlMapKeywords(TypedDict, total=False):
    """Store the keywords of `control_map`."""

    device: str
    offline: bool
    preprocessor: str | PathLike[str] | None
    progress: bool | None
    listener: Listener | None


class NoiseKeywords(TypedDict, total=False):
    """Store the keywords of `noise`."""

    steps: int
    schedule: Literal["linear", "scaled-linear", "cosine", "flow"] | None
    seed: int
    space: Literal["pixel", "latent"]
    model: str | PathLike[str] | None
    cell: int
    frames: bool
    progress: bool | None
    listener: Listener | None


class SheetKeywords(TypedDict, total=False):
    """Store the keywords of `sheet`."""

    columns: int
    rows: int
    cell: int | None
    label: str
    repeat: str | None


class MaskKeywords(TypedDict, total=False):
    """Store the keywords of `mask`."""

    grow: int | None
    mask_threshold: float | None
    mask_model: str | PathLike[str] | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offline: bool
    progress: bool | None
    listener: Listener | None


class RankKeywords(TypedDict, total=False):
    """Store the keywords of `rank`."""

    score: Literal["model", "clip"] | None
    score_model: str | PathLike[str] | None
    model: str | PathLike[str] | None
    offline: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    progress: bool | None
    listener: Listener | None


class ReconstructKeywords(TypedDict, total=False):
    """Store the keywords of `reconstruct`."""

    model: str | PathLike[str] | None
    offline: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    progress: bool | None
    listener: Listener | None


class ExplainPromptKeywords(TypedDict, total=False):
    """Store the keywords of `explain_prompt`."""

    negative_prompt: str | None
    style: str | Sequence[str] | None
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    steps: int | None
    seed: int | None
    model: str | PathLike[str] | None
    offline: bool | None
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None


class PullModelKeywords(TypedDict, total=False):
    """Store the keywords of `pull_model`."""

    force: bool
    progress: bool | None
    listener: Listener | None


class VerifyModelKeywords(TypedDict, total=False):
    """Store the keywords of `verify_model`."""

    progress: bool | None
    listener: Listener | None


class ConvertModelKeywords(TypedDict, total=False):
    """Store the keywords of `convert_model`."""

    output: str | PathLike[str] | None
    overwrite: bool
    progress: bool | None
    listener: Listener | None
