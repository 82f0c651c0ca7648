"""What to learn from, and how."""

from dataclasses import dataclass
from pathlib import Path

from artgen.spec.fields import option


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """The pictures to learn from."""

    folder: Path | None = option(
        None,
        "A folder of pictures; its sub-folders are classes. Captions: `fox.txt` beside fox.png, else `metadata.jsonl` "
        "(file_name, text), else `provenance.jsonl` (file_name, source, author, licence, consent, text), else "
        "--caption-template, else the names of folder and file.",
        flags=("--folder",),
        positional=True,
    )
    caption_template: str | None = option(
        None,
        "The caption of a picture that has none of its own, with {folder}, {stem} and {name} for its names: "
        '"a painting by {folder}".',
        metavar="TEXT",
    )
    require_license: bool = option(
        False,
        "Leave out pictures of which provenance.jsonl names no licence.",
        flags=("--require-license",),
        aliases=("--require-licence",),
    )
    licenses: str | None = option(
        None,
        "Leave out pictures under any other licence than these SPDX names: CC0-1.0,MIT.",
        aliases=("--licences",),
        metavar="NAMES",
    )
    resolution: int | None = option(
        None,
        "Pixels a side of a square; other shapes get at most its area. [the model's own]",
        minimum=16,
        maximum=4096,
    )
    min_side: int | None = option(
        None,
        "Leave out pictures with a shorter side than this, in pixels. [half the resolution]",
        minimum=1,
        maximum=4096,
    )
    crop: str = option("center", "Which part of a picture is kept where shapes differ.", choices=("center", "random"))
    flip: bool = option(False, "Mirror pictures at random, half of the time.", flags=("--flip",))
    duplicates: str = option(
        "drop",
        "Pictures that are there twice, as the same file, resized, compressed again or mirrored: keep all of them, "
        "drop all but the largest, or refuse to train.",
        choices=("keep", "drop", "refuse"),
    )
    on_bad_image: str = option(
        "skip",
        "Pictures that are damaged, too small or without the licence asked for: leave them out and say so, or refuse "
        "to train.",
        aliases=("--unusable",),
        choices=("skip", "refuse"),
    )


TRAINING_MODES = ("lora", "full", "vae")
TRAINING_TARGETS = ("attention", "linear", "all", "decoder")
LR_SCHEDULES = ("constant", "cosine", "step")
LORA_FORMATS = ("diffusers", "kohya")


@dataclass(frozen=True, kw_only=True)
class LoraTrainingSettings:
    """What is learnt."""

    mode: str = option(
        "lora",
        "lora: train a LoRA of the denoiser. full: train the whole denoiser. vae: train the autoencoder. "
        "full and vae write a model folder.",
        aliases=("--task", "--train-task", "--full=full"),
        choices=TRAINING_MODES,
        value_aliases={"diffusion": "lora", "autoencoder": "vae"},
    )
    rank: int = option(16, "Rank of the LoRA: how much it can hold, and how large it is.", minimum=1, maximum=1024)
    alpha: float | None = option(
        None, "Scale of the LoRA, as a multiple of 1/rank. [the rank]", minimum=0.001, maximum=10_000
    )
    target: str | None = option(
        None,
        "Layers that learn. LoRA: attention, linear (all linear ones) or all (convolutions too). autoencoder: decoder "
        "(latents stay as they are), or all. [attention; decoder]",
        choices=TRAINING_TARGETS,
    )
    train_text_encoder: bool = option(False, "Train a LoRA of the text encoders too.", flags=("--text-encoder",))
    trigger: str | None = option(None, "A word that calls the result: put before every caption that lacks it.")
    caption_dropout: float = option(
        0.1, "Share of the captions left empty, for guidance to have something to lead away from.", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How it learns."""

    train_steps: int = option(
        500, "Steps of the optimiser.", aliases=("--max-train-steps",), minimum=1, maximum=10_000_000
    )
    learning_rate: float | None = option(
        None, "Of AdamW. [lora: 0.0003, full: 0.00001, vae: 0.0001]", aliases=("--lr",), minimum=0, maximum=1
    )
    lr_scheduler: str = option(
        "cosine",
        "How the learning rate falls after the warm-up; step: to a tenth at half, to a hundredth at three quarters.",
        choices=LR_SCHEDULES,
    )
    lr_warmup_steps: int | None = option(
        None, "Steps in which the learning rate rises. [a twentieth of the steps]", minimum=0, maximum=1_000_000
    )
    train_batch_size: int = option(
        4, "Pictures in a batch, of each process.", flags=("--batch-size",), aliases=("--train-batch-size",),
        minimum=1, maximum=4096,
    )  # fmt: skip
    gradient_accumulation_steps: int = option(1, "Batches in a step.", minimum=1, maximum=4096)
    max_grad_norm: float = option(1.0, "Longest gradient; longer ones are cut. 0 cuts none.", minimum=0, maximum=1e6)
    weight_decay: float = option(0.01, "Of AdamW.", minimum=0, maximum=1)
    ema_decay: float = option(
        0.0,
        "Keep the weights' moving average with this decay, such as 0.999; 0 keeps none.",
        minimum=0,
        maximum=0.99999,
    )
    gradient_checkpointing: bool = option(
        False, "Much less memory, a third slower.", flags=("--gradient-checkpointing",)
    )


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What counts as wrong."""

    perceptual_weight: float | None = option(
        None,
        "Weight of the perceptual term beside the mean squared error; 0 leaves it out. [0; autoencoder: 0.1]",
        minimum=0,
        maximum=1000,
    )
    vgg: Path | None = option(
        None,
        "Weights of VGG16 (.safetensors, torchvision's names) for the perceptual term, instead of the model's own "
        "decoder or, for the autoencoder, the bundled denoiser of pixels.",
    )
    snr_gamma: float | None = option(
        None, "Min-SNR weighting; 0 weighs all noise alike. [5 where the model predicts noise, else 0]",
        minimum=0, maximum=1000,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """What is kept on the way."""

    checkpoint_every: int = option(100, "Steps between checkpoints.", minimum=1, maximum=1_000_000)
    keep_checkpoints: int = option(
        2, "How many checkpoints are kept, the newest.", aliases=("--keep",), minimum=1, maximum=10_000
    )
    resume: bool = option(False, "Go on from the newest checkpoint.", flags=("--resume",))
    snapshot_every: int = option(100, "Steps between pictures of the snapshot prompts; 0 draws none.", minimum=0,
        maximum=1_000_000)  # fmt: skip
    snapshot_prompts: tuple[str, ...] = option(
        (), "What snapshots draw; may be repeated. [the first four captions]", flags=("--snapshot-prompt",)
    )
    lora_format: str = option("diffusers", "Names of the tensors of a LoRA.", flags=("--format",), choices=LORA_FORMATS)
