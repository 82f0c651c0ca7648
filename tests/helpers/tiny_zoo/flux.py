"""Build tiny models of Flux, Flux.2, Chroma and other models with the transformer of Flux."""

from typing import Any

from diffusers import (
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import Mistral3Config, Mistral3ForConditionalGeneration, Qwen3ForCausalLM

from tiny_zoo import parts
from tiny_zoo.registry import model

LATENT_CHANNELS = 64
"""Channels of a packed latent: 16 channels of 2x2 pixels."""
FILL_CHANNELS = 6 * LATENT_CHANNELS
"""Channels of Flux Fill: latents, masked image, and the mask with 4x64 channels."""


def _flux(
    cls: type = FluxPipeline, *, guidance: bool = True, in_channels: int = LATENT_CHANNELS, shift: bool = True
) -> FluxPipeline:
    """Return a pipeline with the components of Flux. `guidance`: embed the guidance scale. `shift`: by image size."""
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=in_channels, out_channels=LATENT_CHANNELS, num_layers=1, num_single_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8), guidance_embeds=guidance,
    )  # fmt: skip
    return cls(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if shift else 1.0, use_dynamic_shifting=shift),
        text_encoder=parts.clip_encoder(),
        tokenizer=parts.clip_tokenizer(),
        text_encoder_2=parts.t5_encoder(),
        tokenizer_2=parts.t5_tokenizer(),
        vae=parts.flux_autoencoder(),
    )


@model
def flux_dev() -> FluxPipeline:
    """Build Flux dev, which takes the guidance scale as an embedding."""
    return _flux()


@model
def flux_schnell() -> FluxPipeline:
    """Build Flux schnell, which has no guidance."""
    return _flux(guidance=False, shift=False)


@model
def flux_fill() -> FluxFillPipeline:
    """Build Flux Fill, which takes the masked image as further input channels."""
    return _flux(FluxFillPipeline, in_channels=FILL_CHANNELS)


@model
def flux_kontext() -> FluxKontextPipeline:
    """Build Flux Kontext, which edits an image according to an instruction."""
    return _flux(FluxKontextPipeline)


@model
def flux_control() -> FluxControlPipeline:
    """Build Flux Canny or Depth, which takes a control image as further input channels."""
    return _flux(FluxControlPipeline, in_channels=2 * LATENT_CHANNELS)


def _flux2_transformer(*, text_channels: int, guidance: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=text_channels, timestep_guidance_channels=256, axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )  # fmt: skip


def _flux2_klein(*, distilled: bool) -> Flux2KleinPipeline:
    return Flux2KleinPipeline(
        transformer=_flux2_transformer(text_channels=3 * 16, guidance=False),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=Qwen3ForCausalLM(parts.qwen3_config(layers=28)),
        tokenizer=parts.qwen_tokenizer(),
        vae=parts.flux2_autoencoder(),
        is_distilled=distilled,
    )


@model
def flux2_klein() -> Flux2KleinPipeline:
    """Build Flux.2 klein, distilled to 4 steps without guidance."""
    return _flux2_klein(distilled=True)


@model
def flux2_klein_base() -> Flux2KleinPipeline:
    """Build Flux.2 klein base, which has classifier-free guidance."""
    return _flux2_klein(distilled=False)


@model
def flux2_dev() -> Flux2Pipeline:
    """Build Flux.2 dev: embedded guidance, and the hidden states of layers 10, 20 and 30 of Mistral."""
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 30, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": parts.QWEN_VOCABULARY,
        "max_position_embeddings": 1024, "model_type": "mistral",
    }  # fmt: skip
    vision: dict[str, Any] = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 16, "model_type": "pixtral",
    }  # fmt: skip
    return Flux2Pipeline(
        transformer=_flux2_transformer(text_channels=3 * 16, guidance=True),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision)),
        tokenizer=parts.qwen_tokenizer(),
        vae=parts.flux2_autoencoder(),
    )


@model
def chroma() -> ChromaPipeline:
    """Build Chroma: T5 as the only text encoder, classifier-free guidance."""
    transformer = ChromaTransformer2DModel(
        patch_size=1, in_channels=LATENT_CHANNELS, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_hidden_dim=32,
        approximator_layers=1, approximator_num_channels=16,
    )  # fmt: skip
    return ChromaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=parts.t5_encoder(),
        tokenizer=parts.t5_tokenizer(),
        vae=parts.flux_autoencoder(),
    )
