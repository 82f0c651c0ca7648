"""Whether a perceptual term brings an autoencoder's reconstructions closer to the eye than the squared error alone.

    python tests/benchmarks/autoencoders.py [STEPS] [SEEDS]

Trains the bundled model's autoencoder on parts of photographs (of scikit-image), at equal steps and from the same
seeds: by squared error alone, and by the hybrid of `artgen train --mode vae` at several weights. Prints PSNR,
SSIM and perceptual distance of the reconstructions, of those pictures and of parts of photographs that no training
saw, and for how many of the latter the hybrid is closer than the squared error alone.

The distance is `artgen.engine.metrics.vae_feature_distance`: features of the bundled autoencoder's encoder, as it was
before training. The hybrid trains by features of the bundled denoiser of pixels, another network, taught another task.
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

SEEN = ("astronaut", "chelsea", "retina", "motorcycle_left")
UNSEEN = ("coffee", "rocket", "hubble_deep_field")
WEIGHTS = (0.0, 0.03, 0.1, 0.3)
COLUMNS, ROWS, SIDE, SHOWN = 4, 3, 128, 64
CPU = DeviceConfig("cpu", "fp32")

Measured = list[dict[str, float]]


def photograph(name: str) -> Image.Image:
    """A photograph of scikit-image, as it lies on the disk."""
    folder = Path(data.__file__).parent
    return Image.open(next(folder.glob(f"{name}.*"))).convert("RGB")


def parts(names: Sequence[str]) -> list[Image.Image]:
    """Parts of photographs, each 128 pixels a side, at half that size."""
    found = []
    for name in names:
        picture = photograph(name)
        picture.thumbnail((640, 640))
        for column, row in itertools.product(range(COLUMNS), range(ROWS)):
            left = column * (picture.width - SIDE) // (COLUMNS - 1)
            top = row * (picture.height - SIDE) // (ROWS - 1)
            cut = picture.crop((left, top, left + SIDE, top + SIDE))
            found.append(cut.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS))
    return found


def trained(folder: Path, work: Path, weight: float, steps: int, seed: int) -> Path:
    """A model whose autoencoder was trained with a perceptual term of this weight."""
    settings = training_plan.TrainingSettings(
        DatasetSettings(folder=folder, flip=True, resolution=SHOWN, duplicates="keep"),
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


def measured(model: str, pictures: Sequence[Image.Image]) -> Measured:
    """Each reconstruction's figures."""
    found = registry.resolve_model(model, offline=True)
    return [each.metrics for each in reconstruct.reconstruct_all(found, pictures, CPU)]


def row(name: str, before: Measured, after: Measured, wins: str) -> str:
    """A line of the table: the seen, then the unseen pictures."""
    cells = [
        f"{statistics.mean(each[key] for each in group):.{digits}f}"
        for group in (before, after)
        for key, digits in (("psnr", 2), ("ssim", 3), ("vae_feature_distance", 4))
    ]
    return f"| {name} | {' | '.join(cells)} | {wins} |"


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    seen, unseen = parts(SEEN), parts(UNSEEN)
    print(f"{len(seen)} pictures seen, {len(unseen)} unseen, {SHOWN}x{SHOWN}, {steps} steps, {len(seeds)} seeds")
    print("| | PSNR | SSIM | distance | unseen: PSNR | SSIM | distance | closer than MSE alone |")
    print("|---|---|---|---|---|---|---|---|")
    print(row("before", measured("tiny", seen), measured("tiny", unseen), ""))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "seen"
        folder.mkdir()
        for number, picture in enumerate(seen):
            picture.save(folder / f"{number:02}.png")
        plain: Measured = []
        for weight in WEIGHTS:
            first: Measured = []
            second: Measured = []
            for seed in seeds:
                model = str(trained(folder, Path(place), weight, steps, seed))
                first += measured(model, seen)
                second += measured(model, unseen)
            key = "vae_feature_distance"
            plain = plain or second
            wins = sum(mine[key] < theirs[key] for mine, theirs in zip(second, plain, strict=True))
            name = f"MSE + {weight:g} x perceptual" if weight else "MSE alone"
            print(row(name, first, second, f"{wins} of {len(second)}" if weight else ""), flush=True)


if __name__ == "__main__":
    main()
