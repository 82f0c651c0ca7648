"""Extend the autoencoder to 128 px without changing its latents.

An additional outer level turns the trained f8 autoencoder into an f16 autoencoder. The decoder keeps the inner blocks
and learns to render 128 px from the same latents. The encoder learns by distillation to reproduce the latents of the f8
encoder for the same image at half the side, so a UNet trained on these latents works with both.

The encoder is trained in each third step of the first `--encoder-steps` steps and is frozen afterwards. The decoder is
trained in all steps.

Writes `upscale.pt` (resumes bit-identically), `upscale.csv` (step, seconds, loss, PSNR in dB of images decoded from the
latents of the f8 encoder and of the new encoder, error of the latents), `upscale_<step>.png` and `vae128/`.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint import EMA, load, save
from diffusers import AutoencoderKL
from PIL import Image
from render import render_scenes, scene_from_json
from torch import Tensor
from torch.nn import functional
from train_autoencoder import as_batch, build, psnr, rate_at, reconstruction_loss


def add_outer_level(small: AutoencoderKL) -> AutoencoderKL:
    """Build an f16 autoencoder with the inner weights of the f8 one."""
    width = tuple(small.config.block_out_channels)
    large = build((width[0], *width))
    large.register_to_config(scaling_factor=small.config.scaling_factor)
    state = large.state_dict()
    for key, value in small.state_dict().items():
        target = key
        if key.startswith("encoder.down_blocks."):
            i, rest = key.removeprefix("encoder.down_blocks.").split(".", 1)
            target = f"encoder.down_blocks.{int(i) + 1}.{rest}"
        if state[target].shape == value.shape:
            state[target] = value
    large.load_state_dict(state)
    _initialize_resampling(large)
    return large


@torch.no_grad()
def _initialize_resampling(large: AutoencoderKL) -> None:
    """Initialize the new level as nearest doubling (decoder) and halving (encoder).

    Its convolutions copy each channel, and its residual branches end in zeros, so the training starts from the
    enlarged image of the f8 autoencoder.
    """
    identity = torch.eye(large.config.block_out_channels[0])
    up = large.decoder.up_blocks[-2].upsamplers[0].conv
    up.weight.zero_()
    up.weight[:, :, 1, 1] = identity
    down = large.encoder.down_blocks[0].downsamplers[0].conv
    down.weight.zero_()
    down.weight[:, :, :2, :2] = identity[:, :, None, None] / 4
    for module in (up, down):
        module.bias.zero_()
    for block in (large.decoder.up_blocks[-1], large.encoder.down_blocks[0]):
        for residual in block.resnets:
            residual.conv2.weight.zero_()
            residual.conv2.bias.zero_()


class RenderedScenes:
    """Store scenes at 128 px with the f8 latents of their 64 px versions."""

    def __init__(self, work: Path, small: AutoencoderKL, count: int) -> None:
        cache = work / "renders128.npz"
        if not cache.exists():
            scenes = [scene_from_json(s) for s in json.loads((work / "scenes.json").read_text())[:count]]
            images = render_scenes(scenes, work, 128)
            np.savez(cache, pictures=images, latents=_latents(small, images))
        stored = np.load(cache)
        self.images, self.latents = stored["pictures"], torch.from_numpy(stored["latents"])
        self.num_held_out = min(96, len(self.images) // 5)
        self.random = np.random.default_rng(0)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return images (count, 3, 128, 128) in [-1, 1] and latents (count, 16, 8, 8)."""
        rows = self.random.integers(self.num_held_out, len(self.images), count)
        return as_batch(self.images[rows]), self.latents[rows].float()


@torch.no_grad()
def _latents(small: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    parts = []
    for i in range(0, len(images), 100):
        half = functional.avg_pool2d(as_batch(images[i : i + 100]), 2)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(small.encode(half).latent_dist.mean.half())
    return torch.cat(parts).numpy()


@torch.no_grad()
def evaluate(model: AutoencoderKL, data: RenderedScenes, path: Path) -> dict[str, float]:
    """Return held-out measurements: PSNR from f8 latents, round-trip PSNR, latent error. Write a sheet."""
    images = as_batch(data.images[: data.num_held_out]).to(model.device)
    latents = data.latents[: data.num_held_out].to(model.device, torch.float32)
    with torch.autocast(model.device.type, torch.bfloat16):
        decoded_images = model.decode(latents).sample.float().clamp(-1, 1)
        mean = model.encode(images).latent_dist.mean.float()
        round_trip = model.decode(mean).sample.float().clamp(-1, 1)

    rows = [torch.cat(list(part[:8]), 2) for part in (images, decoded_images, round_trip)]
    image = ((torch.cat(rows, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(image).save(path)
    error = float(functional.mse_loss(mean, latents))
    return {"decoded": psnr(decoded_images, images), "round trip": psnr(round_trip, images), "latent error": error}


def loss_of(model: AutoencoderKL, images: Tensor, latents: Tensor, encoder: bool) -> Tensor:
    """Return the loss of decoding slightly noisy latents; with `encoder`, add the error of the latents."""
    noisy = latents + 0.08 * torch.randn_like(latents)
    loss = reconstruction_loss(model.decode(noisy).sample.float(), images)
    if encoder:
        mean = model.encode(images).latent_dist.mean
        loss = loss + 0.3 * functional.mse_loss(mean.float(), latents)
    return loss


@torch.no_grad()
def freeze_encoder(model: AutoencoderKL, average: EMA) -> None:
    """Replace the encoder by its average and freeze it."""
    with average.swap_in(model):
        final = [parameter.clone() for parameter in model.encoder.parameters()]
    for parameter, value in zip(model.encoder.parameters(), final, strict=True):
        parameter.copy_(value)
    model.encoder.requires_grad_(False)


def training_progress(options: argparse.Namespace, state: dict[str, Any]) -> float:
    """Return the progress of the training, 0 to 1, by steps or by time."""
    if options.minutes:
        return float(state["spent"] / (60 * options.minutes))
    return float(state["step"] / options.steps)


def report(work: Path, model: AutoencoderKL, data: RenderedScenes, state: dict[str, Any], loss: float) -> None:
    """Evaluate the averaged weights, write the model, and add a line to `upscale.csv`."""
    figures = evaluate(model, data, work / f"upscale_{state['step']:06d}.png")
    model.save_pretrained(work / "vae128")
    row = [state["step"], round(state["spent"]), loss, *figures.values()]
    with (work / "upscale.csv").open("a", newline="") as log:
        csv.writer(log).writerow(row)
    print(*row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument(
        "--minutes", type=float, help="total minutes of training, including earlier runs; instead of --steps"
    )
    parser.add_argument("--images", "--pictures", type=int, default=8_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument(
        "--encoder-steps", type=int, default=750, help="number of steps after which the encoder is frozen"
    )
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    small = AutoencoderKL.from_pretrained(options.work / "vae").eval()
    data = RenderedScenes(options.work, small, options.images)
    model = add_outer_level(small).to(options.device, memory_format=torch.channels_last)
    model.quant_conv.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, (0.9, 0.99), weight_decay=1e-4, fused=True)
    average = EMA(model, 0.997)
    path = options.work / "upscale.pt"
    state: dict[str, Any] = {"step": 0, "spent": 0.0}
    if path.exists():
        state = load(path, model, optimizer, average, data.random)
    trains_encoder = True
    while (progress := training_progress(options, state)) < 1:
        start_time, step = time.monotonic(), state["step"]
        if trains_encoder and step >= options.encoder_steps:
            freeze_encoder(model, average)
            trains_encoder = False
        images, latents = (part.to(options.device) for part in data.batch(options.batch))
        with torch.autocast(model.device.type, torch.bfloat16):
            loss = loss_of(model, images, latents, trains_encoder and step % 3 == 0)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, step, options.rate)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, step)
        state = {"step": step + 1, "spent": state["spent"] + time.monotonic() - start_time}
        if state["step"] % options.save_every == 0 or training_progress(options, state) >= 1:
            with average.swap_in(model):
                report(options.work, model, data, state, float(loss.detach()))
            save(path, model, optimizer, average, data.random, state)


if __name__ == "__main__":
    main()
