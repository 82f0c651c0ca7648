"""Train an unconditional UNet2DModel to predict noise, at sigmas of 0.5 to 100 (0 to 255).

Epsilon prediction of denoising diffusion (Ho, Jain and Abbeel 2020, arXiv 2006.11239) with a special schedule: its 1000
noise levels are the sigmas 0.1, 0.2 ... 100, so that no level is pure noise. Writes `denoiser.pt` (resumes
bit-identically), `denoiser.csv` (with the PSNR of validation images) and `denoiser.png` (both as curves).
"""

import argparse
import csv
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from image_sources import VALIDATION_PANORAMAS
from patches import MAX_SIGMA, SIDE, Patches, load_panorama
from torch import Tensor
from torch.nn import functional

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from checkpoint import EMA, load, save
from training import Training, parser

LEVELS = 1000


def sigma_at(timestep: Tensor) -> Tensor:
    """Return the sigma of a timestep (0 to 999, may be fractional), for pixel values of -1 to 1."""
    return (timestep + 1) * (MAX_SIGMA / LEVELS / 127.5)


def timestep_at(sigma: Tensor) -> Tensor:
    """Return the timestep of a sigma for pixel values of -1 to 1."""
    return sigma * (127.5 * LEVELS / MAX_SIGMA) - 1


def build_schedule() -> DDIMScheduler:
    """Return the schedule with sqrt((1 - alpha_bar) / alpha_bar) = sigma_at(k), in in double precision."""
    sigma = sigma_at(torch.arange(LEVELS, dtype=torch.float64))
    alpha_bar = 1 / (1 + sigma**2)
    previous = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return DDIMScheduler(
        num_train_timesteps=LEVELS,
        trained_betas=[float(beta) for beta in 1 - alpha_bar / previous],
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="epsilon",
        timestep_spacing="trailing",
    )


def build_unet(width: tuple[int, ...], layers: int) -> UNet2DModel:
    """Build the network. It has no attention, so its cost is proportional to the number of pixels."""
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        block_out_channels=width,
        layers_per_block=layers,
        down_block_types=("DownBlock2D",) * len(width),
        up_block_types=("UpBlock2D",) * len(width),
        add_attention=False,
        norm_num_groups=8,
    )


class Trainer(Training):
    """Store the state of the training, and save it in checkpoints."""

    warm_up = 300
    min_factor = 0.01

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        torch.manual_seed(options.seed)
        self.random = np.random.default_rng(options.seed)
        self.patches = Patches(options.data, options.work / "leaves.npy")
        self.width = tuple(options.width)
        self.model = build_unet(self.width, options.layers).to(options.device)
        self.average = EMA(self.model, options.average)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), options.rate, (0.9, 0.99), weight_decay=0.001)
        self.path: Path = options.work / "denoiser.pt"
        if self.path.exists():
            state = load(self.path, self.model, self.optimizer, self.average, self.random)
            self.step, self.seconds = state["step"], state["seconds"]
        # Forward and backward pass use a bfloat16 copy of the float32 weights: half the time on a CPU.
        self.bf16_model = deepcopy(self.model).to(torch.bfloat16) if options.half else self.model

    def save(self) -> None:
        """Write a checkpoint."""
        state = {"step": self.step, "seconds": self.seconds, "width": self.width, "layers": self.options.layers}
        save(self.path, self.model, self.optimizer, self.average, self.random, state)

    def loss(self) -> Tensor:
        """Return the mean squared error of the predicted noise, in units of sigma, over one batch."""
        clean, noisy, sigma = self.patches.sample_batch(self.random, self.options.batch)
        start, given, level = (torch.from_numpy(a).to(self.options.device) for a in (clean, noisy, sigma))
        wide = level[:, None, None, None]
        noise = (given - start) / wide
        state = given / (1 + wide**2).sqrt()
        model_pred = self.bf16_model(state.to(self.bf16_model.dtype), timestep_at(level)).sample
        return functional.mse_loss(model_pred.float(), noise)

    @torch.no_grad()
    def copy_gradients_to_fp32(self) -> None:
        """Copy the gradients of the bfloat16 copy to the float32 weights."""
        for full, half in zip(self.model.parameters(), self.bf16_model.parameters(), strict=True):
            full.grad = None if half.grad is None else half.grad.float()
            half.grad = None

    def train_step(self, rate: float) -> float:
        """Run one optimizer step and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss()
        torch.autograd.backward(loss)
        if self.options.half:
            self.copy_gradients_to_fp32()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.options.half:
            with torch.no_grad():
                torch._foreach_copy_(list(self.bf16_model.parameters()), list(self.model.parameters()))
        self.average.update(self.model, self.step)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> list[float]:
        """Return the PSNR in dB of one-step predictions on the validation images at sigma 15, 25 and 50."""
        random = np.random.default_rng(1)
        scores = []
        images = [load_panorama(self.options.data / f"{name}.npy")[64:192] for name in VALIDATION_PANORAMAS]
        clean = np.stack(images).astype(np.float32)
        with self.average.swap_in(self.model):
            for sigma in (15, 25, 50):
                noisy = np.clip(np.round(clean + sigma * random.standard_normal(clean.shape, np.float32)), 0, 255)
                given = torch.from_numpy(noisy).permute(0, 3, 1, 2).to(self.options.device) / 127.5 - 1
                level = torch.full((len(given),), sigma / 127.5, device=given.device)
                noise = self.model(given / (1 + level[0] ** 2).sqrt(), timestep_at(level)).sample
                found = ((given - level[0] * noise).clamp(-1, 1) + 1) * 127.5
                error = (found.permute(0, 2, 3, 1).cpu().numpy() - clean) ** 2
                scores.append(round(float(np.mean(10 * np.log10(255**2 / error.mean((1, 2, 3))))), 3))
        return scores


def plot(table: Path, image: Path) -> None:
    """Plot the loss and the PSNR over the number of patches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = np.genfromtxt(table, delimiter=",", ndmin=2)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.semilogy(rows[:, 1], rows[:, 3])
    left.set(xlabel="patches", ylabel="mean squared error of the noise, in units of sigma squared")
    validation_psnr = rows[~np.isnan(rows[:, 5])]
    for i, sigma in enumerate((15, 25, 50)):
        right.plot(validation_psnr[:, 1], validation_psnr[:, 5 + i], label=f"sigma {sigma}")
    right.set(xlabel="patches", ylabel="PSNR in dB, validation images")
    right.legend()
    figure.savefig(image, dpi=100)
    pyplot.close(figure)


def main() -> None:
    arguments = parser(__doc__, "data/train_denoiser", steps=40_000, batch=8, rate=1e-3, average=0.999)
    arguments.add_argument("--data", type=Path, default=Path("data/train_denoiser/raw"))
    arguments.add_argument("--width", type=int, nargs="+", default=(32, 64, 96, 128), help="channels of each level")
    arguments.add_argument("--layers", type=int, default=1, help="blocks per level")
    arguments.add_argument("--half", action=argparse.BooleanOptionalAction, default=True, help="compute in bfloat16")
    arguments.add_argument("--validate-every", "--watch-every", type=int, default=1000, help="steps [1000]")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    print(sum(p.numel() for p in trainer.model.parameters()), "parameters", flush=True)
    recent: list[float] = []
    table = options.work / "denoiser.csv"
    for result in trainer.steps():
        recent.append(result.loss)
        if result.step % options.validate_every and not trainer.is_finished():
            if result.step % 100:
                continue
            validation_psnr: list[float] = []
        else:
            validation_psnr = trainer.validate()
            trainer.save()
        num_patches = result.step * options.batch
        row = [result.step, num_patches, round(trainer.seconds), round(sum(recent) / len(recent), 5), result.rate]
        with table.open("a", newline="") as log:
            csv.writer(log).writerow([*row, *(validation_psnr or ("", "", ""))])
        print(*row, round(num_patches / trainer.seconds, 1), *validation_psnr, flush=True)
        recent = []
        if validation_psnr:
            plot(table, table.with_suffix(".png"))


if __name__ == "__main__":
    main()
