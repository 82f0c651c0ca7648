"""Compare a denoised image with the noisy image and with a reference."""

from pathlib import Path
from typing import TYPE_CHECKING

from artgen import images
from artgen.errors import InputFileError
from artgen.jobs.job import DenoiseJob, Job

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.results import GeneratedImage
    from artgen.images.contact_sheet import ContactSheet

MAX_COMPARED_PX = 768
"""Maximum width and height of an image in the comparison, in pixels. Larger images are cropped at the center."""

REMOVED_NOISE_GAIN = 2
"""Factor that amplifies the removed noise in the comparison."""

METRIC_FORMATS = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.4f}"),
    "vae_feature_distance": ("VAE feature distance", "{:.4f}"),
}

Metrics = dict[str, dict[str, float]]
"""Metrics `before` and `after` denoising: `psnr` in dB, `ssim`, `vae_feature_distance`. Empty without a reference."""


class DenoiseComparison:
    """Measure a denoised image, and show it beside the noisy image.

    Attributes:
        notes: notes about the reference.
    """

    def __init__(self, reference_path: Path | None) -> None:
        """Load the reference, if there is one.

        Raises:
            InputFileError: the reference cannot be read.
        """
        self.notes: tuple[str, ...] = ()
        self._reference_path = reference_path
        self._reference: Image.Image | None = None
        self._noisy: Image.Image | None = None
        if reference_path is not None:
            reference = images.load_lossless(reference_path)
            self._reference, _ = images.convert_to_srgb(reference.image, reference.low_bytes)
            self.notes = reference.notes

    def check_job(self, job: Job) -> None:
        """Store the noisy image, and check that the reference has its size.

        Raises:
            InputFileError: the sizes differ.
        """
        if isinstance(job, DenoiseJob):
            self._noisy, _ = images.convert_to_srgb(job.image, job.low_bytes)
        if self._reference is not None and self._reference.size != job.size:
            width, height = self._reference.size
            raise InputFileError(
                f"Cannot use the reference '{self._reference_path}': it is {width}x{height} pixels, "
                f"but the image is {job.width}x{job.height}.",
                "Use the noise-free version of the same image.",
            )

    def measure(self, result: "GeneratedImage") -> Metrics:
        """Return the metrics before and after denoising; empty without a reference."""
        if self._reference is None or self._noisy is None:
            return {}
        from artgen.engine.metrics import compare_images

        before, after = (compare_images(image, self._reference) for image in (self._noisy, _srgb(result)))
        return {"before": before, "after": after}

    def sheet(self, result: "GeneratedImage", metrics: Metrics) -> "tuple[ContactSheet, int]":
        """Return a sheet with the noisy image, the denoised image, the removed noise and the reference, and the size of
        its cells in pixels.
        """
        from PIL import ImageChops

        from artgen.images.contact_sheet import Cell, ContactSheet

        noisy, denoised = (_center_crop(image) for image in (self._noisy, _srgb(result)))
        removed = ImageChops.subtract(noisy, denoised, 1 / REMOVED_NOISE_GAIN, 128)
        panels = [("noisy", noisy), ("denoised", denoised), (f"removed noise x {REMOVED_NOISE_GAIN}", removed)]
        if self._reference is not None:
            panels.append(("reference", _center_crop(self._reference)))
        labels = {"noisy": metrics.get("before"), "denoised": metrics.get("after")}
        cells = [
            Cell(None, _cell_label(name, labels.get(name)), image, result.request.input_paths.get("image"))
            for name, image in panels
        ]
        return ContactSheet([cells]), max(256, *noisy.size)


def _srgb(result: "GeneratedImage") -> "Image.Image":
    return images.convert_to_srgb(result.image, result.low_bytes)[0]


def _cell_label(name: str, metrics: dict[str, float] | None) -> str:
    if metrics is None:
        return name
    lines = (f"{label} {value.format(metrics[key])}" for key, (label, value) in METRIC_FORMATS.items())
    return "\n".join([name, *lines])


def _center_crop(image: "Image.Image | None") -> "Image.Image":
    if image is None:
        raise TypeError("check_job was not called")
    width, height = (min(side, MAX_COMPARED_PX) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return images.drop_alpha(image).convert("RGB").crop((left, top, left + width, top + height))
