"""Measure how well `artgen anomaly` detects and localizes defects, compared with autoencoders.

    python tests/benchmarks/anomaly.py [IMAGES [WORKERS]]

Creates normal images (four computed textures, two classes of drawings of the bundled model) and defects: a patch from
the same region of another image, a spot with another texture, an object of another class. 20 normal images of each kind
are used for the fit. IMAGES (12) other normal images and IMAGES images of each defect are used for the test. Prints
AUROCs with 95 % bootstrap intervals, and writes the section `anomaly` of RESULTS.md.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anomaly_images
import numpy as np
import results
import torch
from anomaly_images import DRAWINGS, SIDE, TEXTURES, Pixels
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from artgen.engine import metrics
from artgen.engine.anomaly.detector import AnomalyDetector
from artgen.engine.anomaly.statistics import TOP_FRACTION, AnomalyMap, score_without_fit
from artgen.events import no_op
from artgen.jobs.anomaly import Anomaly, prepare_anomaly_job

NUM_FIT = 20
KINDS = (*TEXTURES, *DRAWINGS)
DEFECTS = {"patch": "replaced patch", "texture": "changed texture", "object": "object of another class"}
PIXEL_STRIDE = 4
"""Stride of the pixels for the pixel-level AUROC."""
BOOTSTRAP_SAMPLES = 200
"""Bootstrap samples over images."""

Maps = NDArray[np.float32]
Detector = Callable[[Pixels], tuple[float, Maps]]
"""Function: image -> score, and anomaly map of shape (128, 128)."""


def auroc(normal: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the probability that a value of `other` is larger than one of `normal` (Mann-Whitney U)."""
    ranks = rankdata(np.concatenate([normal, other]))
    count = len(other)
    return float((ranks[len(normal) :].sum() - count * (count + 1) / 2) / (len(normal) * count))


def artgen_detectors(fit: list[Pixels], **settings: Any) -> dict[str, Detector]:
    """Return artgen's detectors with and without a fit on normal images."""
    with TemporaryDirectory() as folder:
        for number, pixels in enumerate(fit):
            to_image(pixels).save(Path(folder) / f"{number}.png")
        detector = AnomalyDetector(prepare_anomaly_job(Anomaly(fit=Path(folder), device="cpu", **settings)), no_op)
        normal = detector.fit()
    comparisons: dict[int, Any] = {}

    def compare(pixels: Pixels) -> Any:
        if id(pixels) not in comparisons:
            comparisons[id(pixels)] = detector.compare(to_image(pixels))
        return comparisons[id(pixels)]

    return {
        "with --fit": lambda pixels: upscale(normal.statistics.score(compare(pixels).maps)),
        "without --fit": lambda pixels: upscale(score_without_fit(compare(pixels))),
    }


def trained_autoencoder(fit: list[Pixels], steps: int = 400) -> dict[str, Detector]:
    """Train a convolutional autoencoder (compression 32:1) on the normal images with flips and shifts."""
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
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    tensors, random = torch.stack([to_tensor(each) for each in fit]), np.random.default_rng(0)
    for _ in range(steps):
        batch = tensors[random.integers(0, len(tensors), 8)]
        batch = torch.roll(batch, tuple(random.integers(-8, 9, 2)), (2, 3))
        batch = batch.flip(3) if random.random() < 0.5 else batch
        loss = (network(batch) - batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return error_detectors(network, fit)


def bundled_autoencoder(fit: list[Pixels]) -> dict[str, Detector]:
    """Return detectors with the VAE of the bundled text-to-image model."""
    from diffusers import AutoencoderKL

    from artgen.registry.catalog import ASSETS_FOLDER

    vae = AutoencoderKL.from_pretrained(ASSETS_FOLDER / "tiny", subfolder="vae").eval()
    return error_detectors(lambda batch: vae.decode(vae.encode(batch).latent_dist.mode()).sample, fit)


def error_detectors(reconstruct: Callable[[torch.Tensor], torch.Tensor], fit: list[Pixels]) -> dict[str, Detector]:
    """Return detectors by squared reconstruction error: plain, and standardized per pixel over the normal images."""

    def error(pixels: Pixels) -> Maps:
        with torch.no_grad():
            batch = to_tensor(pixels)[None]
            squared = (reconstruct(batch) - batch).square().mean(1)[0].numpy()
        smoothed: Maps = gaussian_filter(squared, 4)
        return smoothed

    errors = np.stack([error(each) for each in fit])
    mean, deviation = errors.mean(0), errors.std(0) + errors.std() * 0.1
    return {
        "plain": lambda pixels: top_mean(error(pixels)),
        "standardized": lambda pixels: top_mean(np.abs(error(pixels) - mean) / deviation),
    }


def top_mean(errors: Maps) -> tuple[float, Maps]:
    """Return the mean of the largest errors, as artgen computes it, and the errors."""
    return float(np.sort(errors, axis=None)[-round(TOP_FRACTION * errors.size) :].mean()), errors


def upscale(anomaly_map: AnomalyMap) -> tuple[float, Maps]:
    """Return the score and the map at the image size."""
    cells = Image.fromarray(anomaly_map.cells.astype(np.float32))
    return anomaly_map.score, np.asarray(cells.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)


def to_image(pixels: Pixels) -> Image.Image:
    """Return an RGB image."""
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def to_tensor(pixels: Pixels) -> torch.Tensor:
    """Return a tensor of shape (3, 128, 128), -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))) / 127.5 - 1


def measure(kind: str, count: int) -> dict[str, dict[str, Any]]:
    """Return for one kind of image: method -> defect -> image and pixel AUROCs, of all images and of each bootstrap."""
    torch.set_num_threads(1)
    metrics.encoder_features(np.zeros((16, 16, 3), np.float32))
    images = anomaly_images.create_images(kind, NUM_FIT, count)
    detectors: dict[str, Detector] = {}
    for name, variants in (
        ("artgen, pixel", artgen_detectors(images.fit)),
        ("autoencoder", trained_autoencoder(images.fit)),
        ("bundled autoencoder", bundled_autoencoder(images.fit)),
    ):
        detectors |= {f"{name}, {variant}": detect for variant, detect in variants.items()}
    found = {name: _measure_detector(detect, images, tuple(DEFECTS)) for name, detect in detectors.items()}
    if kind in DRAWINGS:
        latent = artgen_detectors(images.fit, prompt=DRAWINGS[kind], model="tiny")
        found |= {
            f"artgen, latent, {variant}": _measure_detector(detect, images, ("object",))
            for variant, detect in latent.items()
        }
    return found


def _measure_detector(detect: Detector, images: anomaly_images.ImageSet, defects: tuple[str, ...]) -> dict[str, Any]:
    random = np.random.default_rng(0)
    normal = [detect(each) for each in images.test]
    found = {}
    for defect in defects:
        cases = images.defects[defect]
        other = [detect(each.pixels) for each in cases]
        masks = [None if each.mask is None else each.mask[::PIXEL_STRIDE, ::PIXEL_STRIDE] for each in cases]
        values: list[tuple[float, float]] = []
        for sample in range(BOOTSTRAP_SAMPLES + 1):
            first, second = (
                random.integers(0, len(part), len(part)) if sample else np.arange(len(part)) for part in (normal, other)
            )
            image_auroc = auroc(np.array([normal[i][0] for i in first]), np.array([other[i][0] for i in second]))
            values.append((image_auroc, _pixel_auroc(normal, other, masks, first, second)))
        found[defect] = {"image": [each[0] for each in values], "pixel": [each[1] for each in values]}
    return found


def _pixel_auroc(normal: Any, other: Any, masks: Any, first: Any, second: Any) -> float:
    if masks[0] is None:
        return float("nan")
    clean = [normal[i][1][::PIXEL_STRIDE, ::PIXEL_STRIDE].ravel() for i in first]
    maps = [other[i][1][::PIXEL_STRIDE, ::PIXEL_STRIDE] for i in second]
    chosen = [masks[i] for i in second]
    clean += [each[~mask] for each, mask in zip(maps, chosen, strict=True)]
    return auroc(np.concatenate(clean), np.concatenate([each[mask] for each, mask in zip(maps, chosen, strict=True)]))


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table: a row per method, the mean AUROCs over all kinds for each defect, with intervals."""
    methods = list(dict.fromkeys(name for each in found.values() for name in each))
    headings = [f"{label}, {level}" for label in DEFECTS.values() for level in ("images", "pixels")]
    lines = [f"| | {' | '.join(headings)} |", "|---" * (len(headings) + 1) + "|"]
    for method in methods:
        cells = []
        for defect in DEFECTS:
            for level in ("image", "pixel"):
                values = [each[method][defect][level] for each in found.values() if defect in each.get(method, {})]
                cells.append(_cell(values))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[list[float]]) -> str:
    values_by_kind = np.array([each for each in values if not np.isnan(each[0])])
    if not len(values_by_kind):
        return ""
    mean = values_by_kind.mean(0)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return f"{mean[0]:.3f} ({low:.2f}-{high:.2f})"


def table_by_kind(found: dict[str, dict[str, Any]], method: str) -> str:
    """Return a Markdown table with a row per kind of image for one method."""
    headings = [f"{label}, {level}" for label in DEFECTS.values() for level in ("images", "pixels")]
    lines = [f"| {method} | {' | '.join(headings)} |", "|---" * (len(headings) + 1) + "|"]
    for kind, each in found.items():
        cells = [_cell([each[method][defect][level]]) for defect in DEFECTS for level in ("image", "pixel")]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    count, workers = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 12), (2, 2)))
    with ProcessPoolExecutor(workers) as pool:
        found = dict(zip(KINDS, pool.map(measure, KINDS, [count] * len(KINDS)), strict=True))
    text = f"""## `anomaly.py`: AUROC of images with a defect and of defect pixels

{results.today()}, {results.machine()}.
Four computed textures and two classes of drawings of the bundled model, 128x128.
Of each kind: {NUM_FIT} normal images for the fit, {count} other normal images, and {count} images of each defect: a
square of 24 to 36 pixels from the same region of another image (drawings: of another class), a smoothed or roughened
spot of 13 to 19 pixels radius with the same mean color, and an object of 30 to 44 pixels on a texture, or a drawing of
another class. Parentheses contain 95 % intervals (bootstrap over images). The autoencoder is convolutional and was
trained on the same {NUM_FIT} images. All scores are the mean of the largest 2 % of a map. The method was developed on
other images of the same kinds.

{table(found)}

{table_by_kind(found, "artgen, pixel, with --fit")}
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
