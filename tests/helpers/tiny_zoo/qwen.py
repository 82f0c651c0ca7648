"""Build tiny models whose text encoder is a Qwen model: Qwen-Image, Z-Image, Krea 2 and their variants."""

import torch
from diffusers import (
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImageOmniPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    Qwen2VLProcessor,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Qwen3VLProcessor,
    Siglip2ImageProcessorPil,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)

from tiny_zoo import parts
from tiny_zoo.registry import model

QWEN3_VL_SIZE = {"shortest_edge": 2**16, "longest_edge": 2**24}
"""Smallest and largest number of pixels of an image for Qwen3-VL."""


def _qwen_transformer() -> QwenImageTransformer2DModel:
    return QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip


@model
def qwen_image() -> QwenImagePipeline:
    """Build Qwen-Image, which has true classifier-free guidance."""
    return QwenImagePipeline(
        transformer=_qwen_transformer(),
        vae=parts.qwen_autoencoder(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=parts.qwen25_vl_encoder(),
        tokenizer=parts.qwen_tokenizer(),
    )


def _qwen_image_edit(cls: type) -> QwenImageEditPipeline:
    return cls(
        transformer=_qwen_transformer(),
        vae=parts.qwen_autoencoder(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=parts.qwen25_vl_encoder(),
        tokenizer=parts.qwen_tokenizer(),
        processor=parts.qwen_processor(Qwen2VLProcessor),
    )


@model
def qwen_image_edit() -> QwenImageEditPipeline:
    """Build Qwen-Image-Edit, which edits an image according to an instruction."""
    return _qwen_image_edit(QwenImageEditPipeline)


@model
def qwen_image_edit_plus() -> QwenImageEditPlusPipeline:
    """Build Qwen-Image-Edit-2509 and later, which edit several images."""
    return _qwen_image_edit(QwenImageEditPlusPipeline)


def _z_image(scheduler: FlowMatchEulerDiscreteScheduler, **config: int) -> ZImagePipeline:
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, norm_eps=1e-5, qk_norm=True, cap_feat_dim=16, rope_theta=256.0, t_scale=1000.0,
        axes_dims=[8, 4, 4], axes_lens=[512, 32, 32], **config,
    )  # fmt: skip
    with torch.no_grad():  # these parameters are created without values
        transformer.x_pad_token.fill_(1)
        transformer.cap_pad_token.fill_(1)
    return ZImagePipeline(
        transformer=transformer,
        scheduler=scheduler,
        text_encoder=Qwen3Model(parts.qwen3_config()),
        tokenizer=parts.qwen_tokenizer(),
        vae=parts.flux_autoencoder(),
    )


@model
def z_image_turbo() -> ZImagePipeline:
    """Build Z-Image-Turbo, whose scheduler has the shift 3."""
    return _z_image(FlowMatchEulerDiscreteScheduler(shift=3.0))


@model
def z_image() -> ZImagePipeline:
    """Build Z-Image, whose scheduler has the shift 6."""
    return _z_image(FlowMatchEulerDiscreteScheduler(shift=6.0))


@model
def z_image_omni() -> ZImageOmniPipeline:
    """Build Z-Image Omni, which also reads features of the images by SigLIP 2."""
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_patches": 16,
        "patch_size": 16,
    }  # fmt: skip
    base = _z_image(FlowMatchEulerDiscreteScheduler(shift=6.0), siglip_feat_dim=16)
    with torch.no_grad():
        base.transformer.siglip_pad_token.fill_(1)
    return ZImageOmniPipeline(
        **base.components,
        siglip=Siglip2VisionModel(Siglip2VisionConfig(**vision)),
        siglip_processor=Siglip2ImageProcessorPil(patch_size=16, max_num_patches=16),
    )


def _qwen3_vl_config() -> Qwen3VLConfig:
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": parts.QWEN_VOCABULARY,
        "max_position_embeddings": 1024,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "mrope_interleaved": True},
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16,
    }  # fmt: skip
    return Qwen3VLConfig(text_config=text, vision_config=vision, **parts.vision_token_ids())


def _krea2(*, distilled: bool) -> Krea2Pipeline:
    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=2,
        text_num_attention_heads=2, text_num_key_value_heads=2, text_intermediate_size=16,
        num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=parts.qwen_autoencoder(),
        text_encoder=Qwen3VLModel(_qwen3_vl_config()),
        tokenizer=parts.qwen_tokenizer(),
        transformer=transformer,
        text_encoder_select_layers=(1, 2),
        is_distilled=distilled,
    )


@model
def krea2() -> Krea2Pipeline:
    """Build Krea 2 Raw, which has classifier-free guidance above the scale 0."""
    return _krea2(distilled=False)


@model
def krea2_turbo() -> Krea2Pipeline:
    """Build Krea 2 Turbo, distilled to 8 steps without guidance."""
    return _krea2(distilled=True)


@model
def qwen_image21() -> QwenImage21Pipeline:
    """Build Qwen-Image 2.1: Qwen3-VL, and an autoencoder with 4 input channels that divides the size by 16."""
    transformer = QwenImage21Transformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        context_in_dim=16, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage21(
        base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    return QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=Qwen3VLForConditionalGeneration(_qwen3_vl_config()),
        processor=parts.qwen_processor(Qwen3VLProcessor, patch_size=16, size=QWEN3_VL_SIZE),
        transformer=transformer,
    )
