"""Train the autoencoder (Rombach et al. 2022, arXiv 2112.10752, section 3.1, without a discriminator).

Stage 1 trains on 32 px crops, stage 2 on complete 64 px images: a fully convolutional autoencoder learns most from
crops, which need a quarter of the time. The images are sprites over plain backgrounds, rendered before the training,
mirrored and with random channel permutations.

Writes `ae.pt` (resumes bit-identically), `ae.csv` (step, seconds, crops, loss, PSNR in dB) and `ae_<step>.png` (held-
out images above their reconstructions).
"""

import argparse
import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint import EMA, load, save
from diffusers import AutoencoderKL
from named_colors import BACKGROUNDS
from PIL import Image
from scenes import Scene, Sprites, Thing, render_scene
from torch import Tensor
from torch.nn import functional

WIDTH = (32, 64, 96, 128)
LATENT_NOISE = 0.05  # noise added to latents, relative to their standard deviation, for robust decoding


def build(width: tuple[int, ...] = WIDTH) -> AutoencoderKL:
    """Build an autoencoder with 16 latent channels and few channels at high resolutions.

    Each entry of `width` except the first halves the side: four entries give a factor of 8.
    """
    return AutoencoderKL(
        block_out_channels=width,
        down_block_types=("DownEncoderBlock2D",) * len(width),
        up_block_types=("UpDecoderBlock2D",) * len(width),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=8 * 2 ** (len(width) - 1),
    )


class SpriteImages:
    """Store every sprite over a plain background: all at 64 px, and a third of them also at 128 px."""

    def __init__(self, work: Path, seed: int) -> None:
        index = json.loads((work / "sprites.json").read_text())
        sprites = Sprites(np.load(work / "sprites.npy", mmap_mode="r"), index)
        self.random = np.random.default_rng(seed)
        names = list(BACKGROUNDS)
        small, large = [], []
        for style, name in index:
            background = names[max(0, int(self.random.integers(-4, len(names))))]
            scene = Scene("one", (Thing(name, style, 0.5, 0.5, 0.86),), background)
            small.append(render_scene(scene, sprites, 64))
            if self.random.random() < 0.35:
                large.append(render_scene(scene, sprites, 128))
        order = self.random.permutation(len(small))
        stack, num_held_out = np.stack(small), min(96, len(small) // 5)
        self.held_out, self.small, self.large = (
            stack[order[:num_held_out]],
            stack[order[num_held_out:]],
            np.stack(large),
        )

    def batch(self, count: int, side: int) -> Tensor:
        """Return random crops, float32 in [-1, 1] of shape (count, 3, side, side)."""
        crops = np.empty((count, side, side, 3), np.uint8)
        for i in range(count):
            is_small = self.random.random() < 0.75 if side == 32 else self.random.random() < 0.95
            source = self.small if is_small else self.large
            image = source[self.random.integers(len(source))]
            y, x = self.random.integers(0, len(image) - side + 1, 2)
            crop = image[y : y + side, x : x + side]
            if self.random.random() < 0.5:
                crop = crop[:, ::-1]
            if self.random.random() < 0.3:
                crop = crop[..., self.random.permutation(3)]
            crops[i] = crop
        return as_batch(crops)


def as_batch(images: np.ndarray) -> Tensor:
    """Convert uint8 (n, side, side, 3) to float32 in [-1, 1] of shape (n, 3, side, side)."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return (batch / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def reconstruction_loss(reconstructed: Tensor, images: Tensor) -> Tensor:
    """Return squared error plus absolute error plus absolute error of the differences between adjacent pixels."""
    edges = sum(functional.l1_loss(reconstructed.diff(dim=axis), images.diff(dim=axis)) for axis in (2, 3))
    square = functional.mse_loss(reconstructed, images)
    loss: Tensor = 2 * square + 0.5 * functional.l1_loss(reconstructed, images) + 0.25 * edges
    return loss


def loss_of(model: AutoencoderKL, images: Tensor) -> Tensor:
    """Return the loss of reconstructing images from noisy latent means, with a weak prior on the latents."""
    mean = model.encode(images).latent_dist.mean
    noise = LATENT_NOISE * mean.detach().std() * torch.randn_like(mean)
    reconstructed = model.decode(mean + noise).sample.float()
    loss: Tensor = reconstruction_loss(reconstructed, images) + 1e-5 * mean.float().square().mean()
    return loss


def psnr(reconstructed: Tensor, images: Tensor) -> float:
    """Return the mean peak signal-to-noise ratio over images, in dB, of values in [-1, 1]."""
    error = (reconstructed - images).square().flatten(1).mean(1)
    return float((10 * torch.log10(4 / error)).mean())


@torch.no_grad()
def write_reconstructions(model: AutoencoderKL, images: Tensor, path: Path) -> float:
    """Write 24 images above their reconstructions; return the mean PSNR in dB over all images."""
    reconstructed = model.decode(model.encode(images).latent_dist.mean).sample.float().clamp(-1, 1)
    pixels = torch.cat([torch.cat(list(part[:24]), 2) for part in (images, reconstructed)], 1)
    image = ((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(image).save(path)
    return psnr(reconstructed, images)


def rate_at(progress: float, step: int, peak: float) -> float:
    """Return the learning rate: 200 warm-up steps, then a cosine to 3 % of the peak."""
    return peak * min(1.0, (step + 1) / 200) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32, help="crops per step; a third of it for complete images")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--width", type=int, nargs="+", default=WIDTH, help="channels per level, multiples of 16")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = SpriteImages(options.work, 0)
    held_out = as_batch(images.held_out).to(options.device)
    model = build(tuple(options.width)).to(options.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, (0.9, 0.99), weight_decay=1e-4, fused=True)
    average = EMA(model, 0.998)
    path = options.work / "ae.pt"
    state: dict[str, Any] = {"step": 0, "spent": 0.0, "seen": 0, "width": list(options.width)}
    if path.exists():
        state = load(path, model, optimizer, average, images.random)
    while state["step"] < options.steps:
        start_time, progress = time.monotonic(), state["step"] / options.steps
        side, count = (32, options.batch) if progress < 0.7 else (64, max(1, options.batch * 3 // 8))
        batch = images.batch(count, side).to(options.device)
        with torch.autocast(options.device, torch.bfloat16):
            loss = loss_of(model, batch)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, state["step"], options.rate)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, state["step"])
        state["step"] += 1
        state["seen"] += count
        state["spent"] += time.monotonic() - start_time
        if state["step"] % options.save_every == 0 or state["step"] == options.steps:
            with average.swap_in(model):
                quality = write_reconstructions(model, held_out, options.work / f"ae_{state['step']:06d}.png")
            row = [state["step"], round(state["spent"]), state["seen"], float(loss.detach()), quality]
            with (options.work / "ae.csv").open("a", newline="") as log:
                csv.writer(log).writerow(row)
            print(*row, flush=True)
            save(path, model, optimizer, average, images.random, state)


if __name__ == "__main__":
    main()
