"""Build tiny models of further families, and of pipelines with perturbed-attention guidance (PAG)."""

from diffusers import (
    AltDiffusionPipeline,
    AutoencoderKLHunyuanImage,
    BriaPipeline,
    BriaTransformer2DModel,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    HunyuanDiTPAGPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    IFPipeline,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PixArtSigmaPAGPipeline,
    SanaPAGPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionXLPAGPipeline,
    UNet2DConditionModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance
from transformers import Qwen3Model

from tiny_zoo import flux, parts, single_encoder, stable_diffusion
from tiny_zoo.registry import model


@model
def ovis_image() -> OvisImagePipeline:
    """Build Ovis-Image, a transformer like that of Flux with Qwen 3 as the text encoder."""
    return OvisImagePipeline(
        transformer=OvisImageTransformer2DModel(
            in_channels=64, out_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=16, axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=parts.flux_autoencoder(),
        text_encoder=Qwen3Model(parts.qwen3_config()),
        tokenizer=parts.qwen_tokenizer(),
    )  # fmt: skip


@model
def bria() -> BriaPipeline:
    """Build Bria 3.2, whose text encoder is T5."""
    return BriaPipeline(
        transformer=BriaTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, axes_dims_rope=[0, 8, 8],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=parts.flux_autoencoder(),
        text_encoder=parts.t5_encoder(),
        tokenizer=parts.t5_tokenizer(),
    )  # fmt: skip


def _hunyuan_image(*, distilled: bool) -> HunyuanImagePipeline:
    return HunyuanImagePipeline(
        transformer=HunyuanImageTransformer2DModel(
            in_channels=32, out_channels=32, num_attention_heads=4, attention_head_dim=8, num_layers=1,
            num_single_layers=1, num_refiner_layers=1, guidance_embeds=distilled, text_embed_dim=32,
            text_embed_2_dim=32, rope_axes_dim=(4, 4),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        vae=AutoencoderKLHunyuanImage(
            in_channels=3, out_channels=3, latent_channels=32, block_out_channels=(32, 64, 64, 64), layers_per_block=1,
            spatial_compression_ratio=8, sample_size=128, scaling_factor=0.476986,
        ),
        text_encoder=parts.qwen25_vl_encoder(32, (2, 2, 4)),
        tokenizer=parts.qwen_tokenizer(),
        text_encoder_2=parts.t5_encoder(),
        tokenizer_2=parts.t5_tokenizer(),
        guider=None if distilled else AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1),
        ocr_guider=None,
    )  # fmt: skip


@model
def hunyuan_image() -> HunyuanImagePipeline:
    """Build HunyuanImage 2.1, whose guidance is a component, the guider."""
    return _hunyuan_image(distilled=False)


@model
def hunyuan_image_distilled() -> HunyuanImagePipeline:
    """Build HunyuanImage 2.1 distilled, which takes the guidance scale as an embedding."""
    return _hunyuan_image(distilled=True)


@model
def deepfloyd_if() -> IFPipeline:
    """Build the first stage of DeepFloyd IF, which works on pixels."""
    unet = UNet2DConditionModel(
        sample_size=32, layers_per_block=1, block_out_channels=[32, 64], in_channels=3, out_channels=6,
        down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"], cross_attention_dim=32,
        encoder_hid_dim=32, attention_head_dim=8, addition_embed_type="text", addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm", resnet_time_scale_shift="scale_shift", act_fn="gelu",
    )  # fmt: skip
    return IFPipeline(
        text_encoder=parts.t5_encoder(),
        tokenizer=parts.t5_tokenizer(),
        unet=unet,
        scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.0,
            variance_type="learned_range",
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )  # fmt: skip


@model
def altdiffusion() -> AltDiffusionPipeline:
    """Build AltDiffusion, a pipeline like that of Stable Diffusion 1, here with CLIP as the text encoder."""
    return AltDiffusionPipeline(**stable_diffusion.sd1().components, requires_safety_checker=False)


@model
def sd1_pag() -> StableDiffusionPAGPipeline:
    """Build Stable Diffusion 1 with perturbed-attention guidance."""
    return StableDiffusionPAGPipeline(**stable_diffusion.sd1().components, requires_safety_checker=False)


@model
def sdxl_pag() -> StableDiffusionXLPAGPipeline:
    """Build SDXL with perturbed-attention guidance."""
    return StableDiffusionXLPAGPipeline(**stable_diffusion.sdxl().components)


@model
def sana_pag() -> SanaPAGPipeline:
    """Build Sana with perturbed-attention guidance."""
    return SanaPAGPipeline(**single_encoder.sana().components)


@model
def pixart_sigma_pag() -> PixArtSigmaPAGPipeline:
    """Build PixArt-Sigma with perturbed-attention guidance."""
    return PixArtSigmaPAGPipeline(**single_encoder.pixart_sigma().components)


@model
def hunyuandit_pag() -> HunyuanDiTPAGPipeline:
    """Build HunyuanDiT with perturbed-attention guidance."""
    return HunyuanDiTPAGPipeline(**single_encoder.hunyuandit().components, requires_safety_checker=False)


@model
def flux2_klein_kv() -> Flux2KleinKVPipeline:
    """Build Flux.2 klein KV, which caches the keys and values of reference images."""
    return Flux2KleinKVPipeline(**flux.flux2_klein().components)
