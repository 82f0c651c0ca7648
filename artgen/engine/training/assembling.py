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
from artgen.engine import accelerating, components, loading
from artgen.engine.device import Placement, place
from artgen.engine.training import lora, noising, order, perceptual
from artgen.engine.training.averages import Average
from artgen.engine.training.checkpoints import Learner
from artgen.engine.training.loop import Assemble, Loop
from artgen.engine.training.objectives import AutoencoderLoss, DenoiserLoss, Objective
from artgen.engine.training.stock import Stock
from artgen.events import Listener
from artgen.registry import hashes
from artgen.training.plans import Plan

PRECISIONS = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class Assembly:
    """Everything that a training needs.

    Attributes:
        plan: what was asked for.
        accelerator: device, precision and processes.
        pipe: the whole pipeline; `parts` of it learn.
        parts: modules with a LoRA, by name; without one, the part that learns.
        objective: the loss, before accelerate wraps it.
        stock: the pictures.
    """

    plan: Plan
    accelerator: Accelerator
    pipe: Any
    parts: dict[str, Any]
    objective: Objective
    stock: Stock


def start(plan: Plan) -> Accelerator:
    """Finds device, precision and the other processes, if `accelerate launch` or `torchrun` started some.

    Raises:
        UsageError: the device asked for is not there.
    """
    wanted = plan.settings.place
    if wanted.device != "auto":
        place(wanted.device, "fp32")
    if "WORLD_SIZE" not in os.environ:
        AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier training in this process
    precision = PRECISIONS.get(wanted.dtype)
    if precision is None and "ACCELERATE_MIXED_PRECISION" not in os.environ:
        cuda = wanted.device != "cpu" and torch.cuda.is_available()
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if cuda else "no"
    # The last layer of an encoder whose words are taken from the one before learns nothing.
    unused = DistributedDataParallelKwargs(find_unused_parameters=plan.settings.learning.train_text_encoder)
    with _device_named(wanted.device):
        return Accelerator(cpu=wanted.device == "cpu", mixed_precision=precision, kwargs_handlers=[unused])


@contextlib.contextmanager
def _device_named(device: str) -> Iterator[None]:
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


def assemble(plan: Plan, accelerator: Accelerator, listener: Listener) -> Assembly:
    """Loads the model and makes ready what learns.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
    """
    kind = plan.settings.kind
    half = {"fp16": "fp16", "bf16": "bf16"}.get(accelerator.mixed_precision, "fp32")
    # What learns is kept in float32; what stays may be as short as what it is computed in.
    dtype = half if kind == "lora" and accelerator.device.type != "cpu" else "fp32"
    placement = Placement(str(accelerator.device), dtype)
    pipe = accelerating.load_plain(plan.model, placement, listener)
    with loading.quiet():
        pipe.vae.to(torch.float32)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            part.eval()
    torch.manual_seed(plan.settings.seed)
    build = _autoencoder if kind == "autoencoder" else _denoiser
    parts, objective, key, keep = build(plan, pipe)
    objective.to(accelerator.device)
    for part in parts.values():
        part.train()
    return Assembly(plan, accelerator, pipe, parts, objective, Stock(plan, key, keep))


Built = tuple[dict[str, Any], Objective, str, Callable[[Tensor], Tensor]]


def _denoiser(plan: Plan, pipe: Any) -> Built:
    settings = plan.settings
    if settings.kind == "lora":
        parts: dict[str, Any] = dict(lora.attach(pipe, settings.learning))
    else:
        pipe.unet.requires_grad_(True)
        parts = {"unet": pipe.unet}
    if settings.optimisation.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
        for name in parts.keys() - {"unet"}:
            parts[name].gradient_checkpointing_enable()
    weight = settings.loss.perceptual_weight or 0.0
    distance: Any = None
    if weight:
        distance = (
            perceptual.DecodedFeatures(pipe.vae, perceptual.Vgg16(settings.loss.vgg))
            if settings.loss.vgg
            else perceptual.DecoderFeatures(pipe.vae)
        )
        distance.requires_grad_(False)
    noise = noising.read(pipe.scheduler, plan.model.name).on(pipe.unet.device)
    objective = DenoiserLoss(pipe, noise, settings.loss.snr_gamma or 0.0, distance, weight)

    @torch.no_grad()
    def keep(pixels: Tensor) -> Tensor:
        kept: Tensor = pipe.vae.encode(pixels.to(pipe.vae.device)).latent_dist.parameters[0]
        return kept

    return parts, objective, f"latents {plan.model.model_hash()} {_vae_hash(plan)}", keep


def _autoencoder(plan: Plan, pipe: Any) -> Built:
    settings, vae = plan.settings, pipe.vae
    learning = [vae] if settings.learning.target == "all" else [vae.decoder, vae.post_quant_conv]
    for module in learning:
        if module is not None:
            module.requires_grad_(True)
    if settings.optimisation.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    weight = settings.loss.perceptual_weight or 0.0
    distance: Any = None
    if weight:
        distance = perceptual.Vgg16(settings.loss.vgg) if settings.loss.vgg else _bundled_features()
        distance.requires_grad_(False)
    return {"vae": vae}, AutoencoderLoss(vae, distance, weight), "pixels", _eight_bits


def _eight_bits(pixels: Tensor) -> Tensor:
    return ((pixels[0] + 1) * 127.5).round().to(torch.uint8)


def _bundled_features() -> perceptual.DenoiserFeatures:
    from diffusers import UNet2DModel

    model = registry.resolve("denoiser", offline=True)
    unet = components.read_component(UNet2DModel, model, "unet", Placement("cpu", "fp32"))
    return perceptual.DenoiserFeatures(unet.eval())


def _vae_hash(plan: Plan) -> str:
    """Of the autoencoder's own weights, where it lies in a folder; a single file's hash covers it."""
    folder = plan.model.path / "vae"
    files = [] if plan.model.is_file else sorted(Path(folder).glob("*.safetensors"))
    return hashes.model_hash(files)


def loop(assembly: Assembly) -> Loop:
    """The loop over an assembly, with its optimiser."""
    settings, accelerator = assembly.plan.settings, assembly.accelerator
    parameters = assembly.objective.trained()
    chosen = settings.optimisation
    optimiser = torch.optim.AdamW(
        list(parameters.values()), lr=chosen.learning_rate or 0.0, weight_decay=chosen.weight_decay
    )
    average = Average(parameters, chosen.ema_decay) if chosen.ema_decay else None
    objective, prepared = accelerator.prepare(assembly.objective, optimiser)
    learner = Learner(parameters, prepared, average, accelerator.scaler)
    batch = _pictures(assembly) if settings.kind == "autoencoder" else _latents(assembly)
    return Loop(accelerator, objective, learner, chosen, settings.seed, assembly.stock.sizes, batch)


def _latents(assembly: Assembly) -> Assemble:
    plan, device = assembly.plan, assembly.accelerator.device
    captions, examples = plan.captions, plan.pictures.examples
    dropout = plan.settings.learning.caption_dropout
    vae, noise_of = assembly.pipe.vae, noising.read(assembly.pipe.scheduler, plan.model.name)
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    sized = plan.model.architecture == "sdxl"

    def assemble(pick: order.Pick, generator: torch.Generator) -> dict[str, Any]:
        mean, spread = assembly.stock.tensors(pick, generator).float().chunk(2, dim=1)
        deviation = (0.5 * spread.clamp(-30, 20)).exp()
        clean = (mean + deviation * torch.randn(mean.shape, generator=generator) - shift) * scale
        noise = torch.randn(clean.shape, generator=generator)
        times = noise_of.draw(len(clean), generator)
        silent = torch.rand(len(clean), generator=generator) < dropout
        said = ["" if empty else captions[each] for each, empty in zip(pick.members, silent.tolist(), strict=True)]
        ids = None
        if sized:
            width, height = pick.size
            # Pictures drawn later say that nothing is cut off, and are to look like these.
            rows = [(examples[each].height, examples[each].width, 0, 0, height, width) for each in pick.members]
            ids = torch.tensor(rows, dtype=torch.float32, device=device)
        return {
            "clean": clean.to(device), "noise": noise.to(device), "times": times.to(device),
            "captions": said, "time_ids": ids,
        }  # fmt: skip

    return assemble


def _pictures(assembly: Assembly) -> Assemble:
    device, vae = assembly.accelerator.device, assembly.pipe.vae
    factor, channels = 2 ** (len(vae.config.block_out_channels) - 1), vae.config.latent_channels

    def assemble(pick: order.Pick, generator: torch.Generator) -> dict[str, Any]:
        pictures = assembly.stock.tensors(pick, generator).float() / 127.5 - 1
        height, width = pictures.shape[-2:]
        shape = (len(pictures), channels, height // factor, width // factor)
        noise = torch.randn(shape, generator=generator)
        return {"pictures": pictures.to(device), "noise": noise.to(device)}

    return assemble
