"""Measure whether a perceptual loss term improves a VAE's reconstructions compared with the squared error alone.

    python tests/benchmarks/autoencoders.py [STEPS] [SEEDS]

Trains the bundled model's VAE on crops of scikit-image's photographs, with the same steps and seeds: with the squared
error alone, and with the combined loss of `artgen train --mode vae` at several weights. Prints PSNR, SSIM and
perceptual distance of the reconstructions of training crops and of crops of other photographs, and the number of the
latter for which the combined loss is closer than the squared error alone.

The distance is `artgen.engine.metrics.vae_feature_distance`: features of the bundled VAE's encoder before training. The
combined loss uses features of the bundled pixel denoiser, a different network for a different task.
"""

import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from skimage import data

from artgen import registry
from artgen.engine import reconstruct
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.training import run
from artgen.jobs import training_plan
from artgen.spec.settings import (
    CheckpointSettings,
    DatasetSettings,
    DeviceSettings,
    LoraTrainingSettings,
    LossSettings,
    ModelRef,
    OptimizerSettings,
)

TRAINING_PHOTOS = ("astronaut", "chelsea", "retina", "motorcycle_left")
TEST_PHOTOS = ("coffee", "rocket", "hubble_deep_field")
WEIGHTS = (0.0, 0.03, 0.1, 0.3)
COLUMNS, ROWS, CROP_PX, IMAGE_PX = 4, 3, 128, 64
CPU = DeviceConfig("cpu", "fp32")

Measured = list[dict[str, float]]


def photograph(name: str) -> Image.Image:
    """Return a photograph from the data folder of scikit-image."""
    folder = Path(data.__file__).parent
    return Image.open(next(folder.glob(f"{name}.*"))).convert("RGB")


def crops(names: Sequence[str]) -> list[Image.Image]:
    """Return crops of 128x128 pixels of photographs, at half their size."""
    found = []
    for name in names:
        photo = photograph(name)
        photo.thumbnail((640, 640))
        for column, row in itertools.product(range(COLUMNS), range(ROWS)):
            left = column * (photo.width - CROP_PX) // (COLUMNS - 1)
            top = row * (photo.height - CROP_PX) // (ROWS - 1)
            crop = photo.crop((left, top, left + CROP_PX, top + CROP_PX))
            found.append(crop.resize((IMAGE_PX, IMAGE_PX), Image.Resampling.LANCZOS))
    return found


def train(folder: Path, work: Path, weight: float, steps: int, seed: int) -> Path:
    """Train the VAE of the bundled model with a perceptual term of this weight. Return the model folder."""
    settings = training_plan.TrainingSettings(
        DatasetSettings(folder=folder, flip=True, resolution=IMAGE_PX, duplicates="keep"),
        LoraTrainingSettings(mode="vae"),
        OptimizerSettings(train_steps=steps, learning_rate=2e-4),
        LossSettings(perceptual_weight=weight),
        CheckpointSettings(snapshot_every=0, checkpoint_every=steps),
        DeviceSettings(device="cpu"),
        seed,
    )
    plan = training_plan.create_training_plan(
        settings, ModelRef(model="tiny", offline=True), str(work / f"{weight}-{seed}")
    )
    for _ in run.train(plan):
        pass
    return plan.paths.result


def measure(model: str, images: Sequence[Image.Image]) -> Measured:
    """Return the metrics of each reconstruction."""
    resolved = registry.resolve_model(model, offline=True)
    return [each.metrics for each in reconstruct.reconstruct_all(resolved, images, CPU)]


def row(name: str, before: Measured, after: Measured, wins: str) -> str:
    """Return a line of the table: training images, then test images."""
    cells = [
        f"{statistics.mean(each[key] for each in group):.{digits}f}"
        for group in (before, after)
        for key, digits in (("psnr", 2), ("ssim", 3), ("vae_feature_distance", 4))
    ]
    return f"| {name} | {' | '.join(cells)} | {wins} |"


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    training, test = crops(TRAINING_PHOTOS), crops(TEST_PHOTOS)
    print(f"{len(training)} training images, {len(test)} test images, {IMAGE_PX}x{IMAGE_PX}")
    print(f"{steps} steps, {len(seeds)} seeds")
    print("| | PSNR | SSIM | distance | test: PSNR | SSIM | distance | closer than MSE alone |")
    print("|---|---|---|---|---|---|---|---|")
    print(row("before", measure("tiny", training), measure("tiny", test), ""))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "training"
        folder.mkdir()
        for number, image in enumerate(training):
            image.save(folder / f"{number:02}.png")
        squared_error: Measured = []
        for weight in WEIGHTS:
            on_training: Measured = []
            on_test: Measured = []
            for seed in seeds:
                model = str(train(folder, Path(scratch), weight, steps, seed))
                on_training += measure(model, training)
                on_test += measure(model, test)
            key = "vae_feature_distance"
            squared_error = squared_error or on_test
            wins = sum(ours[key] < other[key] for ours, other in zip(on_test, squared_error, strict=True))
            name = f"MSE + {weight:g} x perceptual" if weight else "MSE alone"
            print(row(name, on_training, on_test, f"{wins} of {len(on_test)}" if weight else ""), flush=True)


if __name__ == "__main__":
    main()
