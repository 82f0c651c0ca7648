"""Train the text encoder and the UNet together on encoded scenes.

Velocity prediction (Salimans & Ho 2022, arXiv 2202.00512) with a zero-terminal-SNR schedule (Lin et al. 2024, arXiv
2305.08891). One caption in ten is empty, for classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598). Writes
`text_to_image.pt` (resumes bit-identically), `text_to_image.csv`, `text_to_image.png` (the loss curve) and
`snapshot_<step>.png` (a fixed prompt set, averaged weights).
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bf16_copy import Bf16Copy
from checkpoint import EMA, load, save
from concepts import read_core, read_focus
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from model import Sizes, TextToImageModel, alphas_cumprod
from snapshot import plot, write_contact_sheet
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from training import Training, parser
from transformers import CLIPTextModel

EXTRA_FOLDER_WEIGHT = 0.4  # sampling weight of a scene of an additional folder


def row_weights(scenes: list[dict[str, Any]], focus: frozenset[str], other_weight: float = 0.02) -> np.ndarray:
    """Return the sampling weight of each scene: large for the focus, medium for everyday concepts, else small.

    Args:
        scenes: scenes as JSON values.
        focus: concepts to train first.
        other_weight: factor of the weight of scenes with other concepts.
    """
    core = read_core()
    weights = []
    for scene in scenes:
        if not scene["things"]:
            weights.append(1.0)
            continue
        first = scene["things"][0]
        weight = 0.3 if first["concept"] not in core else 0.5 + 0.5 * core[first["concept"]][1]
        if focus and not all(thing["concept"] in focus for thing in scene["things"]):
            weight *= other_weight
        weights.append(weight * {"flat": 1.0, "glossy": 0.7, "noto": 0.05 if focus else 0.5}[first["style"]])
    return np.array(weights)


class EncodedScenes:
    """Sample encoded scenes and their captions."""

    def __init__(
        self,
        folders: list[Path],
        focus: frozenset[str],
        empty: float = 0.1,
        *,
        other_weight: float = 0.02,
        more_weight: float = EXTRA_FOLDER_WEIGHT,
    ) -> None:
        self.latents = torch.cat([torch.from_numpy(np.load(f / "latents.npy")) for f in folders])
        self.tokens = np.concatenate([np.load(f / "tokens.npy") for f in folders])
        vocabulary = json.loads((folders[0] / "tokenizer" / "vocab.json").read_text())
        self.vocabulary_size = len(vocabulary)
        self.empty_tokens = np.full(self.tokens.shape[-1], self.vocabulary_size - 1, np.int16)
        self.empty_tokens[0] = self.vocabulary_size - 2
        self.empty = empty
        scenes = [scene for f in folders for scene in json.loads((f / "scenes.json").read_text())]
        weight = row_weights(scenes, focus, other_weight)
        weight[len(np.load(folders[0] / "latents.npy", mmap_mode="r")) :] *= more_weight
        self.cumulative_weights = np.cumsum(weight) / weight.sum()

    def sample_rows(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Return the indices of the next scenes, int64 (count,)."""
        rows: np.ndarray = np.searchsorted(self.cumulative_weights, random.random(count)).clip(0, len(self.latents) - 1)
        return rows

    def batch(self, random: np.random.Generator, count: int, device: str) -> tuple[Tensor, Tensor]:
        """Return latents float32 (count, 16, 8, 8) and token ids int64 (count, LENGTH)."""
        rows = self.sample_rows(random, count)
        columns = random.integers(0, self.tokens.shape[1], count)
        tokens = self.tokens[rows, columns]
        tokens[random.random(count) < self.empty] = self.empty_tokens
        latents = self.latents[rows].to(device, torch.float32)
        return latents, torch.from_numpy(tokens.astype(np.int64)).to(device)


def load_weights(model: TextToImageModel, folder: Path) -> None:
    """Load the UNet and the text encoder of an exported model, to train it further."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    model.unet.load_state_dict(unet.state_dict())
    model.text.load_state_dict(CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).state_dict())


class Trainer(Training):
    """Store the state of the training, and save it in checkpoints."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        torch.manual_seed(options.seed)
        self.random = np.random.default_rng(options.seed)
        self.data = EncodedScenes(
            [options.work, *options.more],
            read_focus(options.focus),
            other_weight=options.other_weight,
            more_weight=options.more_weight,
        )
        self.sizes = Sizes(tuple(options.width), options.text_width, options.text_layers)
        self.model = TextToImageModel(self.data.vocabulary_size, self.sizes).to(options.device)
        if options.model:
            load_weights(self.model, options.model)
        convert_conv2d_weight_memory_format(self.model, torch.channels_last)
        self.average = EMA(self.model, options.average)
        self.bf16 = Bf16Copy(self.model)
        # Plain attention is faster than fused attention at 64 positions.
        self.bf16.copy.unet.set_attn_processor(AttnProcessor())
        self.bf16.copy.text.set_attn_implementation("eager")
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), options.rate, (0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.alphas_cumprod = alphas_cumprod().to(options.device)
        self.path: Path = options.work / "text_to_image.pt"
        if self.path.exists():
            state = load(self.path, self.model, self.optimizer, self.average, self.random)
            self.step, self.seconds = state["step"], state["seconds"]
        self.bf16.copy_weights()

    def save(self) -> None:
        """Write a checkpoint."""
        size = self.data.vocabulary_size
        state = {"step": self.step, "seconds": self.seconds, "vocabulary": size, "sizes": asdict(self.sizes)}
        save(self.path, self.model, self.optimizer, self.average, self.random, state)

    def loss(self) -> Tensor:
        """Return the mean squared error of the predicted velocity over one batch.

        Timesteps are stratified over the batch. High noise levels, where the prompt matters most, are sampled more
        often.
        """
        count, device = self.options.batch, self.options.device
        latents, tokens = self.data.batch(self.random, count, device)
        quantiles = (np.arange(count) + self.random.random(count)) / count
        timesteps = torch.from_numpy((quantiles**0.75 * 1000).astype(np.int64)).to(device)
        noise = torch.from_numpy(self.random.standard_normal(latents.shape, np.float32)).to(device)
        alpha_bar = self.alphas_cumprod[timesteps][:, None, None, None]
        noisy = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise
        velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latents
        noisy = noisy.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        model_pred = self.bf16.copy(noisy, timesteps, tokens)
        return functional.mse_loss(model_pred.float(), velocity)

    def train_step(self, rate: float) -> float:
        """Run one optimizer step and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss()
        torch.autograd.backward(loss)
        self.bf16.copy_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.bf16.copy_weights()
        self.average.update(self.model, self.step)
        return float(loss.detach())


def main() -> None:
    arguments = parser(__doc__, "data/train_tiny", steps=12_000, batch=64, rate=8e-4, average=0.999)
    arguments.add_argument("--save-every", type=int, default=400)
    arguments.add_argument("--show-every", type=int, default=1000)
    arguments.add_argument("--focus", type=Path, help="icon names to train first, see focus.txt")
    arguments.add_argument("--more", type=Path, nargs="*", default=[], help="additional folders of encoded scenes")
    arguments.add_argument(
        "--more-weight", type=float, default=EXTRA_FOLDER_WEIGHT, help="sampling weight of their scenes"
    )
    arguments.add_argument(
        "--other-weight", type=float, default=0.02, help="sampling weight of scenes with concepts out of the focus"
    )
    arguments.add_argument("--model", type=Path, help="start from the weights of an exported model")
    arguments.add_argument(
        "--width", type=int, nargs="+", default=Sizes.width, help="channels of the UNet levels, multiples of 32"
    )
    arguments.add_argument(
        "--text-width", type=int, default=Sizes.text_width, help="width of the text encoder, a multiple of 64"
    )
    arguments.add_argument("--text-layers", type=int, default=Sizes.text_layers)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    print(sum(p.numel() for p in trainer.model.parameters()), "parameters", flush=True)
    recent: list[float] = []
    for result in trainer.steps():
        recent.append(result.loss)
        if result.step % 50 == 0:
            speed = result.step * options.batch / trainer.seconds
            row = [result.step, result.step * options.batch, round(trainer.seconds), round(speed, 1)]
            with (options.work / "text_to_image.csv").open("a", newline="") as log:
                csv.writer(log).writerow([*row, round(sum(recent) / len(recent), 5), result.rate])
            print(*row, round(sum(recent) / len(recent), 4), flush=True)
            recent = []
        if result.step % options.save_every == 0 or trainer.is_finished():
            trainer.save()
        if result.step % options.show_every == 0 or trainer.is_finished():
            with trainer.average.swap_in(trainer.model):
                write_contact_sheet(trainer.model, options.work, f"snapshot_{result.step:06d}.png")
            plot(options.work / "text_to_image.csv", options.work / "text_to_image.png")


if __name__ == "__main__":
    main()
