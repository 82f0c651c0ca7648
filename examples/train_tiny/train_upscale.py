"""Extend the autoencoder by one outer level, to images of twice the side, without changing its latents.

`--side 128` turns the trained f8 autoencoder `vae/` into the f16 autoencoder `vae128/`; `--side 256` turns that one
into the f32 autoencoder `vae256/`. The decoder keeps the inner blocks and learns to render the larger images from the
same latents. The encoder learns by distillation to reproduce the latents of the given encoder for the same image at
half the side, so a UNet trained on these latents works with all of them.

The encoder is trained in each third step of the first `--encoder-steps` steps and is frozen afterwards. The decoder is
trained in all steps: first with the reconstruction loss, and with `--adversarial-from` also with a discriminator of
patches and a perceptual distance, as in Esser et al. 2021 (arXiv 2012.09841), which makes edges sharp.

Writes `upscale<side>.pt` (resumes bit-identically), `upscale<side>.csv` (step, seconds, loss, PSNR in dB of images
decoded from the latents of the given encoder and of the new encoder, error of the latents, edge gradient of decoded
images relative to the renders), `upscale<side>_<step>.png` and `vae<side>/`.
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
from discriminator import Adversary
from PIL import Image
from render import load_sprites, scene_from_json
from scenes import render_scene
from torch import Tensor
from torch.nn import functional
from train_autoencoder import as_batch, build, psnr, rate_at, reconstruction_loss


def add_outer_level(small: AutoencoderKL, width: int) -> AutoencoderKL:
    """Build an autoencoder with one level more. Its inner weights are copied.

    Args:
        small: the given autoencoder.
        width: channels of the new level, a multiple of 16. If they differ from the channels of the outermost level of
            `small`, the layers between image and latents that depend on them start from random weights.
    """
    large = build((width, *small.config.block_out_channels))
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
    if width == small.config.block_out_channels[0]:
        _initialize_resampling(large)
    return large


@torch.no_grad()
def _initialize_resampling(large: AutoencoderKL) -> None:
    """Initialize the new level as nearest doubling (decoder) and halving (encoder).

    Its convolutions copy each channel, and its residual branches end in zeros, so the training starts from the
    enlarged image of the given autoencoder.
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
    """Store scenes at the large side with the latents of their versions at half the side.

    Args:
        folders: folders of `render.py`. The scenes are taken from all of them in turn.
        small: the given autoencoder.
        side: pixels of the large images.
        count: number of scenes.
    """

    def __init__(self, folders: list[Path], small: AutoencoderKL, side: int, count: int) -> None:
        cache = folders[0] / f"renders{side}.npy"
        latents = folders[0] / f"renders{side}_latents.npy"
        if not latents.exists():
            self._render(folders, cache, side, count)
            np.save(latents, _latents(small, np.load(cache, mmap_mode="r")))
        self.images, self.latents = np.load(cache, mmap_mode="r"), torch.from_numpy(np.load(latents))
        self.num_held_out = min(96, len(self.images) // 5)
        self.random = np.random.default_rng(0)

    @staticmethod
    def _render(folders: list[Path], cache: Path, side: int, count: int) -> None:
        scenes = [json.loads((folder / "scenes.json").read_text()) for folder in folders]
        count = min(count, len(folders) * min(map(len, scenes)))
        images = np.lib.format.open_memmap(cache, "w+", np.uint8, (count, side, side, 3))
        sprites = load_sprites(folders[0])
        for i in range(count):
            scene = scenes[i % len(folders)][i // len(folders)]
            images[i] = render_scene(scene_from_json(scene), sprites, side)
        images.flush()

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return images (count, 3, side, side) in [-1, 1] and latents (count, 16, 8, 8)."""
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


def edge_gradient(images: Tensor, reference: Tensor) -> float:
    """Return the mean gradient of images, shape (n, 3, side, side), at the 5 % steepest pixels of the reference."""
    gradients = [
        (part[..., 1:, :-1] - part[..., :-1, :-1]).square().add((part[..., :-1, 1:] - part[..., :-1, :-1]).square())
        for part in (images, reference)
    ]
    found, real = (part.sum(1).sqrt().flatten(1) for part in gradients)
    rows = real.topk(real.shape[1] // 20).indices
    return float(found.gather(1, rows).mean() / real.gather(1, rows).mean())


@torch.no_grad()
def evaluate(model: AutoencoderKL, data: RenderedScenes, path: Path) -> dict[str, float]:
    """Return measurements on held-out scenes, see the head of this file. Write a sheet."""
    decoded, round_trip, means = [], [], []
    images = as_batch(data.images[: data.num_held_out])
    latents = data.latents[: data.num_held_out].float()
    for rows in torch.split(torch.arange(data.num_held_out), 16):
        with torch.autocast(model.device.type, torch.bfloat16):
            decoded.append(model.decode(latents[rows].to(model.device)).sample.float().clamp(-1, 1).cpu())
            mean = model.encode(images[rows].to(model.device)).latent_dist.mean.float()
            round_trip.append(model.decode(mean).sample.float().clamp(-1, 1).cpu())
            means.append(mean.cpu())
    pairs = (images, torch.cat(decoded), torch.cat(round_trip))
    sheet = torch.cat([torch.cat(list(part[:8]), 2) for part in pairs], 1)
    Image.fromarray(((sheet + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
    return {
        "decoded": psnr(pairs[1], images),
        "round trip": psnr(pairs[2], images),
        "latent error": float(functional.mse_loss(torch.cat(means), latents)),
        "edges": edge_gradient(pairs[1], images),
    }


def decode_noisy(model: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode slightly noisy latents, for robust decoding of generated latents."""
    decoded: Tensor = model.decode(latents + 0.08 * torch.randn_like(latents)).sample.float()
    return decoded


def encoder_loss(model: AutoencoderKL, images: Tensor, latents: Tensor) -> Tensor:
    """Return the weighted error of the latents."""
    return 0.3 * functional.mse_loss(model.encode(images).latent_dist.mean.float(), latents)


@torch.no_grad()
def freeze_encoder(model: AutoencoderKL, average: EMA) -> None:
    """Replace the encoder by its average and freeze it."""
    with average.swap_in(model):
        final = [parameter.clone() for parameter in model.encoder.parameters()]
    for parameter, value in zip(model.encoder.parameters(), final, strict=True):
        parameter.copy_(value)
    model.encoder.requires_grad_(False)


class UpscaleTraining:
    """Store the state of the training, and save it in checkpoints."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.manual_seed(0)
        source = options.source or options.work / ("vae" if options.side == 128 else f"vae{options.side // 2}")
        small = AutoencoderKL.from_pretrained(source, torch_dtype=torch.float32).eval()
        self.data = RenderedScenes([options.work, *options.more], small, options.side, options.images)
        width = options.width or small.config.block_out_channels[0]
        self.model = add_outer_level(small, width).to(options.device, memory_format=torch.channels_last)
        self.model.quant_conv.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), options.rate, (0.9, 0.99), weight_decay=1e-4, fused=True
        )
        self.average = EMA(self.model, 0.997)
        self.adversary = Adversary(options.device) if options.adversarial_from < 1 else None
        self.step, self.seconds, self.loss = 0, 0.0, 0.0
        self.trains_encoder = True
        self.path: Path = options.work / f"upscale{options.side}.pt"
        if self.path.exists():
            state = load(self.path, self.model, self.optimizer, self.average, self.data.random)
            self.step, self.seconds = state["step"], state["spent"]
            if self.adversary and "adversary" in state:
                self.adversary.load_state(state["adversary"])

    def progress(self) -> float:
        """Return the progress of the training, 0 to 1, by steps or by time."""
        if self.options.minutes:
            return float(self.seconds / (60 * self.options.minutes))
        return float(self.step / self.options.steps)

    def is_finished(self) -> bool:
        """Return True at the end of the training, and at the step `--until`."""
        return self.progress() >= 1 or self.step == self.options.until

    def train_step(self) -> None:
        """Run one optimizer step."""
        start_time, options, progress = time.monotonic(), self.options, self.progress()
        if self.trains_encoder and self.step >= options.encoder_steps:
            freeze_encoder(self.model, self.average)
            self.trains_encoder = False
        is_adversarial = self.adversary is not None and progress >= options.adversarial_from
        images, latents = (part.to(options.device) for part in self.data.batch(options.batch))
        with torch.autocast(self.model.device.type, torch.bfloat16):
            decoded = decode_noisy(self.model, latents)
            loss = reconstruction_loss(decoded, images)
            if is_adversarial and self.adversary:
                loss = loss + self.adversary.decoder_loss(decoded, images, loss, self.model.decoder.conv_out.weight)
            if self.trains_encoder and self.step % 3 == 0:
                loss = loss + encoder_loss(self.model, images, latents)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(progress, self.step, options.rate)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if is_adversarial and self.adversary:
            self.adversary.train_step(decoded.detach(), images)
        self.average.update(self.model, self.step)
        self.step += 1
        self.loss = float(loss.detach())
        self.seconds += time.monotonic() - start_time

    def report(self) -> None:
        """Evaluate the averaged weights, write the autoencoder, a line of the table and a checkpoint."""
        work, side = self.options.work, self.options.side
        with self.average.swap_in(self.model):
            figures = evaluate(self.model, self.data, work / f"upscale{side}_{self.step:06d}.png")
            self.model.save_pretrained(work / f"vae{side}")
        row = [self.step, round(self.seconds), self.loss, *figures.values()]
        with (work / f"upscale{side}.csv").open("a", newline="") as log:
            csv.writer(log).writerow(row)
        print(*row, flush=True)
        state: dict[str, Any] = {"step": self.step, "spent": self.seconds}
        if self.adversary:
            state["adversary"] = self.adversary.state()
        save(self.path, self.model, self.optimizer, self.average, self.data.random, state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="additional folders of scenes")
    parser.add_argument("--side", type=int, default=128, help="pixels of the larger images")
    parser.add_argument("--source", type=Path, help="the given autoencoder [vae or vae<half side> in --work]")
    parser.add_argument("--width", type=int, help="channels of the new level [as the outermost level]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument(
        "--minutes", type=float, help="total minutes of training, including earlier runs; instead of --steps"
    )
    parser.add_argument("--until", type=int, help="stop at this step; the next run resumes")
    parser.add_argument("--images", "--pictures", type=int, default=8_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument(
        "--encoder-steps", type=int, default=750, help="number of steps after which the encoder is frozen"
    )
    parser.add_argument(
        "--adversarial-from", type=float, default=1.0,
        help="progress, 0 to 1, from which the discriminator is used; 1: never",
    )  # fmt: skip
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    training = UpscaleTraining(options)
    while not training.is_finished():
        training.train_step()
        if training.step % options.save_every == 0 or training.is_finished():
            training.report()


if __name__ == "__main__":
    main()
