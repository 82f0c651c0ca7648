"""Train the model to understand synonyms and to ignore unknown words, by self-distillation.

Hinton et al. 2015, arXiv 1503.02531. The teacher is a fixed copy of the model and receives a plain caption of a noisy
scene. The student starts as a copy of the teacher, receives a paraphrase, and learns to predict the velocity of the
teacher. The target contains no sampling noise, so this needs far fewer samples than training on random captions. Writes
`distilled.pt` (resumes bit-identically) and `distilled.csv`.
"""

import argparse
import csv
import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from checkpoint import EMA, load, save
from concepts import read_concepts, read_focus
from diffusers.models.attention_processor import AttnProcessor
from export import load_model
from model import Sizes, TextToImageModel, alphas_cumprod
from paraphrase import Paraphraser, filler_words
from render import scene_from_json
from tokenizer import LENGTH
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from train import EncodedScenes
from training import Training, parser
from transformers import CLIPTokenizer


def copy_to_bf16(model: TextToImageModel) -> TextToImageModel:
    """Return a bfloat16 copy with plain attention, as in `train.py`; on a CPU, it takes half the time of autocast."""
    bf16_model = deepcopy(model).to(torch.bfloat16)
    bf16_model.unet.set_attn_processor(AttnProcessor())
    bf16_model.text.set_attn_implementation("eager")
    return bf16_model


class DistillationData:
    """Store latents with the captions of the teacher and the student."""

    def __init__(self, options: argparse.Namespace) -> None:
        folders = [options.work, *options.more]
        self.latents = EncodedScenes(folders, read_focus(options.focus), empty=0.0)
        self.scenes = [
            scene_from_json(data) for folder in folders for data in json.loads((folder / "scenes.json").read_text())
        ]
        concepts = read_concepts(options.data, options.work)
        self.paraphraser = Paraphraser(concepts, filler_words(options.data, concepts), options.seed)
        self.tokenizer = CLIPTokenizer.from_pretrained(options.work / "tokenizer")

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids, int64 (texts, LENGTH)."""
        coded = self.tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
        ids: Tensor = coded.input_ids
        return ids

    def batch(self, random: np.random.Generator, count: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents float32 (count, 16, 8, 8) and the token ids of teacher and student.

        One caption in ten is empty.
        """
        rows = self.latents.sample_rows(random, count)
        self.paraphraser.random = random
        scenes = [self.scenes[row] for row in rows]
        plain = [self.paraphraser.plain_caption(scene) if random.random() > 0.1 else "" for scene in scenes]
        paraphrased = [
            text and self.paraphraser.paraphrase(scene, text) for scene, text in zip(scenes, plain, strict=True)
        ]
        latents = self.latents.latents[rows].to(device, torch.float32)
        return latents, self.tokenize(plain).to(device), self.tokenize(paraphrased).to(device)


class DistillationTrainer(Training):
    """Store the state of the training, and save it in checkpoints."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        torch.manual_seed(options.seed)
        self.random = np.random.default_rng(options.seed)
        self.data = DistillationData(options)
        self.student = load_model(options.work / "text_to_image.pt").to(options.device)
        convert_conv2d_weight_memory_format(self.student, torch.channels_last)
        self.teacher = copy_to_bf16(self.student).requires_grad_(False)
        self.sizes: Sizes = self.student.sizes
        self.average = EMA(self.student, options.average)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), options.rate, (0.9, 0.99), weight_decay=0.01)
        self.alphas_cumprod = alphas_cumprod().to(options.device)
        self.path: Path = options.work / "distilled.pt"
        if self.path.exists():
            state = load(self.path, self.student, self.optimizer, self.average, self.random)
            self.step, self.seconds = state["step"], state["seconds"]
        self.bf16_model = copy_to_bf16(self.student)

    def save(self) -> None:
        """Write a checkpoint in the format of `export.py`."""
        size = self.data.latents.vocabulary_size
        state = {"step": self.step, "seconds": self.seconds, "vocabulary": size, "sizes": asdict(self.sizes)}
        save(self.path, self.student, self.optimizer, self.average, self.random, state)

    def loss(self) -> Tensor:
        """Return the mean squared error between the velocities of student and teacher.

        High noise levels are sampled more often.
        """
        count, device = self.options.batch, self.options.device
        latents, plain, paraphrased = self.data.batch(self.random, count, device)
        quantiles = (np.arange(count) + self.random.random(count)) / count
        timesteps = torch.from_numpy((quantiles**0.6 * 1000).astype(np.int64)).to(device)
        noise = torch.from_numpy(self.random.standard_normal(latents.shape, np.float32)).to(device)
        alpha_bar = self.alphas_cumprod[timesteps][:, None, None, None]
        noisy = (alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise).to(torch.bfloat16)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            target = self.teacher(noisy, timesteps, plain).float()
        return functional.mse_loss(self.bf16_model(noisy, timesteps, paraphrased).float(), target)

    def train_step(self, rate: float) -> float:
        """Run one optimizer step and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss()
        torch.autograd.backward(loss)
        pairs = list(zip(self.student.parameters(), self.bf16_model.parameters(), strict=True))
        for full, half in pairs:
            full.grad = None if half.grad is None else half.grad.float()
            half.grad = None
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_([half for _, half in pairs], [full for full, _ in pairs])
        self.average.update(self.student, self.step)
        return float(loss.detach())


def main() -> None:
    arguments = parser(__doc__, "data/train_tiny", steps=3_000, batch=64, rate=3e-4, average=0.998)
    arguments.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    arguments.add_argument("--save-every", type=int, default=400)
    arguments.add_argument("--focus", type=Path, help="icon names to train first, see focus.txt")
    arguments.add_argument("--more", type=Path, nargs="*", default=[], help="additional folders of encoded scenes")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    trainer = DistillationTrainer(options)
    recent: list[float] = []
    for result in trainer.steps():
        recent.append(result.loss)
        if result.step % 50 == 0:
            row = [result.step, round(trainer.seconds), round(sum(recent) / len(recent), 5), result.rate]
            with (options.work / "distilled.csv").open("a", newline="") as log:
                csv.writer(log).writerow(row)
            print(*row, flush=True)
            recent = []
        if result.step % options.save_every == 0:
            trainer.save()
    trainer.save()


if __name__ == "__main__":
    main()
