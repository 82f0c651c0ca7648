"""Declare the settings of training."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from artgen.spec.fields import option as any_option

option = partial(any_option, in_config=False, in_prompt_file=False, affects=())


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """Store the folder of training images and the selection of its images."""

    folder: Path | None = option(
        None,
        "Folder of images. Subfolders are classes. Sources of captions, in this order: `fox.txt` next to fox.png; "
        "`metadata.jsonl` (file_name, text); `provenance.jsonl` (file_name, source, author, license, consent, text); "
        "--caption-template; the names of the folder and the file.",
        brief="Folder of images. Captions are in text files, such as fox.txt for fox.png.",
        flags=("--folder",),
        positional=True,
        is_path=True,
        per_call=True,
    )
    caption_template: str | None = option(
        None,
        'Caption of images without a caption, such as "a painting by {folder}". Placeholders: {folder}, {stem}, '
        "{name}.",
        brief='Caption of images without one: "a photo of {folder}".',
        metavar="TEXT",
    )
    require_license: bool = option(
        False,
        "Skip images without a license in provenance.jsonl.",
        flags=("--require-license",),
        aliases=("--require-licence",),
        unlisted_aliases=("--require-licence",),
    )
    licenses: str | None = option(
        None,
        "Skip images whose license is not in this list of SPDX names, such as CC0-1.0,MIT.",
        aliases=("--licences",),
        unlisted_aliases=("--licences",),
        metavar="NAMES",
    )
    resolution: int | None = option(
        None,
        "Side of a square training image in pixels. Other shapes have at most the same area; --mode scratch crops "
        "them. [the model's size; scratch: 32]",
        flags=("--size", "--resolution"),
        minimum=16,
        maximum=4096,
    )
    min_side: int | None = option(
        None,
        "Skip images whose shorter side is below this number of pixels. [half the resolution]",
        minimum=1,
        maximum=4096,
    )
    crop: str = option("center", "Position of the crop if the image has another shape.", choices=("center", "random"))
    flip: bool = option(False, "Mirror each image with probability 0.5.", flags=("--flip",))
    duplicates: str = option(
        "drop",
        "Images that occur several times: as the same file, resized, recompressed or mirrored. keep: use all. drop: "
        "use only the largest. refuse: do not train.",
        choices=("keep", "drop", "refuse"),
    )
    on_bad_image: str = option(
        "skip",
        "Images that are damaged, too small or without an accepted license. skip: skip the image and print a note. "
        "refuse: do not train.",
        aliases=("--unusable",),
        unlisted_aliases=("--unusable",),
        choices=("skip", "refuse"),
    )


TRAINING_MODES = ("lora", "full", "vae", "scratch")
TRAINING_TARGETS = ("attention", "linear", "all", "decoder")
LR_SCHEDULES = ("constant", "cosine", "step")
LORA_FORMATS = ("diffusers", "kohya")


@dataclass(frozen=True, kw_only=True)
class LoraTrainingSettings:
    """Store the trained parameters and the changes of the captions."""

    mode: str = option(
        "lora",
        "What is trained. lora: a LoRA of the denoiser. full: all weights of the denoiser. vae: the autoencoder. "
        "scratch: a new pixel-space model from random weights (DDPM), for `artgen sample`, `denoise` and "
        "`anomaly`. full, vae and scratch write a model folder.",
        aliases=("--task", "--train-task", "--full=full"),
        unlisted_aliases=("--task", "--train-task", "--full=full"),
        choices=TRAINING_MODES,
        value_aliases={"diffusion": "lora", "autoencoder": "vae"},
    )
    rank: int = option(
        16, "LoRA rank. A higher rank has more capacity and gives a larger file.", minimum=1, maximum=1024
    )
    alpha: float | None = option(
        None,
        "LoRA alpha. The LoRA is scaled by alpha/rank. [the rank]",
        minimum=0.001,
        maximum=10_000,
        per_call=True,
    )
    target: str | None = option(
        None,
        "Layers to train. LoRA: attention; linear: all linear layers; all: also convolutions. vae: decoder (the "
        "latents do not change) or all. [attention; vae: decoder]",
        choices=TRAINING_TARGETS,
    )
    train_text_encoder: bool = option(False, "Also train a LoRA of the text encoders.", flags=("--text-encoder",))
    trigger: str | None = option(
        None,
        "Trigger word of the LoRA, which is inserted before each caption that does not contain it.",
        brief="Word in the prompts that triggers the LoRA.",
    )
    caption_dropout: float = option(
        0.1, "Caption dropout probability (needed for classifier-free guidance).", minimum=0, maximum=1
    )
    channels: int | None = option(
        None,
        "Channels of the first level of the UNet of --mode scratch, a multiple of 32. Deeper levels have up to 4 times "
        "as many. [64]",
        minimum=32,
        maximum=512,
    )


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Store the settings of AdamW and of the batches."""

    train_steps: int | None = option(
        None,
        "Number of optimizer steps. [500; scratch: 10,000]",
        aliases=("--max-train-steps",),
        minimum=1,
        maximum=10_000_000,
    )
    learning_rate: float | None = option(
        None,
        "Learning rate of AdamW. [lora: 0.0003; full: 0.00001; vae: 0.0001; scratch: 0.0002]",
        brief="Learning rate of AdamW. [depends on --mode; lora: 0.0003]",
        aliases=("--lr",),
        minimum=0,
        maximum=1,
    )
    lr_scheduler: str = option(
        "cosine",
        "Learning rate after the warm-up. constant: no decay. cosine: half a cosine down to 0. step: factor 0.1 after "
        "50% of the steps, 0.01 after 75%.",
        choices=LR_SCHEDULES,
    )
    lr_warmup_steps: int | None = option(
        None, "Linear warm-up of the learning rate, in steps. [5% of the steps]", minimum=0, maximum=1_000_000
    )
    train_batch_size: int | None = option(
        None,
        "Images per batch of each process. [4; scratch: 32 up to 64 pixels, fewer for larger images]",
        brief="Images per batch. [4; scratch: up to 32]",
        flags=("--batch-size",),
        aliases=("--train-batch-size",),
        minimum=1,
        maximum=4096,
    )
    gradient_accumulation_steps: int = option(1, "Batches per optimizer step. [1]", minimum=1, maximum=4096)
    max_grad_norm: float = option(1.0, "Gradient norm clipping; 0 disables it. [1]", minimum=0, maximum=1_000_000)
    weight_decay: float = option(0.01, "AdamW weight decay.", minimum=0, maximum=1)
    ema_decay: float | None = option(
        None,
        "Decay of the exponential moving average of the weights, such as 0.999; 0 disables it. [0; scratch: 0.9999]",
        minimum=0,
        maximum=0.99999,
    )
    gradient_checkpointing: bool = option(
        False,
        "Recompute activations in the backward pass: much less memory, about a third slower.",
        flags=("--gradient-checkpointing",),
    )


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Store the terms of the loss."""

    perceptual_weight: float | None = option(
        None,
        "Weight of the perceptual loss, which is added to the mean squared error; 0 disables it. [0; 0.1 with --mode "
        "vae or --vgg]",
        minimum=0,
        maximum=1000,
    )
    vgg: Path | None = option(
        None,
        "VGG16 weights for the perceptual loss: .safetensors with torchvision's names. [the model's VAE decoder; with "
        "--mode vae the bundled `denoiser`]",
        is_path=True,
    )
    snr_gamma: float | None = option(
        None,
        "Min-SNR loss weighting; 0 disables it. [5 if the model predicts epsilon, else 0; scratch: 0]",
        minimum=0,
        maximum=1000,
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """Store the intervals of checkpoints and sample images."""

    checkpoint_every: int = option(100, "Steps between checkpoints.", minimum=1, maximum=1_000_000)
    keep_checkpoints: int = option(
        2,
        "Number of newest checkpoints to keep.",
        aliases=("--keep",),
        unlisted_aliases=("--keep",),
        minimum=1,
        maximum=10_000,
    )
    resume: bool = option(False, "Continue from the newest checkpoint.", flags=("--resume",), per_call=True)
    snapshot_every: int = option(100, "Steps between sample images; 0 disables them.", minimum=0, maximum=1_000_000)
    snapshot_prompts: tuple[str, ...] = option(
        (), "Prompt of a sample image. Can be repeated. [the first four captions]", flags=("--snapshot-prompt",)
    )
    lora_format: str = option(
        "diffusers", "Names of the tensors in the LoRA file.", flags=("--format",), choices=LORA_FORMATS
    )
