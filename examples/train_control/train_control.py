"""Train the control net on encoded scenes and their control maps. The model itself does not change.

Velocity prediction, as in `examples/train_tiny/train.py`. One caption in seven is empty. Writes `control.pt` (resumes
bit-identically), `control.csv` and `control.png` (the loss curve).
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from control_net import build_control_net, initialize_embedding
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from bf16_copy import Bf16Copy
from checkpoint import EMA, load, save
from model import alphas_cumprod
from render_control import BUNDLED, SIDE_PX
from snapshot import plot
from training import Training, parser

EMPTY_CAPTIONS = 0.15
MAP_WEIGHTS = (0.35, 0.25, 0.15, 0.25)
"""Frequency of the control maps of `strokes.training_maps`: edges, edges, strokes, edges of a sketch."""


class ControlledScenes:
    """Sample encoded scenes with a caption and a control map."""

    def __init__(self, folders: list[Path]) -> None:
        self.latents = torch.cat([torch.from_numpy(np.load(f / "latents.npy")) for f in folders])
        self.maps = np.concatenate([np.load(f / "maps.npy") for f in folders])
        self.embeddings = torch.cat([torch.from_numpy(np.load(f / "embeddings.npy")) for f in folders])
        self.empty = torch.from_numpy(np.load(folders[0] / "empty.npy"))
        counts = [len(np.load(f / "latents.npy", mmap_mode="r")) for f in folders]
        self.starts = np.cumsum([0, *counts])

    def sample_rows(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Return the indices of the next scenes, int64 (count,). Each folder has the same frequency."""
        folders = random.integers(0, len(self.starts) - 1, count)
        return random.integers(self.starts[folders], self.starts[folders + 1])

    def batch(self, random: np.random.Generator, count: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents (count, 16, 8, 8), text embeddings and control maps (count, 3, 128, 128), float32."""
        rows = self.sample_rows(random, count)
        embeddings = self.embeddings[rows, random.integers(0, self.embeddings.shape[1], count)]
        embeddings[torch.from_numpy(random.random(count) < EMPTY_CAPTIONS)] = self.empty
        packed = self.maps[rows, random.choice(self.maps.shape[1], count, p=MAP_WEIGHTS)]
        bits = np.unpackbits(packed, axis=-1).reshape(count, 1, SIDE_PX, SIDE_PX)
        maps = torch.from_numpy(bits).expand(-1, 3, -1, -1)
        return self.latents[rows].to(device, torch.float32), embeddings.to(device), maps.to(device)


class Trainer(Training):
    """Store the state of the training, and save it in checkpoints."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        torch.manual_seed(options.seed)
        self.random = np.random.default_rng(options.seed)
        self.data = ControlledScenes([options.work, *options.more])
        unet = UNet2DConditionModel.from_pretrained(options.model, subfolder="unet")
        self.net = build_control_net(unet)
        _, _, maps = self.data.batch(self.random, 64, "cpu")
        initialize_embedding(self.net, maps.float())
        self.net.to(options.device)
        self.unet = unet.to(options.device, torch.bfloat16).requires_grad_(False)
        convert_conv2d_weight_memory_format(self.net, torch.channels_last)
        convert_conv2d_weight_memory_format(self.unet, torch.channels_last)
        self.average = EMA(self.net, options.average)
        self.bf16 = Bf16Copy(self.net)
        for module in (self.unet, self.bf16.copy):
            module.set_attn_processor(AttnProcessor())
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), options.rate, (0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.alphas_cumprod = alphas_cumprod().to(options.device)
        self.path: Path = options.work / "control.pt"
        if self.path.exists():
            state = load(self.path, self.net, self.optimizer, self.average, self.random)
            self.step, self.seconds = state["step"], state["seconds"]
        self.bf16.copy_weights()

    def save(self) -> None:
        """Write a checkpoint."""
        state = {"step": self.step, "seconds": self.seconds}
        save(self.path, self.net, self.optimizer, self.average, self.random, state)

    def loss(self) -> Tensor:
        """Return the mean squared error of the predicted velocity over one batch.

        Timesteps are stratified over the batch. High noise levels, which determine the layout of the image, are
        sampled more often.
        """
        count, device = self.options.batch, self.options.device
        latents, embeddings, maps = self.data.batch(self.random, count, device)
        quantiles = (np.arange(count) + self.random.random(count)) / count
        timesteps = torch.from_numpy((quantiles**0.75 * 1000).astype(np.int64)).to(device)
        noise = torch.from_numpy(self.random.standard_normal(latents.shape, np.float32)).to(device)
        alpha_bar = self.alphas_cumprod[timesteps][:, None, None, None]
        noisy = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise
        velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latents
        noisy, maps = (x.to(torch.bfloat16, memory_format=torch.channels_last) for x in (noisy, maps))
        embeddings = embeddings.to(torch.bfloat16)
        down, mid = self.bf16.copy(noisy, timesteps, embeddings, maps, return_dict=False)
        model_pred = self.unet(
            noisy, timesteps, embeddings, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        return functional.mse_loss(model_pred.float(), velocity)

    def train_step(self, rate: float) -> float:
        """Run one optimizer step and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss()
        torch.autograd.backward(loss)
        self.bf16.copy_gradients()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.bf16.copy_weights()
        self.average.update(self.net, self.step)
        return float(loss.detach())


def main() -> None:
    arguments = parser(__doc__, "data/train_control", steps=6000, batch=32, rate=8e-4, average=0.998)
    arguments.add_argument("--model", type=Path, default=BUNDLED, help="model that the net controls")
    arguments.add_argument("--more", type=Path, nargs="*", default=[], help="additional folders of encoded scenes")
    arguments.add_argument("--save-every", type=int, default=200)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    print(sum(p.numel() for p in trainer.net.parameters()), "parameters", flush=True)
    recent: list[float] = []
    for result in trainer.steps():
        recent.append(result.loss)
        if result.step % 50 == 0:
            speed = result.step * options.batch / trainer.seconds
            row = [result.step, result.step * options.batch, round(trainer.seconds), round(speed, 1)]
            with (options.work / "control.csv").open("a", newline="") as log:
                csv.writer(log).writerow([*row, round(sum(recent) / len(recent), 5), result.rate])
            print(*row, round(sum(recent) / len(recent), 4), flush=True)
            recent = []
        if result.step % options.save_every == 0 or trainer.is_finished():
            trainer.save()
    plot(options.work / "control.csv", options.work / "control.png")


if __name__ == "__main__":
    main()
