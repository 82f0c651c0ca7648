"""Build real pipelines at tiny sizes, and save them in diffusers' folder layout.

The classes are real and the weights are random, so the tests exercise the code that runs with full-size models. A
pipeline is built in about 0.5 s and generates an image in about 0.05 s.
"""

import json
import shutil
import string
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

SIZE = 32
"""Native width and height of the tiny models in pixels."""

VOCABULARY = (
    "a",
    "red",
    "blue",
    "fox",
    "in",
    "the",
    "snow",
    "house",
    "tree",
    "cat",
    "of",
    "and",
    "with",
    "small",
    "big",
)


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a CLIP tokenizer for all bytes and a few words."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    merges: list[tuple[str, str]] = []
    for word in VOCABULARY:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            if pair not in merges:
                merges.append(pair)
                tokens.insert(-2, "".join(pair))
            pieces = ["".join(pair), *pieces[2:]]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(dict.fromkeys(tokens))}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def _text_config(tokens: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=len(tokens),
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
        projection_dim=32,
        max_position_embeddings=77,
    )


def vae(folder: Path, *, seed: int = 1, latent_channels: int = 4, **kwargs: float) -> Path:
    """Save the folder of a VAE."""
    torch.manual_seed(seed)
    _vae(latent_channels, **kwargs).save_pretrained(folder)
    return folder


def _vae(latent_channels: int = 4, **kwargs: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=SIZE,
        **kwargs,
    )


def _unet(in_channels: int = 4, cross_attention_dim: int = 32, **kwargs: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=SIZE // 2,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=4,
        norm_num_groups=4,
        **kwargs,
    )


def sd1(folder: Path, *, seed: int = 0, unet_channels: int = 4) -> Path:
    """Save a Stable Diffusion 1 model. `unet_channels=9`: an inpainting model."""
    torch.manual_seed(seed)
    tokens = tokenizer(folder / "tokenizer")
    cls = StableDiffusionPipeline if unet_channels == 4 else StableDiffusionInpaintPipeline
    cls(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(tokens)),
        tokenizer=tokens,
        unet=_unet(unet_channels),
        scheduler=DDIMScheduler(
            steps_offset=1, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def sdxl(folder: Path, *, seed: int = 0) -> Path:
    """Save a Stable Diffusion XL model with both text encoders."""
    torch.manual_seed(seed)
    tokens = tokenizer(folder / "tokenizer")
    StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(tokens)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokens)),
        tokenizer=tokens,
        tokenizer_2=tokenizer(folder / "tokenizer_2"),
        unet=_unet(
            cross_attention_dim=64, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32, transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _t5_tokenizer() -> T5Tokenizer:
    """Return a unigram tokenizer for the words of `VOCABULARY` and single letters."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in VOCABULARY), *string.ascii_lowercase]
    vocabulary = [(piece, -1.0 - index / 100) for index, piece in enumerate(dict.fromkeys(pieces))]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def _t5(width: int) -> T5EncoderModel:
    config = T5Config(
        d_model=width, d_ff=37, d_kv=8, num_layers=2, num_heads=4, vocab_size=64, decoder_start_token_id=0
    )
    return T5EncoderModel(config)


def sd3(folder: Path, *, seed: int = 0, channels: int = 16, t5: bool = False, layers: int = 1) -> Path:
    """Save a Stable Diffusion 3 model, with or without the optional T5 encoder. `channels=33`: an inpainting model."""
    torch.manual_seed(seed)
    tokens = tokenizer(folder / "tokenizer")
    cls = StableDiffusion3Pipeline if channels == 16 else StableDiffusion3InpaintPipeline
    cls(
        transformer=SD3Transformer2DModel(
            sample_size=SIZE // 2, patch_size=1, in_channels=channels, num_layers=layers, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=64,
            out_channels=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=CLIPTextModelWithProjection(_text_config(tokens)),
        tokenizer=tokens,
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokens)),
        tokenizer_2=tokenizer(folder / "tokenizer_2"),
        text_encoder_3=_t5(64) if t5 else None,
        tokenizer_3=_t5_tokenizer() if t5 else None,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def all_models(root: Path) -> dict[str, Path]:
    """Save all models below `root`. Return their folders by name."""
    return {
        "sd1": sd1(root / "sd1"),
        "sd1-inpaint": sd1(root / "sd1-inpaint", unet_channels=9),
        "sdxl": sdxl(root / "sdxl"),
        "sd3": sd3(root / "sd3"),
        "sd3-inpaint": sd3(root / "sd3-inpaint", channels=33),
    }


def without_numbers(folder: Path, model: Path) -> Path:
    """Save a copy of a model whose UNet returns NaN."""
    shutil.copytree(model, folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][:] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    return folder
