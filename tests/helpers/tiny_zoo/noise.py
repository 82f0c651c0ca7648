"""Build tiny models that generate from noise without a prompt."""

from diffusers import (
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    PNDMPipeline,
    PNDMScheduler,
    ScoreSdeVePipeline,
    ScoreSdeVeScheduler,
    UNet2DModel,
    VQModel,
)

from tiny_zoo import parts
from tiny_zoo.registry import model


def _unet(**config: object) -> UNet2DModel:
    return UNet2DModel(
        block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=4, sample_size=32,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), **config,
    )  # fmt: skip


@model
def ddpm() -> DDPMPipeline:
    """Build a DDPM."""
    return DDPMPipeline(unet=_unet(), scheduler=DDPMScheduler())


@model
def ddim() -> DDIMPipeline:
    """Build a DDPM that is sampled with DDIM."""
    return DDIMPipeline(unet=_unet(), scheduler=DDIMScheduler())


@model
def pndm() -> PNDMPipeline:
    """Build a DDPM that is sampled with PNDM."""
    return PNDMPipeline(unet=_unet(), scheduler=PNDMScheduler())


@model
def score_sde_ve() -> ScoreSdeVePipeline:
    """Build a score SDE with exploding variance."""
    return ScoreSdeVePipeline(unet=_unet(), scheduler=ScoreSdeVeScheduler())


@model
def ldm_uncond() -> LDMPipeline:
    """Build an unconditional latent diffusion model."""
    vqvae = VQModel(
        block_out_channels=(4, 8), norm_num_groups=4, num_vq_embeddings=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return LDMPipeline(vqvae=vqvae, unet=_unet(), scheduler=DDIMScheduler())


@model
def consistency() -> ConsistencyModelPipeline:
    """Build a consistency model."""
    return ConsistencyModelPipeline(
        unet=_unet(),
        scheduler=CMStochasticIterativeScheduler(num_train_timesteps=40, sigma_min=0.002, sigma_max=80.0),
    )


@model
def consistency_classes() -> ConsistencyModelPipeline:
    """Build a consistency model with 10 classes."""
    return ConsistencyModelPipeline(
        unet=_unet(num_class_embeds=10),
        scheduler=CMStochasticIterativeScheduler(num_train_timesteps=40, sigma_min=0.002, sigma_max=80.0),
    )


@model
def dit() -> DiTPipeline:
    """Build a class-conditional DiT, which works on latents."""
    transformer = DiTTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2, in_channels=4,
        out_channels=8, attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero", norm_elementwise_affine=False,
    )  # fmt: skip
    return DiTPipeline(
        transformer=transformer,
        vae=parts.kl_autoencoder(),
        scheduler=DDIMScheduler(),
        id2label={0: "fox, red fox", 1: "cat"},
    )
