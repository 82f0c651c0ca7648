"""Build tiny models of Stable Diffusion 1, 2, XL and 3 and their variants."""

from typing import Any

import tiny_models
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    PriorTransformer,
    SD3Transformer2DModel,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionLatentUpscalePipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    StableUnCLIPImg2ImgPipeline,
    StableUnCLIPPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
)

from tiny_zoo import parts
from tiny_zoo.registry import model

NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def _sd1(
    cls: type = StableDiffusionPipeline,
    scheduler: Any = None,
    channels: int = 4,
    width: int = 32,
    components: dict[str, Any] = NO_CHECKER,
    **unet: Any,
) -> StableDiffusionPipeline:
    """Return a pipeline with the components of Stable Diffusion 1 or 2. `width`: channels of the text encoder."""
    return cls(
        vae=tiny_models._vae(),
        text_encoder=parts.clip_encoder(width=width),
        tokenizer=parts.clip_tokenizer(),
        unet=tiny_models._unet(channels, width, **unet),
        scheduler=scheduler or PNDMScheduler(**parts.SD_BETAS, skip_prk_steps=True, steps_offset=1),
        **components,
    )


@model
def sd1() -> StableDiffusionPipeline:
    """Build Stable Diffusion 1: predicts the noise, PNDM."""
    return _sd1()


@model
def sd1_v() -> StableDiffusionPipeline:
    """Build Stable Diffusion 1 with v-prediction."""
    return _sd1(scheduler=_ddim(prediction_type="v_prediction"))


@model
def sd1_zero_snr() -> StableDiffusionPipeline:
    """Build Stable Diffusion 1 with v-prediction and zero terminal SNR."""
    return _sd1(
        scheduler=_ddim(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    )


def _ddim(**config: Any) -> DDIMScheduler:
    return DDIMScheduler(**parts.SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, **config)


def _euler(**config: Any) -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(**parts.SD_BETAS, **{"timestep_spacing": "leading", "steps_offset": 1, **config})


@model
def sd1_inpaint() -> StableDiffusionInpaintPipeline:
    """Build the inpainting model of Stable Diffusion 1, whose UNet has 9 input channels."""
    return _sd1(StableDiffusionInpaintPipeline, channels=9)


@model
def sd2() -> StableDiffusionPipeline:
    """Build Stable Diffusion 2.1: v-prediction, linear projections, a wider text encoder."""
    return _sd1(scheduler=_ddim(prediction_type="v_prediction"), width=64, use_linear_projection=True)


@model
def sd2_base() -> StableDiffusionPipeline:
    """Build Stable Diffusion 2.1 base: predicts the noise."""
    return _sd1(width=64, use_linear_projection=True)


@model
def sd_turbo() -> StableDiffusionPipeline:
    """Build SD-Turbo, whose scheduler places the timesteps at the end."""
    return _sd1(scheduler=_euler(timestep_spacing="trailing"), width=64, use_linear_projection=True)


@model
def sd2_depth() -> StableDiffusionDepth2ImgPipeline:
    """Build the depth model of Stable Diffusion 2, whose UNet has 5 input channels."""
    depth = DPTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16,
        backbone_out_indices=[0, 1, 1, 1], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
    )  # fmt: skip
    extra = {
        "depth_estimator": DPTForDepthEstimation(depth),
        "feature_extractor": DPTImageProcessor(size={"height": 32, "width": 32}),
    }
    return _sd1(StableDiffusionDepth2ImgPipeline, channels=5, width=64, components=extra, use_linear_projection=True)


@model
def lcm() -> LatentConsistencyModelPipeline:
    """Build a latent consistency model, whose UNet takes the guidance scale as an embedding."""
    scheduler = LCMScheduler(**parts.SD_BETAS, clip_sample=False, set_alpha_to_one=False)
    return _sd1(LatentConsistencyModelPipeline, scheduler, time_cond_proj_dim=32)


@model
def pix2pix() -> StableDiffusionInstructPix2PixPipeline:
    """Build InstructPix2Pix, whose UNet has 8 input channels."""
    return _sd1(StableDiffusionInstructPix2PixPipeline, channels=8)


@model
def x4_upscaler() -> StableDiffusionUpscalePipeline:
    """Build the upscaler of Stable Diffusion 2, whose UNet has 7 input channels."""
    return StableDiffusionUpscalePipeline(
        unet=tiny_models._unet(7, use_linear_projection=True, num_class_embeds=1000),
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3, latent_channels=4, norm_num_groups=4, scaling_factor=0.08333,
        ),
        text_encoder=parts.clip_encoder(),
        tokenizer=parts.clip_tokenizer(),
        low_res_scheduler=DDPMScheduler(),
        scheduler=DDIMScheduler(prediction_type="v_prediction"),
        max_noise_level=350,
    )  # fmt: skip


@model
def latent_upscaler() -> StableDiffusionLatentUpscalePipeline:
    """Build the upscaler that doubles the size of the latents."""
    unet = UNet2DConditionModel(
        act_fn="gelu", attention_head_dim=8, norm_num_groups=None, block_out_channels=[32, 32, 64, 64],
        time_cond_proj_dim=160, conv_in_kernel=1, conv_out_kernel=1, cross_attention_dim=32,
        down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3), in_channels=8, mid_block_type=None,
        only_cross_attention=False, out_channels=5, resnet_time_scale_shift="scale_shift",
        time_embedding_type="fourier", timestep_post_act="gelu",
        up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
    )  # fmt: skip
    return StableDiffusionLatentUpscalePipeline(
        unet=unet,
        vae=parts.kl_autoencoder(),
        scheduler=EulerDiscreteScheduler(prediction_type="sample"),
        text_encoder=parts.clip_encoder(),
        tokenizer=parts.clip_tokenizer(),
    )


def _unclip(**extra: Any) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=16, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(32, 64), attention_head_dim=(2, 4),
        class_embed_type="projection", projection_class_embeddings_input_dim=64, cross_attention_dim=32,
        layers_per_block=1, use_linear_projection=True,
    )  # fmt: skip
    return {
        "image_normalizer": StableUnCLIPImageNormalizer(embedding_dim=32),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "tokenizer": parts.clip_tokenizer(),
        "text_encoder": parts.clip_encoder(),
        "unet": unet,
        "scheduler": _ddim(prediction_type="v_prediction"),
        "vae": tiny_models._vae(),
        **extra,
    }


@model
def stable_unclip() -> StableUnCLIPPipeline:
    """Build Stable unCLIP with a prior, which generates the image embedding from the prompt."""
    return StableUnCLIPPipeline(
        **_unclip(
            prior_tokenizer=parts.clip_tokenizer(),
            prior_text_encoder=parts.projected_clip_encoder(),
            prior=PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1),
            prior_scheduler=DDPMScheduler(
                variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0,
                beta_schedule="squaredcos_cap_v2",
            ),
        )
    )  # fmt: skip


@model
def sd2_unclip() -> StableUnCLIPImg2ImgPipeline:
    """Build Stable Diffusion 2 unCLIP, which generates variations of an image."""
    return StableUnCLIPImg2ImgPipeline(
        **_unclip(feature_extractor=CLIPImageProcessor(crop_size=28, size=28), image_encoder=image_encoder())
    )


def image_encoder() -> CLIPVisionModelWithProjection:
    """Return a CLIP image encoder with 32 channels for images of 28 pixels."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32, image_size=28, projection_dim=32, intermediate_size=37, num_attention_heads=4,
            num_hidden_layers=2, patch_size=14,
        )
    )  # fmt: skip


def _sdxl(
    cls: type = StableDiffusionXLPipeline, scheduler: Any = None, channels: int = 4, **config: Any
) -> StableDiffusionXLPipeline:
    return cls(
        vae=tiny_models._vae(),
        text_encoder=parts.clip_encoder(),
        text_encoder_2=parts.projected_clip_encoder(),
        tokenizer=parts.clip_tokenizer(),
        tokenizer_2=parts.clip_tokenizer(),
        unet=_sdxl_unet(channels, 64, size_and_pooled=6 * 8 + 32, **config.pop("unet", {})),
        scheduler=scheduler or _euler(),
        **config,
    )


def _sdxl_unet(channels: int, width: int, size_and_pooled: int, **config: Any) -> UNet2DConditionModel:
    return tiny_models._unet(
        channels,
        width,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=size_and_pooled,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        **config,
    )


@model
def sdxl() -> StableDiffusionXLPipeline:
    """Build Stable Diffusion XL."""
    return _sdxl()


@model
def sdxl_turbo() -> StableDiffusionXLPipeline:
    """Build SDXL-Turbo, whose scheduler places the timesteps at the end."""
    return _sdxl(scheduler=_euler(timestep_spacing="trailing"))


@model
def sdxl_v() -> StableDiffusionXLPipeline:
    """Build SDXL with v-prediction and zero terminal SNR."""
    return _sdxl(scheduler=_euler(prediction_type="v_prediction", rescale_betas_zero_snr=True))


@model
def sdxl_lcm() -> StableDiffusionXLPipeline:
    """Build SDXL distilled to a latent consistency model."""
    scheduler = LCMScheduler(**parts.SD_BETAS, clip_sample=False, set_alpha_to_one=False)
    return _sdxl(scheduler=scheduler, unet={"time_cond_proj_dim": 32})


@model
def sdxl_inpaint() -> StableDiffusionXLInpaintPipeline:
    """Build the inpainting model of SDXL, whose UNet has 9 input channels."""
    return _sdxl(StableDiffusionXLInpaintPipeline, channels=9)


@model
def sdxl_pix2pix() -> StableDiffusionXLInstructPix2PixPipeline:
    """Build InstructPix2Pix for SDXL, whose UNet has 8 input channels."""
    return _sdxl(StableDiffusionXLInstructPix2PixPipeline, channels=8)


@model
def sdxl_refiner() -> StableDiffusionXLImg2ImgPipeline:
    """Build the SDXL refiner: the second text encoder only, and an aesthetic score in place of the target size."""
    return StableDiffusionXLImg2ImgPipeline(
        vae=tiny_models._vae(),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=parts.projected_clip_encoder(),
        tokenizer_2=parts.clip_tokenizer(),
        unet=_sdxl_unet(4, 32, size_and_pooled=5 * 8 + 32),
        scheduler=_euler(),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )


def _sd3(cls: type = StableDiffusion3Pipeline, channels: int = 16, t5: bool = True) -> StableDiffusion3Pipeline:
    return cls(
        transformer=SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=channels, num_layers=1, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=64,
            out_channels=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=parts.flux_autoencoder(),
        text_encoder=parts.projected_clip_encoder(),
        tokenizer=parts.clip_tokenizer(),
        text_encoder_2=parts.projected_clip_encoder(),
        tokenizer_2=parts.clip_tokenizer(),
        text_encoder_3=parts.t5_encoder(64) if t5 else None,
        tokenizer_3=parts.t5_tokenizer() if t5 else None,
    )  # fmt: skip


@model
def sd3() -> StableDiffusion3Pipeline:
    """Build Stable Diffusion 3 with T5."""
    return _sd3()


@model
def sd3_without_t5() -> StableDiffusion3Pipeline:
    """Build Stable Diffusion 3 without the optional T5."""
    return _sd3(t5=False)


@model
def sd3_inpaint() -> StableDiffusion3InpaintPipeline:
    """Build Stable Diffusion 3 with 33 input channels: latents, masked image and mask."""
    return _sd3(StableDiffusion3InpaintPipeline, channels=33)
