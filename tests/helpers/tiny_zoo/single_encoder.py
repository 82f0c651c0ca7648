"""Build tiny transformers with T5, Gemma, GLM, BERT or Llama text encoders."""

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
)
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3Model,
    UMT5Config,
    UMT5EncoderModel,
)

from tiny_zoo import parts
from tiny_zoo.registry import model


def _pixart(cls: type) -> PixArtAlphaPipeline:
    transformer = PixArtTransformer2DModel(
        sample_size=32, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32,
        in_channels=4, cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
    )  # fmt: skip
    return cls(
        transformer=transformer,
        vae=parts.kl_autoencoder(),
        scheduler=DPMSolverMultistepScheduler(),
        text_encoder=parts.t5_encoder(),
        tokenizer=parts.t5_tokenizer(),
    )


@model
def pixart_alpha() -> PixArtAlphaPipeline:
    """Build PixArt-alpha."""
    return _pixart(PixArtAlphaPipeline)


@model
def pixart_sigma() -> PixArtSigmaPipeline:
    """Build PixArt-Sigma."""
    return _pixart(PixArtSigmaPipeline)


def _sana_transformer(sample_size: int = 16, **config: object) -> SanaTransformer2DModel:
    return SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=sample_size, **config,
    )  # fmt: skip


@model
def sana() -> SanaPipeline:
    """Build Sana: a linear transformer, Gemma 2 and a deep compression autoencoder."""
    return SanaPipeline(
        transformer=_sana_transformer(),
        vae=parts.deep_compression_autoencoder(),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        text_encoder=parts.gemma_encoder(),
        tokenizer=parts.gemma_tokenizer(),
    )


@model
def sana_sprint() -> SanaSprintPipeline:
    """Build Sana Sprint: distilled to 1 to 4 steps, embedded guidance."""
    return SanaSprintPipeline(
        transformer=_sana_transformer(sample_size=32, guidance_embeds=True, qk_norm="rms_norm_across_heads"),
        vae=parts.deep_compression_autoencoder(),
        scheduler=SCMScheduler(),
        text_encoder=parts.gemma_encoder(),
        tokenizer=parts.gemma_tokenizer(),
    )


@model
def lumina2() -> Lumina2Pipeline:
    """Build Lumina Image 2.0, whose text encoder is Gemma 2."""
    transformer = Lumina2Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, hidden_size=8, num_layers=2, num_attention_heads=1, num_kv_heads=1,
        multiple_of=16, ffn_dim_multiplier=None, norm_eps=1e-5, scaling_factor=1.0, axes_dim_rope=[4, 2, 2],
        cap_feat_dim=8,
    )  # fmt: skip
    return Lumina2Pipeline(
        transformer=transformer,
        vae=parts.flux_autoencoder(4),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=parts.gemma_encoder(head_width=4),
        tokenizer=parts.gemma_tokenizer(),
    )


@model
def auraflow() -> AuraFlowPipeline:
    """Build AuraFlow, whose text encoder is UMT5."""
    transformer = AuraFlowTransformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1,
        attention_head_dim=8, num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32,
        out_channels=4, pos_embed_max_size=256,
    )  # fmt: skip
    encoder = UMT5EncoderModel(UMT5Config(d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4, vocab_size=200))
    return AuraFlowPipeline(
        transformer=transformer,
        vae=parts.kl_autoencoder(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=encoder,
        tokenizer=parts.t5_tokenizer(),
    )


@model
def hunyuandit() -> HunyuanDiTPipeline:
    """Build HunyuanDiT, whose text encoders are BERT and T5."""
    transformer = HunyuanDiT2DModel(
        sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4,
        cross_attention_dim=32, cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=24,
        activation_fn="gelu-approximate",
    )  # fmt: skip
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "fox", *"bcdefghijklmnopqrstuvwxyz"]
    bert = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, vocab_size=len(tokens)
    )
    return HunyuanDiTPipeline(
        transformer=transformer,
        vae=parts.kl_autoencoder(),
        scheduler=DDPMScheduler(),
        text_encoder=BertModel(bert),
        tokenizer=BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=77),
        text_encoder_2=parts.t5_encoder(),
        tokenizer_2=parts.t5_tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@model
def cogview3() -> CogView3PlusPipeline:
    """Build CogView3-Plus, whose text encoder is T5."""
    transformer = CogView3PlusTransformer2DModel(
        in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4, text_embed_dim=32,
        time_embed_dim=8, condition_dim=2, pos_embed_max_size=8, sample_size=8,
    )  # fmt: skip
    return CogView3PlusPipeline(
        transformer=transformer,
        vae=parts.kl_autoencoder(),
        scheduler=CogVideoXDDIMScheduler(),
        text_encoder=parts.t5_encoder(),
        tokenizer=parts.t5_tokenizer(),
    )


@model
def cogview4() -> CogView4Pipeline:
    """Build CogView4, whose text encoder is GLM-4."""
    transformer = CogView4Transformer2DModel(
        patch_size=2, in_channels=4, num_layers=2, attention_head_dim=4, num_attention_heads=4, out_channels=4,
        text_embed_dim=32, time_embed_dim=8, condition_dim=4,
    )  # fmt: skip
    glm = GlmConfig(
        hidden_size=32, intermediate_size=8, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=parts.QWEN_VOCABULARY, pad_token_id=256, eos_token_id=258,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
    )
    return CogView4Pipeline(
        transformer=transformer,
        vae=parts.kl_autoencoder(),
        scheduler=scheduler,
        text_encoder=GlmModel(glm),
        tokenizer=parts.glm_tokenizer(),
    )


@model
def hidream() -> HiDreamImagePipeline:
    """Build HiDream-I1: mixture of experts; two CLIP encoders, T5 and Llama."""
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=64, num_routed_experts=4,
        num_activated_experts=2, axes_dims_rope=(4, 2, 2), max_resolution=(32, 32), llama_layers=(0, 1),
        force_inference_output=True,
    )  # fmt: skip
    llama = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=parts.QWEN_VOCABULARY, max_position_embeddings=128,
    )  # fmt: skip
    return HiDreamImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=parts.flux_autoencoder(4),
        text_encoder=parts.projected_clip_encoder(tokens=128),
        tokenizer=parts.clip_tokenizer(),
        text_encoder_2=parts.projected_clip_encoder(tokens=128),
        tokenizer_2=parts.clip_tokenizer(),
        text_encoder_3=parts.t5_encoder(),
        tokenizer_3=parts.t5_tokenizer(),
        text_encoder_4=LlamaForCausalLM(llama),
        tokenizer_4=parts.qwen_tokenizer(),
        transformer=transformer,
    )


@model
def ernie_image() -> ErnieImagePipeline:
    """Build ERNIE-Image: Mistral 3 as the text encoder, the autoencoder of Flux.2, no prompt enhancer."""
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16, out_channels=16,
        text_in_dim=16, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": parts.QWEN_VOCABULARY, "model_type": "mistral",
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 16, "model_type": "pixtral",
    }  # fmt: skip
    return ErnieImagePipeline(
        transformer=transformer,
        vae=parts.flux2_autoencoder(),
        text_encoder=Mistral3Model(Mistral3Config(text_config=text, vision_config=vision)),
        tokenizer=parts.qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        pe=None,
        pe_tokenizer=None,
    )
