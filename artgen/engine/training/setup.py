"""Build a training from its plan: load the model, select the trainable parameters, and create the training loop."""

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
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from artgen import registry
from artgen.engine.acceleration import apply
from artgen.engine.diffusion.training_schedule import read_noise_schedule
from artgen.engine.loading import components, pipeline_cache
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.sampling.vae import scale_latents
from artgen.engine.training import batch_order, lora, perceptual
from artgen.engine.training.checkpoints import TrainState
from artgen.engine.training.ema import EMA
from artgen.engine.training.latent_cache import LatentCache
from artgen.engine.training.loop import BuildBatch, TrainingLoop
from artgen.engine.training.losses import AutoencoderLoss, DenoiserLoss, Objective, PixelDenoiserLoss
from artgen.events import Listener
from artgen.jobs import scratch_model
from artgen.jobs.training_plan import TrainingPlan
from artgen.registry import hashes

MIXED_PRECISION_BY_DTYPE = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class TrainingSetup:
    """Store the loaded parts of a training.

    Attributes:
        plan: the validated request.
        accelerator: device, precision and processes.
        pipe: diffusers pipeline; it contains the `trained_modules`.
        trained_modules: modules that have trainable parameters, by component name.
        objective: the loss, without accelerate's wrapper.
        latent_cache: cached latents (denoiser) or pixels (autoencoder) of the images.
    """

    plan: TrainingPlan
    accelerator: Accelerator
    pipe: Any
    trained_modules: dict[str, Any]
    objective: Objective
    latent_cache: LatentCache


def create_accelerator(plan: TrainingPlan) -> Accelerator:
    """Select the device and the precision, and join the processes of `accelerate launch` or `torchrun`.

    Raises:
        UsageError: the requested device does not exist.
    """
    requested = plan.settings.device
    if requested.device != "auto":
        resolve_device(requested.device, "fp32")
    if "WORLD_SIZE" not in os.environ:
        AcceleratorState._reset_state(reset_partial_state=True)  # remove the state of an earlier training
    precision = MIXED_PRECISION_BY_DTYPE.get(requested.dtype)
    if precision is None and "ACCELERATE_MIXED_PRECISION" not in os.environ:
        cuda = requested.device != "cpu" and torch.cuda.is_available()
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if cuda else "no"
    # SDXL uses the second to last layer of a text encoder, so the last layer has no gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=plan.settings.training.train_text_encoder)
    with select_accelerate_device(requested.device):
        return Accelerator(cpu=requested.device == "cpu", mixed_precision=precision, kwargs_handlers=[unused])


@contextlib.contextmanager
def select_accelerate_device(device: str) -> Iterator[None]:
    """Set the environment variable with which accelerate selects one of several GPUs; accelerate has no argument."""
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
    """Load the model and select the trainable parameters.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    mode = plan.settings.mode
    torch.manual_seed(plan.settings.seed)
    if plan.base_model is None:
        return _build_scratch_setup(plan, accelerator)
    half = {"fp16": "fp16", "bf16": "bf16"}.get(accelerator.mixed_precision, "fp32")
    # Trainable parameters stay in float32; frozen weights can have the precision of the computation.
    dtype = half if mode == "lora" and accelerator.device.type != "cpu" else "fp32"
    device_config = DeviceConfig(str(accelerator.device), dtype)
    pipe = apply.load_unoptimized(plan.model, device_config, listener)
    with pipeline_cache.silence_libraries():
        pipe.vae.to(torch.float32)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            part.eval()
    torch.manual_seed(plan.settings.seed)
    build = _build_autoencoder_loss if mode == "vae" else _build_denoiser_loss
    trained_modules, objective, encoder_key, encode = build(plan, pipe)
    objective.to(accelerator.device)
    for module in trained_modules.values():
        module.train()
    cache = LatentCache(plan, encoder_key, encode)
    return TrainingSetup(plan, accelerator, pipe, trained_modules, objective, cache)


def _build_scratch_setup(plan: TrainingPlan, accelerator: Accelerator) -> TrainingSetup:
    """Create a pixel-space model with random weights; torch's global generator is seeded."""
    unet = UNet2DModel(**plan.unet_config)
    if plan.settings.optimizer.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    pipe = DDPMPipeline(unet, DDPMScheduler(**scratch_model.scheduler_config()))
    schedule = read_noise_schedule(pipe.scheduler, plan.model_name).to(accelerator.device)
    objective = PixelDenoiserLoss(unet, schedule, plan.settings.loss.snr_gamma or 0.0)
    objective.to(accelerator.device)
    unet.train()
    return TrainingSetup(plan, accelerator, pipe, {"unet": unet}, objective, LatentCache(plan, "pixels", _to_uint8))


SetupParts = tuple[dict[str, Any], Objective, str, Callable[[Tensor], Tensor]]
"""Trained modules, loss, key of the latent cache, and the encoder of the latent cache."""


def _build_denoiser_loss(plan: TrainingPlan, pipe: Any) -> SetupParts:
    settings = plan.settings
    if settings.mode == "lora":
        modules: dict[str, Any] = dict(lora.add_lora(pipe, settings.training))
    else:
        pipe.unet.requires_grad_(True)
        modules = {"unet": pipe.unet}
    if settings.optimizer.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
        for name in modules.keys() - {"unet"}:
            modules[name].gradient_checkpointing_enable()
    weight = settings.loss.perceptual_weight or 0.0
    distance: Any = None
    if weight:
        distance = (
            perceptual.DecodedImageDistance(pipe.vae, perceptual.Vgg16Distance(settings.loss.vgg))
            if settings.loss.vgg
            else perceptual.DecoderFeatureDistance(pipe.vae)
        )
        distance.requires_grad_(False)
    schedule = read_noise_schedule(pipe.scheduler, plan.model.name).to(pipe.unet.device)
    objective = DenoiserLoss(pipe, schedule, settings.loss.snr_gamma or 0.0, distance, weight)

    @torch.no_grad()
    def encode(pixels: Tensor) -> Tensor:
        moments: Tensor = pipe.vae.encode(pixels.to(pipe.vae.device)).latent_dist.parameters[0]
        return moments

    return modules, objective, f"latents {plan.model.model_hash()} {_vae_hash(plan)}", encode


def _build_autoencoder_loss(plan: TrainingPlan, pipe: Any) -> SetupParts:
    settings, vae = plan.settings, pipe.vae
    trained = [vae] if settings.training.target == "all" else [vae.decoder, vae.post_quant_conv]
    for module in trained:
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
    model = registry.resolve_model("denoiser", offline=True)
    unet = components.load_component(UNet2DModel, model, "unet", DeviceConfig("cpu", "fp32"))
    return perceptual.DenoiserFeatureDistance(unet.eval())


def _vae_hash(plan: TrainingPlan) -> str:
    """Return the hash of the VAE files in a model folder. The model hash of a single file includes the VAE."""
    folder = plan.model.path / "vae"
    files = [] if plan.model.is_file else sorted(Path(folder).glob("*.safetensors"))
    return hashes.model_hash(files)


def build_loop(setup: TrainingSetup) -> TrainingLoop:
    """Create the optimizer and the training loop."""
    settings, accelerator = setup.plan.settings, setup.accelerator
    parameters = setup.objective.trainable_parameters()
    optimizer = torch.optim.AdamW(
        list(parameters.values()),
        lr=settings.optimizer.learning_rate or 0.0,
        weight_decay=settings.optimizer.weight_decay,
    )
    decay = settings.optimizer.ema_decay
    objective, prepared = accelerator.prepare(setup.objective, optimizer)
    state = TrainState(parameters, prepared, EMA(parameters, decay) if decay else None, accelerator.scaler)
    builders = {"vae": _image_batch_builder, "scratch": _pixel_batch_builder}
    build_batch = builders.get(settings.mode, _latent_batch_builder)(setup)
    return TrainingLoop(
        accelerator, objective, state, settings.optimizer, settings.seed, setup.latent_cache.image_sizes, build_batch
    )


def _latent_batch_builder(setup: TrainingSetup) -> BuildBatch:
    plan, device = setup.plan, setup.accelerator.device
    captions, images = plan.captions, plan.dataset.images
    dropout = plan.settings.training.caption_dropout
    vae_config = setup.pipe.vae.config
    schedule = read_noise_schedule(setup.pipe.scheduler, plan.model.name)
    needs_time_ids = plan.model.architecture == "sdxl"

    def build_batch(spec: batch_order.BatchSpec, generator: torch.Generator) -> dict[str, Any]:
        mean, log_variance = setup.latent_cache.load_batch(spec, generator).float().chunk(2, dim=1)
        std = (0.5 * log_variance.clamp(-30, 20)).exp()
        latents = scale_latents(mean + std * torch.randn(mean.shape, generator=generator), vae_config)
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = schedule.sample_timesteps(len(latents), generator)
        dropped = torch.rand(len(latents), generator=generator) < dropout
        batch_captions = [
            "" if drop else captions[index] for index, drop in zip(spec.indices, dropped.tolist(), strict=True)
        ]
        time_ids = None
        if needs_time_ids:
            width, height = spec.size
            # The crop is always (0, 0): diffusers' pipelines generate with this value.
            ids = [(images[index].height, images[index].width, 0, 0, height, width) for index in spec.indices]
            time_ids = torch.tensor(ids, dtype=torch.float32, device=device)
        return {
            "latents": latents.to(device), "noise": noise.to(device), "timesteps": timesteps.to(device),
            "captions": batch_captions, "time_ids": time_ids,
        }  # fmt: skip

    return build_batch


def _image_batch_builder(setup: TrainingSetup) -> BuildBatch:
    device, vae = setup.accelerator.device, setup.pipe.vae
    factor, channels = 2 ** (len(vae.config.block_out_channels) - 1), vae.config.latent_channels

    def build_batch(spec: batch_order.BatchSpec, generator: torch.Generator) -> dict[str, Any]:
        images = setup.latent_cache.load_batch(spec, generator).float() / 127.5 - 1
        height, width = images.shape[-2:]
        shape = (len(images), channels, height // factor, width // factor)
        noise = torch.randn(shape, generator=generator)
        return {"images": images.to(device), "noise": noise.to(device)}

    return build_batch


def _pixel_batch_builder(setup: TrainingSetup) -> BuildBatch:
    device = setup.accelerator.device
    schedule = read_noise_schedule(setup.pipe.scheduler, setup.plan.model_name)

    def build_batch(spec: batch_order.BatchSpec, generator: torch.Generator) -> dict[str, Any]:
        images = setup.latent_cache.load_batch(spec, generator).float() / 127.5 - 1
        noise = torch.randn(images.shape, generator=generator)
        timesteps = schedule.sample_timesteps(len(images), generator)
        return {"images": images.to(device), "noise": noise.to(device), "timesteps": timesteps.to(device)}

    return build_batch
