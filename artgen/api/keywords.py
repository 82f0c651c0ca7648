"""Define the types of the keywords of the functions.

`docs/generate_keywords.py` generates this module from `artgen.api.functions`. Do not edit it.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypedDict

from artgen.events import Listener

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput


class Txt2ImgKeywords(TypedDict, total=False):
    """Store the keywords of `txt2img`."""

    negative_prompt: str
    style: str | Sequence[str]
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]]
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
    size: str | tuple[int, int] | None
    batch_size: int | Literal["auto"] | None
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]]
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full"] | None
    frames: bool
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
    progress: bool | None
    listener: Listener | None


class Img2ImgKeywords(TypedDict, total=False):
    """Store the keywords of `img2img`."""

    max_side: int | None
    strength: float | None
    background: str
    negative_prompt: str
    style: str | Sequence[str]
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]]
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
    size: str | tuple[int, int] | None
    batch_size: int | Literal["auto"] | None
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]]
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full"] | None
    frames: bool
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
    progress: bool | None
    listener: Listener | None


class InpaintKeywords(TypedDict, total=False):
    """Store the keywords of `inpaint`."""

    max_side: int | None
    strength: float | None
    background: str
    negative_prompt: str
    style: str | Sequence[str]
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]]
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    invert_mask: bool
    resize_mask: bool
    feather: int | None
    keep_original: bool
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
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]]
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full"] | None
    frames: bool
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
    progress: bool | None
    listener: Listener | None


class OutpaintKeywords(TypedDict, total=False):
    """Store the keywords of `outpaint`."""

    max_side: int | None
    strength: float | None
    background: str
    negative_prompt: str
    style: str | Sequence[str]
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]]
    prompt_weights: Literal["a1111", "comfy", "none"] | None
    long_prompt: Literal["chunk", "truncate", "error"] | None
    clip_skip: int | None
    expand: int | str | None
    target_size: str | tuple[int, int] | None
    feather: int | None
    keep_original: bool
    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    guidance_rescale: float | None
    pag_scale: float | None
    guide: Literal["cfg", "apg", "zero-star"] | None
    sigmas: Literal["normal", "karras", "exponential", "beta"] | None
    fast: str | None
    batch_size: int | Literal["auto"] | None
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]]
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full"] | None
    frames: bool
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
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
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]]
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    frames: bool
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
    progress: bool | None
    listener: Listener | None


class SampleKeywords(TypedDict, total=False):
    """Store the keywords of `sample`."""

    steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    class_label: int | str | None
    batch_size: int | Literal["auto"] | None
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    frames: bool
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
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
    mask: "ImageInput"
    invert_mask: bool | None
    resize_mask: bool | None
    image: "ImageInput"
    max_side: int | None
    strength: float | None
    background: str | None
    expand: int | str | None
    target_size: str | tuple[int, int] | None
    feather: int | None
    keep_original: bool | None
    sigma: float | str | None
    method: Literal["pixel", "latent", "tv", "nlm"] | None
    eta: float | None
    self_ensemble: int | None
    fidelity: float | None
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
    class_label: int | str | None
    seed: int | None
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool | None
    device: str | None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full"] | None
    frames: bool
    frames_show: Literal["x0", "xt"] | None
    frame_interval: int | None
    include_noising: bool | None
    progress: bool | None
    listener: Listener | None


class BatchKeywords(TypedDict, total=False):
    """Store the keywords of `batch`."""

    limit: int | None
    shuffle: bool
    shard: str | None
    keep_going: bool
    retry_failed: bool
    workers: int
    ray: str | None
    task: Literal["txt2img", "img2img", "inpaint", "outpaint", "denoise", "sample"] | None
    ignore_columns: str | None
    prompt: str
    negative_prompt: str
    style: str | Sequence[str]
    embedding: str | PathLike[str] | Sequence[str | PathLike[str]]
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
    max_side: int | None
    strength: float | None
    background: str
    mask: str | PathLike[str] | None
    invert_mask: bool
    resize_mask: bool
    feather: int | None
    keep_original: bool
    expand: int | str | None
    target_size: str | tuple[int, int] | None
    sigma: float | str | None
    method: Literal["pixel", "latent", "tv", "nlm"] | None
    eta: float | None
    self_ensemble: int | None
    fidelity: float | None
    seed: int | Sequence[int] | None
    count: int | None
    batch_size: int | Literal["auto"] | None
    combinatorial: bool
    preset: str | Sequence[str]
    model: str | PathLike[str] | None
    offline: bool
    lora: str | PathLike[str] | Sequence[str | PathLike[str]]
    vae: str | PathLike[str] | None
    refiner: str | PathLike[str] | None
    text_encoder_3: Literal["none"] | None
    safety_checker: bool
    device: str
    dtype: Literal["auto", "fp32", "fp16", "bf16"]
    offload: Literal["auto", "none", "text", "model", "group", "sequential"] | None
    memory_budget: str | None
    quantize: Literal["fp8", "int8", "nf4"] | None
    vae_tiling: bool | None
    acceleration: Literal["none", "exact", "full"] | None
    format: Literal["png", "jpeg", "jpg", "webp"] | None
    quality: int | None
    png_level: int | None
    metadata: Literal["full", "minimal", "none"]
    frames: str | None
    fps: float | None
    frames_show: Literal["x0", "xt"]
    frame_interval: int | None
    include_noising: bool
    folder: str | PathLike[str] | None
    sweep: Mapping[str, object] | Sequence[str] | None
    progress: bool | None
    listener: Listener | None
