"""Train the bundled upscaler: a compact network that enlarges images by 2.

The network is SRVGGNetCompact (Real-ESRGAN, arXiv 2107.10833), trained with the mean absolute error, without a GAN. Its
input is the training photographs of `train_denoiser`, reduced by 2: four of five with bicubic filtering, the others
with a box filter or Lanczos.

Writes `upscaler.pt` (resumes bit-identically), `upscaler.csv` (step, patches, seconds, loss, learning rate, PSNR in dB
on the validation panoramas, of the network and of Lanczos), and `model.safetensors` in half precision.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from artgen.engine.upscaling.esrgan import SRVGGNetCompact

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("train_tiny", "train_denoiser")]
from checkpoint import EMA, load, save
from image_sources import VALIDATION_PANORAMAS
from patches import downscale, load_panorama, load_photographs
from training import Training, parser

SCALE = 2
SIDE = 48
"""Side of a training patch in pixels, before it is enlarged."""
LEAVES_SHARE = 0.3
"""Share of the patches that are from dead-leaves images."""
FILTERS = (
    *(Image.Resampling.BICUBIC,) * 8, Image.Resampling.BOX, Image.Resampling.LANCZOS,
)  # fmt: skip

Pair = tuple[np.ndarray, np.ndarray]


def reduce(image: np.ndarray, resample: Image.Resampling) -> np.ndarray:
    """Return an image of half the size."""
    size = image.shape[1] // SCALE, image.shape[0] // SCALE
    return np.array(Image.fromarray(image).resize(size, resample))


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Return an RGB image with even sides."""
    rgb = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3]
    return np.ascontiguousarray(rgb[: rgb.shape[0] // SCALE * SCALE, : rgb.shape[1] // SCALE * SCALE])


class Patches:
    """Sample pairs of a reduced patch and its original."""

    def __init__(self, raw: Path, leaves: Path) -> None:
        photographs = load_photographs(raw)
        photographs += [downscale(image, factor) for image in photographs for factor in (0.7, 0.45)]
        self.photographs = [to_rgb(image) for image in photographs if min(image.shape[:2]) > SCALE * SIDE + 1]
        weights = np.array([image.shape[0] * image.shape[1] for image in self.photographs]) ** 0.6
        self.cumulative_weights = np.cumsum(weights) / weights.sum()
        self.leaves = np.load(leaves, mmap_mode="r")

    def sample(self, random: np.random.Generator) -> Pair:
        """Return a patch and its original, uint8, randomly flipped, rotated and recolored."""
        if random.random() < LEAVES_SHARE:
            image = self.leaves[random.integers(len(self.leaves))]
        else:
            image = self.photographs[int(np.searchsorted(self.cumulative_weights, random.random()))]
        # A margin of 8 pixels keeps the border of the image, where the filter has no neighbors, out of the patch.
        margin, side = 8, SCALE * SIDE
        row, column = (int(random.integers(0, max(1, n - side - 2 * margin + 1))) for n in image.shape[:2])
        region = np.asarray(image[row : row + side + 2 * margin, column : column + side + 2 * margin])
        region = np.ascontiguousarray(region[..., random.permutation(3)] if random.random() < 0.5 else region)
        small = reduce(to_rgb(region), FILTERS[random.integers(len(FILTERS))])
        start = (margin if region.shape[0] == region.shape[1] == side + 2 * margin else 0) // SCALE
        small = small[start : start + SIDE, start : start + SIDE]
        large = region[SCALE * start : SCALE * start + side, SCALE * start : SCALE * start + side]
        turns, is_flipped = int(random.integers(4)), random.random() < 0.5
        small, large = (np.rot90(each, turns) for each in (small, large))
        return (small[:, ::-1], large[:, ::-1]) if is_flipped else (small, large)

    def sample_batch(self, random: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Return patches and their originals, float32 (count, 3, H, W), 0 to 1."""
        pairs = [self.sample(random) for _ in range(count)]
        small, large = (torch.from_numpy(np.stack([pair[i] for pair in pairs])) for i in (0, 1))
        # The permuted tensors are in the memory format channels_last.
        return small.permute(0, 3, 1, 2).float() / 255, large.permute(0, 3, 1, 2).float() / 255


class Trainer(Training):
    """Store the state of the training, and save it in checkpoints."""

    warm_up = 100
    min_factor = 0.01

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        torch.manual_seed(options.seed)
        self.random = np.random.default_rng(options.seed)
        self.patches = Patches(options.data, options.leaves)
        network = SRVGGNetCompact(options.features, options.convs, SCALE).to(options.device)
        self.model = network.to(memory_format=torch.channels_last)  # 1.4 times as fast on a CPU
        self.average = EMA(self.model, options.average)
        self.optimizer = torch.optim.Adam(self.model.parameters(), options.rate, (0.9, 0.99))
        self.path: Path = options.work / "upscaler.pt"
        if self.path.exists():
            state = load(self.path, self.model, self.optimizer, self.average, self.random)
            self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write a checkpoint, and the averaged weights in half precision."""
        state = {"step": self.step, "seconds": self.seconds}
        save(self.path, self.model, self.optimizer, self.average, self.random, state)
        with self.average.swap_in(self.model):
            tensors = {name: value.half().contiguous() for name, value in self.model.state_dict().items()}
        save_file(tensors, self.options.work / "model.safetensors", {"format": "pt"})

    def train_step(self, rate: float) -> float:
        """Run one optimizer step and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        small, large = (
            each.to(self.options.device) for each in self.patches.sample_batch(self.random, self.options.batch)
        )
        loss = functional.l1_loss(self.model(small), large)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.model, self.step)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> list[float]:
        """Return the mean PSNR in dB of the network and of Lanczos on the validation panoramas."""
        scores: dict[str, list[float]] = {"network": [], "lanczos": []}
        with self.average.swap_in(self.model):
            for name in VALIDATION_PANORAMAS:
                clean = load_panorama(self.options.data / f"{name}.npy")
                small = reduce(clean, Image.Resampling.BICUBIC)
                given = torch.from_numpy(small).permute(2, 0, 1)[None].float().to(self.options.device) / 255
                found = self.model(given)[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy() * 255
                plain = Image.fromarray(small).resize(clean.shape[1::-1], Image.Resampling.LANCZOS)
                for method, pixels in (("network", found.round()), ("lanczos", np.asarray(plain, np.float32))):
                    scores[method].append(10 * np.log10(255**2 / float(((pixels - clean) ** 2).mean())))
        return [round(float(np.mean(values)), 3) for values in scores.values()]


def main() -> None:
    arguments = parser(__doc__, "data/train_upscaler", steps=8000, batch=8, rate=2e-3, average=0.998)
    arguments.add_argument("--data", type=Path, default=Path("data/train_denoiser/raw"))
    arguments.add_argument("--leaves", type=Path, default=Path("data/train_denoiser/leaves.npy"))
    arguments.add_argument("--features", type=int, default=32, help="channels")
    arguments.add_argument("--convs", type=int, default=10, help="convolutions")
    arguments.add_argument("--validate-every", type=int, default=250, help="steps [250]")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options)
    print(sum(p.numel() for p in trainer.model.parameters()), "parameters", flush=True)
    recent: list[float] = []
    for result in trainer.steps():
        recent.append(result.loss)
        if result.step % options.validate_every and not trainer.is_finished():
            continue
        row = [result.step, result.step * options.batch, round(trainer.seconds), round(sum(recent) / len(recent), 5)]
        row += [result.rate, *trainer.validate()]
        trainer.save()
        with (options.work / "upscaler.csv").open("a", newline="") as log:
            csv.writer(log).writerow(row)
        print(*row, flush=True)
        recent = []


if __name__ == "__main__":
    main()
