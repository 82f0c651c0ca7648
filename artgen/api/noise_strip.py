"""Add increasing noise to an image, for the command and the function `noise`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api.saved_image import NotebookImage, save_image
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener
from artgen.spec.fields import describe_value
from artgen.spec.value_checks import check_choice, check_range
from artgen.system import process

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.diffusion.noise_schedule import NoiseLevel
    from artgen.registry import ResolvedModel

SCHEDULES = ("linear", "scaled-linear", "cosine", "flow")
SPACES = ("pixel", "latent")

MIN_STEPS = 2
MAX_STEPS = 50
MIN_CELL_PX = 32
MAX_CELL_PX = 2048
MAX_SEED = 2**64 - 1

NUM_ANIMATION_FRAMES = 33
"""Number of noise levels in an animation, independent of the strip."""

MIN_LABELED_CELL_PX = 96
"""Minimum width of a cell, in pixels, so that the label fits."""


@dataclass(frozen=True)
class NoiseTime:
    """Describe one image of the strip.

    Attributes:
        t: timestep, 0 (image) to 1000 (noise); None if unknown.
        signal: factor of the image.
        noise: factor of the noise.
        snr_db: signal-to-noise ratio in dB; None without noise and without signal.
    """

    t: int | None
    signal: float
    noise: float
    snr_db: float | None


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """Store the settings of a strip.

    Attributes:
        steps: number of images on the strip, 2 to 50.
        schedule: one of `SCHEDULES`; None: linear, or the schedule of the model.
        seed: random seed, 0 to 2^64-1.
        space: add noise to the `pixel` values, or to the `latent` values of a model.
        model: model whose noise schedule and autoencoder are used.
        cell: maximum width and height of each image in pixels, 32 to 2048.

    Raises:
        UsageError: a value is outside its limits.
    """

    steps: int = 8
    schedule: str | None = None
    seed: int = 0
    space: str = "pixel"
    model: str | None = None
    cell: int = 256

    def __post_init__(self) -> None:
        if self.schedule is not None:
            check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("space", self.space, SPACES)
        check_range("steps", self.steps, MIN_STEPS, MAX_STEPS)
        check_range("seed", self.seed, 0, MAX_SEED)
        check_range("cell", self.cell, MIN_CELL_PX, MAX_CELL_PX)
        if not isinstance(self.model, str | os.PathLike | None):
            raise UsageError(f"model must be text, not {describe_value(self.model)}.")


@dataclass(frozen=True)
class NoiseJob:
    """Store the image and the noise levels of a strip.

    Attributes:
        settings: settings.
        image: input image, scaled down to the size of a cell or of the model.
        model: model whose latents or schedule are used; None without a model.
        config: configuration of the noise schedule.
    """

    settings: NoiseSettings
    image: "Image.Image"
    model: "ResolvedModel | None"
    config: Mapping[str, Any]

    @property
    def latent_model(self) -> "ResolvedModel | None":
        """Return the model that encodes the image; None for noise on pixels."""
        return self.model if self.settings.space == "latent" else None

    def levels(self) -> "list[NoiseLevel[float]]":
        """Return the noise levels of the strip."""
        return self._levels(self.settings.steps)

    def times(self) -> tuple[NoiseTime, ...]:
        """Return the descriptions of the noise levels of the strip."""
        return tuple(NoiseTime(level.timestep, level.alpha, level.sigma, level.snr_db) for level in self.levels())

    def _levels(self, count: int) -> "list[NoiseLevel[float]]":
        with process.paused_gc():
            from artgen.engine.diffusion import noise_schedule

        return noise_schedule.noise_levels(self.config, count)

    def run(self, listener: Listener, *, frames: bool) -> "NoiseStrip":
        """Add noise to the image.

        Args:
            listener: receives events.
            frames: also return the frames of an animation.
        """
        count = self.settings.steps
        levels = [*self.levels(), *(self._levels(NUM_ANIMATION_FRAMES) if frames else [])]
        noisy = _add_noise(self.image, levels, self.settings.seed, self.latent_model, listener)
        cell_px = max(MIN_LABELED_CELL_PX, min(self.settings.cell, max(self.image.size)))
        strip = _render_strip(noisy[:count], levels[:count], cell_px)
        return NoiseStrip(strip, tuple(noisy[:count]), self.times(), tuple(noisy[count:]))


@dataclass(frozen=True)
class NoiseStrip(NotebookImage):
    """Represent an image with increasing noise.

    Attributes:
        image: labeled strip, mode RGB.
        images: the noisy images, in order; the first has no noise.
        times: noise level of each of these images.
        frames: images of an animation with 33 noise levels; empty without `frames`.
        notes: notes of the call, one sentence each.
        source_type: digital source type of IPTC, if the input image has a mark of AI generation; otherwise empty.
    """

    image: "Image.Image"
    images: "tuple[Image.Image, ...]"
    times: tuple[NoiseTime, ...]
    frames: "tuple[Image.Image, ...]" = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    source_type: str = ""

    def save(self, path: str | os.PathLike[str] = "noise.png", *, overwrite: bool = False) -> Path:
        """Write the strip, and return its path.

        Args:
            path: PNG, JPEG or WebP file.
            overwrite: replace an existing file.

        Raises:
            UsageError: the path has another type, or the suffix is not an image suffix.
            OutputError: the file exists already, or cannot be written.
        """
        return save_image(self, path, "noise.png", "A strip", overwrite=overwrite)


def prepare_noise(
    image: "Image.Image", settings: NoiseSettings, listener: Listener, *, download: bool = True
) -> NoiseJob:
    """Resolve the model and the noise schedule of a strip.

    Args:
        image: input image, mode RGB.
        settings: settings.
        listener: receives events.
        download: download a model that is not on the disk.

    Raises:
        ModelUnavailableError: the model is unknown, or its architecture is not supported.
    """
    model = _resolve_model(settings.model, settings.space, listener, download=download)
    max_side = max(model.native_size) if model and settings.space == "latent" else settings.cell
    return NoiseJob(settings, _shrink_to_fit(image, max_side), model, _scheduler_config(settings.schedule, model))


def _resolve_model(name: str | None, space: str, listener: Listener, *, download: bool) -> "ResolvedModel | None":
    """Return the model whose latents or schedule are used, or None."""
    if name is None and space == "pixel":
        return None
    from artgen import registry

    return registry.resolve_usable_model(
        str(name or registry.default_model(listener=listener)),
        lambda model: _check_architecture(model, space),
        download=download,
        listener=listener,
    )


def _check_architecture(model: "ResolvedModel", space: str) -> None:
    if space == "latent" and not model.pipeline_entry.supports("latent-noise"):
        raise ModelUnavailableError(
            f"Cannot add noise to the latents of '{model.name}': the architecture is not supported.",
            "Use --space pixel.",
        )


def _scheduler_config(schedule: str | None, model: "ResolvedModel | None") -> Mapping[str, Any]:
    if schedule is not None or model is None:
        from artgen.engine.diffusion.noise_schedule import SCHEDULE_CONFIGS

        return SCHEDULE_CONFIGS[schedule or "linear"]
    from artgen import registry

    return dict(registry.read_scheduler_config(registry.single_file_config(model) if model.is_file else model.path))


def _add_noise(
    image: "Image.Image",
    levels: "list[NoiseLevel[float]]",
    seed: int,
    model: "ResolvedModel | None",
    listener: Listener,
) -> "list[Image.Image]":
    if model is None:
        from artgen.engine.diffusion import pixel_forward

        return pixel_forward.add_pixel_noise(image, levels, seed)
    with process.paused_gc():
        from artgen.engine.diffusion import latent_forward

    return latent_forward.add_latent_noise(image, levels, seed, model, listener)


def _shrink_to_fit(image: "Image.Image", max_side: int) -> "Image.Image":
    """Resize the image before noise is added: resizing afterwards would average the noise."""
    factor = min(1.0, max_side / max(image.size))
    if factor == 1:
        return image
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height))


def _render_strip(
    noisy_images: "Sequence[Image.Image]", levels: "Sequence[NoiseLevel[float]]", cell_px: int
) -> "Image.Image":
    from artgen.images.contact_sheet import Cell, ContactSheet, render_sheet

    cells = [Cell(None, _level_label(level), noisy) for level, noisy in zip(levels, noisy_images, strict=True)]
    return render_sheet(ContactSheet([cells]), cell_px=cell_px)


def _level_label(level: "NoiseLevel[float]") -> str:
    if not level.sigma:
        label = "no noise"
    else:
        label = f"SNR {level.snr_db:.1f} dB" if level.snr_db is not None else "only noise"
    return f"t = {level.timestep}\n{label}"
