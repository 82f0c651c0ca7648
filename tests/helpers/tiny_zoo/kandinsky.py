"""Build tiny models of Kandinsky 2.2, 3 and 5, and of Stable Cascade."""

from typing import Any

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    Kandinsky5I2IPipeline,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    KandinskyV22CombinedPipeline,
    KandinskyV22InpaintCombinedPipeline,
    KandinskyV22Pipeline,
    PriorTransformer,
    StableCascadeCombinedPipeline,
    StableCascadeUNet,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from transformers import CLIPImageProcessor, Qwen2VLProcessor

from tiny_zoo import parts
from tiny_zoo.registry import model
from tiny_zoo.stable_diffusion import image_encoder


def _movq() -> VQModel:
    """Return Kandinsky's autoencoder with spatial normalization, which divides the size by 8."""
    return VQModel(
        block_out_channels=[32, 32, 32, 64], down_block_types=[*["DownEncoderBlock2D"] * 3, "AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3], latent_channels=4, layers_per_block=1,
        norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
    )  # fmt: skip


def _decoder(channels: int = 4) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        in_channels=channels, out_channels=8, addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(32, 64), layers_per_block=1,
        encoder_hid_dim=32, encoder_hid_dim_type="image_proj", cross_attention_dim=32, attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return {"unet": unet, "scheduler": scheduler, "movq": _movq()}


def _prior() -> dict[str, Any]:
    return {
        "prior_prior": PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1),
        "prior_image_encoder": image_encoder(),
        "prior_text_encoder": parts.projected_clip_encoder(),
        "prior_tokenizer": parts.clip_tokenizer(),
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=10.0
        ),
        "prior_image_processor": CLIPImageProcessor(crop_size=28, size=28),
    }


@model
def kandinsky22() -> KandinskyV22CombinedPipeline:
    """Build Kandinsky 2.2 with its prior, which generates the image embedding from the prompt."""
    return KandinskyV22CombinedPipeline(**_decoder(), **_prior())


@model
def kandinsky22_decoder() -> KandinskyV22Pipeline:
    """Build the decoder of Kandinsky 2.2 without a prior: its input is an image embedding."""
    return KandinskyV22Pipeline(**_decoder())


@model
def kandinsky22_inpaint() -> KandinskyV22InpaintCombinedPipeline:
    """Build the inpainting model of Kandinsky 2.2, whose UNet has 9 input channels."""
    return KandinskyV22InpaintCombinedPipeline(**_decoder(channels=9), **_prior())


@model
def kandinsky3() -> Kandinsky3Pipeline:
    """Build Kandinsky 3, whose text encoder is T5."""
    unet = Kandinsky3UNet(
        in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3,
        block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=32,
    )  # fmt: skip
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, steps_offset=1, beta_schedule="squaredcos_cap_v2", clip_sample=True
    )
    return Kandinsky3Pipeline(
        unet=unet,
        scheduler=scheduler,
        movq=_movq(),
        text_encoder=parts.t5_encoder(),
        tokenizer=parts.t5_tokenizer(),
    )


@model
def kandinsky5() -> Kandinsky5T2IPipeline:
    """Build Kandinsky 5 Image: a video transformer with one frame, Qwen and CLIP."""
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=16, in_text_dim=32, in_text_dim2=16, time_dim=16, out_visual_dim=16, patch_size=(1, 2, 2),
        model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=2, axes_dims=(1, 1, 2), visual_cond=False,
        attention_type="regular",
    )  # fmt: skip
    return Kandinsky5T2IPipeline(
        transformer=transformer,
        vae=parts.flux_autoencoder(),
        text_encoder=parts.qwen25_vl_encoder(32, (2, 2, 4)),
        tokenizer=parts.qwen_tokenizer(),
        text_encoder_2=parts.clip_encoder(width=16),
        tokenizer_2=parts.clip_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@model
def kandinsky5_i2i() -> Kandinsky5I2IPipeline:
    """Build Kandinsky 5 image editing: the transformer also reads the latents of the input image and a mask."""
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=16, in_text_dim=32, in_text_dim2=16, time_dim=16, out_visual_dim=16, patch_size=(1, 2, 2),
        model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=2, axes_dims=(1, 1, 2), visual_cond=True,
        attention_type="regular",
    )  # fmt: skip
    components = {**kandinsky5().components, "transformer": transformer}
    return Kandinsky5I2IPipeline(**{**components, "tokenizer": parts.qwen_processor(Qwen2VLProcessor)})


@model
def stable_cascade() -> StableCascadeCombinedPipeline:
    """Build Stable Cascade: a prior and a decoder with a text encoder each."""
    prior = StableCascadeUNet(
        conditioning_dim=128, block_out_channels=(128, 128), num_attention_heads=(2, 2),
        down_num_layers_per_block=(1, 1), up_num_layers_per_block=(1, 1), clip_image_in_channels=768,
        switch_level=(False,), clip_text_in_channels=32, clip_text_pooled_in_channels=32,
    )  # fmt: skip
    convolutions = ("SDCascadeResBlock", "SDCascadeTimestepBlock")
    decoder = StableCascadeUNet(
        in_channels=4, out_channels=4, conditioning_dim=128, block_out_channels=(16, 32, 64, 128),
        num_attention_heads=(-1, -1, 1, 2), down_num_layers_per_block=(1,) * 4, up_num_layers_per_block=(1,) * 4,
        down_blocks_repeat_mappers=(1,) * 4, up_blocks_repeat_mappers=(3, 3, 2, 2),
        block_types_per_layer=(convolutions,) * 2 + ((*convolutions, "SDCascadeAttnBlock"),) * 2, switch_level=None,
        clip_text_pooled_in_channels=32, dropout=(0.1,) * 4,
    )  # fmt: skip
    scheduler = DDPMWuerstchenScheduler()
    return StableCascadeCombinedPipeline(
        tokenizer=parts.clip_tokenizer(),
        text_encoder=parts.projected_clip_encoder(),
        decoder=decoder,
        scheduler=scheduler,
        vqgan=PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2),
        prior_prior=prior,
        prior_text_encoder=parts.projected_clip_encoder(),
        prior_tokenizer=parts.clip_tokenizer(),
        prior_scheduler=scheduler,
    )
