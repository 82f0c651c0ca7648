"""How well `artgen anomaly` tells pictures with a defect from normal ones, and finds the defect, beside autoencoders.

    python tests/benchmarks/anomaly.py [PICTURES [WORKERS]]

Makes normal pictures (four textures by rule, two things drawn by the bundled model) and defects: a patch from the same
place of another picture, a worn spot, an object of another class. 20 normal pictures of each kind are learnt from; as
many others as each sort of defect has (PICTURES, 12) are held out. Prints AUROCs with bootstrapped intervals of 95 %
and writes the section `anomaly` of RESULTS.md.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anomaly_pictures
import numpy as np
import results
import torch
from anomaly_pictures import DRAWINGS, SIDE, TEXTURES, Pixels
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from artgen.engine import metrics
from artgen.engine.anomaly.detector import AnomalyDetector
from artgen.engine.anomaly.statistics import TOP_FRACTION, AnomalyMap, score_without_fit
from artgen.events import no_op
from artgen.jobs.anomaly import Anomaly, prepare_anomaly_job

LEARNT = 20
KINDS = (*TEXTURES, *DRAWINGS)
DEFECTS = {"patch": "patch swapped in", "texture": "texture changed", "object": "object of another class"}
EVERY = 4
"""Of the pixels along each side, those that count for pixel-level AUROC."""
DRAWS = 200
"""Of the bootstrap, over pictures."""

Maps = NDArray[np.float32]
Judge = Callable[[Pixels], tuple[float, Maps]]
"""A picture -> its score, and (128, 128) how surprising each pixel is."""


def auroc(normal: NDArray[Any], other: NDArray[Any]) -> float:
    """The chance that one of `other` is larger than one of `normal` (Mann and Whitney)."""
    ranks = rankdata(np.concatenate([normal, other]))
    count = len(other)
    return float((ranks[len(normal) :].sum() - count * (count + 1) / 2) / (len(normal) * count))


def ours(fit: list[Pixels], **settings: Any) -> dict[str, Judge]:
    """artgen with normal pictures, and without."""
    with TemporaryDirectory() as folder:
        for number, picture in enumerate(fit):
            image_of(picture).save(Path(folder) / f"{number}.png")
        eye = AnomalyDetector(prepare_anomaly_job(Anomaly(fit=Path(folder), device="cpu", **settings)), no_op)
        normal = eye.fit()
    seen: dict[int, Any] = {}

    def compared(picture: Pixels) -> Any:
        if id(picture) not in seen:
            seen[id(picture)] = eye.compare(image_of(picture))
        return seen[id(picture)]

    return {
        "with --fit": lambda picture: enlarged(normal.statistics.score(compared(picture).maps)),
        "without --fit": lambda picture: enlarged(score_without_fit(compared(picture))),
    }


def autoencoder(fit: list[Pixels], steps: int = 400) -> dict[str, Judge]:
    """A convolutional autoencoder of 32 to 1 compression, trained on the normal pictures, mirrored and shifted."""
    torch.manual_seed(0)
    widths = (3, 24, 48, 96, 12)
    layers: list[torch.nn.Module] = []
    for one, other in pairwise(widths[:-1]):
        layers += [torch.nn.Conv2d(one, other, 4, 2, 1), torch.nn.SiLU()]
    layers += [torch.nn.Conv2d(96, 12, 3, 1, 1), torch.nn.Conv2d(12, 96, 3, 1, 1), torch.nn.SiLU()]
    for one, other in ((96, 48), (48, 24)):
        layers += [torch.nn.ConvTranspose2d(one, other, 4, 2, 1), torch.nn.SiLU()]
    layers += [torch.nn.ConvTranspose2d(24, 3, 4, 2, 1)]
    network = torch.nn.Sequential(*layers)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    pictures, random = torch.stack([tensor_of(each) for each in fit]), np.random.default_rng(0)
    for _ in range(steps):
        batch = pictures[random.integers(0, len(pictures), 8)]
        batch = torch.roll(batch, tuple(random.integers(-8, 9, 2)), (2, 3))
        batch = batch.flip(3) if random.random() < 0.5 else batch
        loss = (network(batch) - batch).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return by_error(network, fit)


def bundled(fit: list[Pixels]) -> dict[str, Judge]:
    """The autoencoder of the bundled text-to-image model, as it is."""
    from diffusers import AutoencoderKL

    from artgen.registry.catalog import ASSETS_FOLDER

    vae = AutoencoderKL.from_pretrained(ASSETS_FOLDER / "tiny", subfolder="vae").eval()
    return by_error(lambda batch: vae.decode(vae.encode(batch).latent_dist.mode()).sample, fit)


def by_error(rebuild: Callable[[torch.Tensor], torch.Tensor], fit: list[Pixels]) -> dict[str, Judge]:
    """Squared errors of a reconstruction, plain and standardised at each pixel over the normal pictures."""

    def error(picture: Pixels) -> Maps:
        with torch.no_grad():
            batch = tensor_of(picture)[None]
            wrong = (rebuild(batch) - batch).square().mean(1)[0].numpy()
        found: Maps = gaussian_filter(wrong, 4)
        return found

    errors = np.stack([error(each) for each in fit])
    mean, deviation = errors.mean(0), errors.std(0) + errors.std() * 0.1
    return {
        "plain": lambda picture: scored(error(picture)),
        "standardised": lambda picture: scored(np.abs(error(picture) - mean) / deviation),
    }


def scored(errors: Maps) -> tuple[float, Maps]:
    """The mean of the largest errors, as artgen has it, and the errors."""
    return float(np.sort(errors, axis=None)[-round(TOP_FRACTION * errors.size) :].mean()), errors


def enlarged(found: AnomalyMap) -> tuple[float, Maps]:
    """Score and map at the picture's size."""
    places = Image.fromarray(found.cells.astype(np.float32))
    return found.score, np.asarray(places.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)


def image_of(picture: Pixels) -> Image.Image:
    """Mode RGB."""
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def tensor_of(picture: Pixels) -> torch.Tensor:
    """(3, 128, 128), -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))) / 127.5 - 1


def measured(kind: str, count: int) -> dict[str, dict[str, Any]]:
    """Of one kind of picture: method -> defect -> AUROCs of images and of pixels, and those of the bootstrap."""
    torch.set_num_threads(1)
    metrics.encoder_features(np.zeros((16, 16, 3), np.float32))
    made = anomaly_pictures.made(kind, LEARNT, count)
    judges: dict[str, Judge] = {}
    for name, several in (
        ("artgen, pixel", ours(made.fit)),
        ("autoencoder", autoencoder(made.fit)),
        ("bundled autoencoder", bundled(made.fit)),
    ):
        judges |= {f"{name}, {how}": judge for how, judge in several.items()}
    found = {name: _measured(judge, made, tuple(DEFECTS)) for name, judge in judges.items()}
    if kind in DRAWINGS:
        words = ours(made.fit, prompt=DRAWINGS[kind], model="tiny")
        found |= {f"artgen, latent, {how}": _measured(judge, made, ("object",)) for how, judge in words.items()}
    return found


def _measured(judge: Judge, made: anomaly_pictures.Set, defects: tuple[str, ...]) -> dict[str, Any]:
    random = np.random.default_rng(0)
    normal = [judge(each) for each in made.held]
    found = {}
    for defect in defects:
        cases = made.defects[defect]
        other = [judge(each.pixels) for each in cases]
        masks = [None if each.mask is None else each.mask[::EVERY, ::EVERY] for each in cases]
        values: list[tuple[float, float]] = []
        for draw in range(DRAWS + 1):
            first, second = (
                random.integers(0, len(part), len(part)) if draw else np.arange(len(part)) for part in (normal, other)
            )
            image = auroc(np.array([normal[i][0] for i in first]), np.array([other[i][0] for i in second]))
            values.append((image, _of_pixels(normal, other, masks, first, second)))
        found[defect] = {"image": [each[0] for each in values], "pixel": [each[1] for each in values]}
    return found


def _of_pixels(normal: Any, other: Any, masks: Any, first: Any, second: Any) -> float:
    if masks[0] is None:
        return float("nan")
    clean = [normal[i][1][::EVERY, ::EVERY].ravel() for i in first]
    maps = [other[i][1][::EVERY, ::EVERY] for i in second]
    chosen = [masks[i] for i in second]
    clean += [each[~mask] for each, mask in zip(maps, chosen, strict=True)]
    return auroc(np.concatenate(clean), np.concatenate([each[mask] for each, mask in zip(maps, chosen, strict=True)]))


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row a method: AUROC of images and of pixels for each defect, the mean over kinds, with intervals."""
    methods = list(dict.fromkeys(name for each in found.values() for name in each))
    heads = [f"{words}, {level}" for words in DEFECTS.values() for level in ("images", "pixels")]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method in methods:
        cells = []
        for defect in DEFECTS:
            for level in ("image", "pixel"):
                values = [each[method][defect][level] for each in found.values() if defect in each.get(method, {})]
                cells.append(_cell(values))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[list[float]]) -> str:
    known = np.array([each for each in values if not np.isnan(each[0])])
    if not len(known):
        return ""
    mean = known.mean(0)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return f"{mean[0]:.3f} ({low:.2f}-{high:.2f})"


def each_kind(found: dict[str, dict[str, Any]], method: str) -> str:
    """A row a kind of picture, for one method."""
    heads = [f"{words}, {level}" for words in DEFECTS.values() for level in ("images", "pixels")]
    lines = [f"| {method} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for kind, each in found.items():
        cells = [_cell([each[method][defect][level]]) for defect in DEFECTS for level in ("image", "pixel")]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    count, workers = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 12), (2, 2)))
    with ProcessPoolExecutor(workers) as pool:
        found = dict(zip(KINDS, pool.map(measured, KINDS, [count] * len(KINDS)), strict=True))
    text = f"""## `anomaly.py`: AUROC of pictures with a defect against normal ones, and of the defect's pixels

{results.today()}, {results.machine()}. Four textures made by rule and two things drawn by the bundled model, 128x128;
{LEARNT} normal pictures of each kind learnt from, {count} others held out, {count} of each defect: a square of 24 to 36
pixels from the same place of another picture (of the same texture; of a drawing of another thing), a spot of 13 to 19
pixels' radius rubbed smooth or roughened with its mean colour kept, and a thing of 30 to 44 pixels laid on a texture,
or a drawing of another thing altogether. In brackets, intervals of 95 % (bootstrap over pictures). The autoencoder is
convolutional, trained on the same {LEARNT} pictures; all scores are the mean of the largest 2 % of a map.
The method was chosen on other pictures of the same kinds.

{table(found)}

{each_kind(found, "artgen, pixel, with --fit")}
"""
    print(text)
    numbers = {
        kind: {
            method: {d: {level: round(v[0], 4) for level, v in levels.items()} for d, levels in each.items()}
            for method, each in methods.items()
        }
        for kind, methods in found.items()
    }
    results.write("anomaly", text, numbers)


if __name__ == "__main__":
    main()
