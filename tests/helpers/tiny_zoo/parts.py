"""Build the tokenizers, text encoders, autoencoders and schedulers that several tiny models share."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import tiny_models
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from artgen.engine.loading.processors import usable_class

SD_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
"""Noise schedule of Stable Diffusion 1, 2 and XL."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_VOCABULARY = 256 + len(SPECIAL_TOKENS)


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """Return a CLIP tokenizer for all bytes and a few words."""
    with tempfile.TemporaryDirectory() as folder:
        return tiny_models.tokenizer(Path(folder))


@cache
def t5_tokenizer() -> T5Tokenizer:
    """Return a T5 tokenizer for a few words and all lower-case letters."""
    words = [f"▁{word}" for word in tiny_models.VOCABULARY]
    tokens = ["<pad>", "</s>", "<unk>", "▁", *words, *"abcdefghijklmnopqrstuvwxyz0123456789.,"]
    scores = [(token, -1.0 - i / 100) for i, token in enumerate(dict.fromkeys(tokens))]
    return T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=512)


@cache
def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return a Qwen tokenizer with one token per byte, and a chat template."""
    tokenizer = Qwen2Tokenizer(
        vocab=_byte_vocabulary(),
        merges=[],
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def qwen_processor(cls: type[ProcessorMixin], **settings: Any) -> ProcessorMixin:
    """Return a processor of text and images, which contains no video processor if torchvision is not installed.

    Args:
        cls: class of the processor.
        **settings: settings of the image processor.
    """
    return usable_class(cls)(
        image_processor=Qwen2VLImageProcessorPil(**settings), tokenizer=qwen_tokenizer(), chat_template=CHAT_TEMPLATE
    )


def glm_tokenizer() -> PreTrainedTokenizerFast:
    """Return a GLM tokenizer with one token per byte, which starts each text with a special token."""
    tokens = Tokenizer(models.BPE(vocab=_byte_vocabulary(), merges=[]))
    tokens.pre_tokenizer = ByteLevel(add_prefix_space=False)
    start = "<|im_start|>"
    tokens.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, 256 + SPECIAL_TOKENS.index(start))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="left"
    )


def _byte_vocabulary() -> dict[str, int]:
    return {token: i for i, token in enumerate([*sorted(ByteLevel.alphabet()), *SPECIAL_TOKENS])}


@cache
def gemma_tokenizer() -> GemmaTokenizer:
    """Return a Gemma tokenizer with one token per character."""
    letters = "▁abcdefghijklmnopqrstuvwxyz0123456789.,'\"ABCDEFGHIJKLMNOPQRSTUVWXYZ<>:()-\n"
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *letters]
    return GemmaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])


def clip_encoder(cls: type = CLIPTextModel, width: int = 32, tokens: int = 77) -> CLIPTextModel:
    """Return a CLIP text encoder with `width` channels for `tokens` tokens."""
    config = tiny_models._text_config(clip_tokenizer())
    config.hidden_size = config.projection_dim = width
    config.max_position_embeddings = tokens
    return cls(config)


def projected_clip_encoder(width: int = 32, tokens: int = 77) -> CLIPTextModelWithProjection:
    """Return a CLIP text encoder with a projection of the pooled state, both with `width` channels."""
    return clip_encoder(CLIPTextModelWithProjection, width, tokens)


def t5_encoder(width: int = 32) -> T5EncoderModel:
    """Return a T5 encoder with `width` channels."""
    return T5EncoderModel(
        T5Config(d_model=width, d_ff=37, d_kv=8, num_layers=2, num_heads=4, vocab_size=200, decoder_start_token_id=0)
    )


def gemma_encoder(width: int = 8, head_width: int = 16) -> Gemma2Model:
    """Return a Gemma 2 encoder with `width` channels."""
    return Gemma2Model(
        Gemma2Config(
            head_dim=head_width,
            hidden_size=width,
            intermediate_size=64,
            num_attention_heads=2,
            num_hidden_layers=2,
            num_key_value_heads=2,
            vocab_size=120,
        )
    )


def qwen3_config(layers: int = 2, width: int = 16) -> Qwen3Config:
    """Return the configuration of a Qwen 3 text model with `width` channels."""
    return Qwen3Config(
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=QWEN_VOCABULARY,
        max_position_embeddings=512,
    )


def vision_token_ids() -> dict[str, int]:
    """Return the ids of the tokens of images in the Qwen tokenizer, with the names of the model configurations."""
    names = {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>", "image": "<|image_pad|>"}
    names["video"] = "<|video_pad|>"
    return {f"{name}_token_id": 256 + SPECIAL_TOKENS.index(token) for name, token in names.items()}


def qwen25_vl_encoder(
    width: int = 16, sections: tuple[int, int, int] = (1, 1, 2)
) -> Qwen2_5_VLForConditionalGeneration:
    """Return a Qwen 2.5 VL model with `width` channels. `sections`: rotary channels of time, height and width."""
    text = {
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": QWEN_VOCABULARY,
        "rope_scaling": {"mrope_section": list(sections), "rope_type": "default", "type": "default"},
        "rope_theta": 1e6,
    }
    vision = {"depth": 2, "hidden_size": width, "intermediate_size": width, "num_heads": 2, "out_hidden_size": width}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=text,
            vision_config=vision,
            hidden_size=width,
            vocab_size=QWEN_VOCABULARY,
            **vision_token_ids(),
        )
    )


def kl_autoencoder(channels: int = 4, **config: object) -> AutoencoderKL:
    """Return an autoencoder with `channels` latent channels that divides the size by 8."""
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=2,
        layers_per_block=1,
        sample_size=32,
        **config,
    )


def flux_autoencoder(channels: int = 16) -> AutoencoderKL:
    """Return an autoencoder in the form of Flux: a shift of the latents, no quantization convolutions."""
    return kl_autoencoder(
        channels, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1159, scaling_factor=0.3611
    )


def flux2_autoencoder(channels: int = 4) -> AutoencoderKLFlux2:
    """Return an autoencoder in the form of Flux.2, which normalizes patches of the latents."""
    return AutoencoderKLFlux2(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=1,
        layers_per_block=1,
        sample_size=32,
    )


def qwen_autoencoder(channels: int = 4, input_channels: int = 3) -> AutoencoderKLQwenImage:
    """Return the video autoencoder of Qwen-Image, which divides the size by 8 with three levels."""
    return AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=channels,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        input_channels=input_channels,
        latents_mean=[0.0] * channels,
        latents_std=[1.0] * channels,
    )


def deep_compression_autoencoder(channels: int = 4) -> AutoencoderDC:
    """Return the autoencoder of Sana, which divides the size by 32."""
    blocks = ("ResBlock",) * 5 + ("EfficientViTBlock",)
    return AutoencoderDC(
        in_channels=3,
        latent_channels=channels,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_qkv_multiscales=((),) * 5 + ((5,),),
        decoder_qkv_multiscales=((),) * 5 + ((5,),),
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
