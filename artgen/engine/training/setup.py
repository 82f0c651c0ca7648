"""From a plan to a loop that can be stepped: what is loaded, what learns, and how batches come about."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from artgen import registry
from artgen.engine.acceleration import apply
from artgen.engine.diffusion import noise_schedule
from artgen.engine.loading import components, pipeline_cache
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.training import batch_order, lora, perceptual
from artgen.engine.training.checkpoints import TrainState
from artgen.engine.training.ema import EMA
from artgen.engine.training.latent_cache import LatentCache
from artgen.engine.training.loop import BuildBatch, TrainingLoop
from artgen.engine.training.losses import AutoencoderLoss, DenoiserLoss, Objective
from artgen.events import Listener
from artgen.jobs.training_plan import TrainingPlan
from artgen.registry import hashes

MIXED_PRECISION_BY_DTYPE = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training needs.

    Attributes:
        plan: what was asked for.
        accelerator: device, precision and processes.
        pipe: the whole pipeline; `trained_modules` of it learn.
        trained_modules: modules with a LoRA, by name; without one, the part that learns.
        objective: the loss, before accelerate wraps it.
        latent_cache: the pictures.
    """

    plan: TrainingPlan
    accelerator: Accelerator
    pipe: Any
    trained_modules: dict[str, Any]
    objective: Objective
    latent_cache: LatentCache


def create_accelerator(plan: TrainingPlan) -> Accelerator:
    """Finds device, precision and the other processes, if `accelerate launch` or `torchrun` started some.

    Raises:
        UsageError: the device asked for is not there.
    """
    wanted = plan.settings.device
    if wanted.device != "auto":
        resolve_device(wanted.device, "fp32")
    if "WORLD_SIZE" not in os.environ:
        AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier training in this process
    precision = MIXED_PRECISION_BY_DTYPE.get(wanted.dtype)
    if precision is None and "ACCELERATE_MIXED_PRECISION" not in os.environ:
        cuda = wanted.device != "cpu" and torch.cuda.is_available()
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if cuda else "no"
    # The last layer of an encoder whose words are taken from the one before learns nothing.
    unused = DistributedDataParallelKwargs(find_unused_parameters=plan.settings.training.train_text_encoder)
    with _select_accelerate_device(wanted.device):
        return Accelerator(cpu=wanted.device == "cpu", mixed_precision=precision, kwargs_handlers=[unused])


@contextlib.contextmanager
def _select_accelerate_device(device: str) -> Iterator[None]:
    """Tells accelerate which of several GPUs is meant, for which it has an environment variable alone."""
    name = "ACCELERATE_TORCH_DEVICE"
    if not device.startswith("cuda:") or name in os.environ:
        yield
        return
    os.environ[name] = device
    try:
        yield
    finally:
        del os.environ[name]


def build_setup(plan: TrainingPlan, accelerator: Accelerator, listener: Listener) -> TrainingSetup:
    """Loads the model and makes ready what learns.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    kind = plan.settings.mode
    half = {"fp16": "fp16", "bf16": "bf16"}.get(accelerator.mixed_precision, "fp32")
    # What learns is kept in float32; what stays may be as short as what it is computed in.
    dtype = half if kind == "lora" and accelerator.device.type != "cpu" else "fp32"
    device_config = DeviceConfig(str(accelerator.device), dtype)
    pipe = apply.load_unoptimized(plan.model, device_config, listener)
    with pipeline_cache.silence_libraries():
        pipe.vae.to(torch.float32)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            part.eval()
    torch.manual_seed(plan.settings.seed)
    build = _build_autoencoder_loss if kind == "vae" else _build_denoiser_loss
    parts, objective, key, keep = build(plan, pipe)
    objective.to(accelerator.device)
    for part in parts.values():
        part.train()
    return TrainingSetup(plan, accelerator, pipe, parts, objective, LatentCache(plan, key, keep))


SetupParts = tuple[dict[str, Any], Objective, str, Callable[[Tensor], Tensor]]


def _build_denoiser_loss(plan: TrainingPlan, pipe: Any) -> SetupParts:
    settings = plan.settings
    if settings.mode == "lora":
        parts: dict[str, Any] = dict(lora.add_lora(pipe, settings.training))
    else:
        pipe.unet.requires_grad_(True)
        parts = {"unet": pipe.unet}
    if settings.optimizer.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
        for name in parts.keys() - {"unet"}:
            parts[name].gradient_checkpointing_enable()
    weight = settings.loss.perceptual_weight or 0.0
    distance: Any = None
    if weight:
        distance = (
            perceptual.DecodedImageDistance(pipe.vae, perceptual.Vgg16Distance(settings.loss.vgg))
            if settings.loss.vgg
            else perceptual.DecoderFeatureDistance(pipe.vae)
        )
        distance.requires_grad_(False)
    noise = noise_schedule.read_noise_schedule(pipe.scheduler, plan.model.name).to(pipe.unet.device)
    objective = DenoiserLoss(pipe, noise, settings.loss.snr_gamma or 0.0, distance, weight)

    @torch.no_grad()
    def keep(pixels: Tensor) -> Tensor:
        kept: Tensor = pipe.vae.encode(pixels.to(pipe.vae.device)).latent_dist.parameters[0]
        return kept

    return parts, objective, f"latents {plan.model.model_hash()} {_vae_hash(plan)}", keep


def _build_autoencoder_loss(plan: TrainingPlan, pipe: Any) -> SetupParts:
    settings, vae = plan.settings, pipe.vae
    learning = [vae] if settings.training.target == "all" else [vae.decoder, vae.post_quant_conv]
    for module in learning:
        if module is not None:
            module.requires_grad_(True)
    if settings.optimizer.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    weight = settings.loss.perceptual_weight or 0.0
    distance: Any = None
    if weight:
        distance = perceptual.Vgg16Distance(settings.loss.vgg) if settings.loss.vgg else _bundled_denoiser_features()
        distance.requires_grad_(False)
    return {"vae": vae}, AutoencoderLoss(vae, distance, weight), "pixels", _to_uint8


def _to_uint8(images: Tensor) -> Tensor:
    return ((images[0] + 1) * 127.5).round().to(torch.uint8)


def _bundled_denoiser_features() -> perceptual.DenoiserFeatureDistance:
    from diffusers import UNet2DModel

    model = registry.resolve_model("denoiser", offline=True)
    unet = components.load_component(UNet2DModel, model, "unet", DeviceConfig("cpu", "fp32"))
    return perceptual.DenoiserFeatureDistance(unet.eval())


def _vae_hash(plan: TrainingPlan) -> str:
    """Of the autoencoder's own weights, where it lies in a folder; a single file's hash covers it."""
    folder = plan.model.path / "vae"
    files = [] if plan.model.is_file else sorted(Path(folder).glob("*.safetensors"))
    return hashes.model_hash(files)


def build_loop(setup: TrainingSetup) -> TrainingLoop:
    """The loop over an assembly, with its optimiser."""
    settings, accelerator = setup.plan.settings, setup.accelerator
    parameters = setup.objective.trainable_parameters()
    chosen = settings.optimizer
    optimiser = torch.optim.AdamW(
        list(parameters.values()), lr=chosen.learning_rate or 0.0, weight_decay=chosen.weight_decay
    )
    average = EMA(parameters, chosen.ema_decay) if chosen.ema_decay else None
    objective, prepared = accelerator.prepare(setup.objective, optimiser)
    learner = TrainState(parameters, prepared, average, accelerator.scaler)
    batch = _image_batch_builder(setup) if settings.mode == "vae" else _latent_batch_builder(setup)
    return TrainingLoop(accelerator, objective, learner, chosen, settings.seed, setup.latent_cache.image_sizes, batch)


def _latent_batch_builder(setup: TrainingSetup) -> BuildBatch:
    plan, device = setup.plan, setup.accelerator.device
    captions, examples = plan.captions, plan.dataset.images
    dropout = plan.settings.training.caption_dropout
    vae, noise_of = setup.pipe.vae, noise_schedule.read_noise_schedule(setup.pipe.scheduler, plan.model.name)
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    sized = plan.model.architecture == "sdxl"

    def assemble(pick: batch_order.BatchSpec, generator: torch.Generator) -> dict[str, Any]:
        mean, spread = setup.latent_cache.load_batch(pick, generator).float().chunk(2, dim=1)
        deviation = (0.5 * spread.clamp(-30, 20)).exp()
        clean = (mean + deviation * torch.randn(mean.shape, generator=generator) - shift) * scale
        noise = torch.randn(clean.shape, generator=generator)
        times = noise_of.sample_timesteps(len(clean), generator)
        silent = torch.rand(len(clean), generator=generator) < dropout
        said = ["" if empty else captions[each] for each, empty in zip(pick.indices, silent.tolist(), strict=True)]
        ids = None
        if sized:
            width, height = pick.size
            # Pictures drawn later say that nothing is cut off, and are to look like these.
            rows = [(examples[each].height, examples[each].width, 0, 0, height, width) for each in pick.indices]
            ids = torch.tensor(rows, dtype=torch.float32, device=device)
        return {
            "clean": clean.to(device), "noise": noise.to(device), "times": times.to(device),
            "captions": said, "time_ids": ids,
        }  # fmt: skip

    return assemble


def _image_batch_builder(setup: TrainingSetup) -> BuildBatch:
    device, vae = setup.accelerator.device, setup.pipe.vae
    factor, channels = 2 ** (len(vae.config.block_out_channels) - 1), vae.config.latent_channels

    def assemble(pick: batch_order.BatchSpec, generator: torch.Generator) -> dict[str, Any]:
        pictures = setup.latent_cache.load_batch(pick, generator).float() / 127.5 - 1
        height, width = pictures.shape[-2:]
        shape = (len(pictures), channels, height // factor, width // factor)
        noise = torch.randn(shape, generator=generator)
        return {"pictures": pictures.to(device), "noise": noise.to(device)}

    return assemble
