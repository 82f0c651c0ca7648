"""Generate sample images during training, always from the same prompts and noise, and a contact sheet of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from artgen.dataset.read import TrainingImage, open_training_image
from artgen.engine.loading import pipeline_cache
from artgen.engine.reconstruct import vae_roundtrip
from artgen.images import contact_sheet
from artgen.jobs.training_layout import TrainingPaths
from artgen.outputs import encode_without_metadata
from artgen.registry import ResolvedModel
from artgen.system.files import write_atomically

MAX_SHEET_ROWS = 40
"""Maximum number of sheet rows. If there are more steps, the sheet shows the first and the last ones."""

NUM_DDPM_STEPS = 50
"""Steps of the sample images of a model without prompts. After a short training, 50 steps of DDPM give better images
than 50 steps of DDIM, which leave noise (`examples/train_pixels`)."""


@torch.no_grad()
def sample_images(pipe: Any, model: ResolvedModel, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    """Generate an image per prompt with the current weights, at the native size of the model.

    Args:
        pipe: the pipeline that is trained. Its modes and precision are restored.
        model: defines the number of steps and the guidance scale.
        prompts: one prompt per image.
        seed: seed of the first image; the seed increases by 1 for each further image.
    """
    modes = {part: part.training for part in pipe.components.values() if isinstance(part, torch.nn.Module)}
    precision = pipe.vae.dtype
    try:
        for part in modes:
            part.eval()
        with pipeline_cache.silence_libraries():
            pipe.vae.to(pipe.unet.dtype)
            return [
                pipe(
                    prompt,
                    num_inference_steps=model.steps,
                    guidance_scale=model.guidance_scale,
                    width=model.native_size[0],
                    height=model.native_size[1],
                    generator=torch.Generator().manual_seed((seed + number) % 2**32),
                ).images[0]
                for number, prompt in enumerate(prompts)
            ]
    finally:
        with pipeline_cache.silence_libraries():
            pipe.vae.to(precision)
        for part, mode in modes.items():
            part.train(mode)


@torch.no_grad()
def sample_unconditional(pipe: Any, count: int, seed: int) -> list[Image.Image]:
    """Generate images with the current weights of a model without prompts, with `NUM_DDPM_STEPS` steps.

    Args:
        pipe: diffusers' `DDPMPipeline`. The mode of its UNet is restored.
        count: number of images.
        seed: seed of the first image; the seed increases by 1 for each further image.
    """
    unet, was_training = pipe.unet, pipe.unet.training
    try:
        with pipeline_cache.silence_libraries():
            unet.eval()
            pipe.set_progress_bar_config(disable=True)
            generators = [torch.Generator().manual_seed((seed + number) % 2**32) for number in range(count)]
            images: list[Image.Image] = pipe(count, generators, num_inference_steps=NUM_DDPM_STEPS).images
            return images
    finally:
        unet.train(was_training)


def save_samples(
    paths: TrainingPaths, step: int, images: Sequence[Image.Image], column_labels: Sequence[str], title: str
) -> Path:
    """Save the sample images of one step and update the contact sheet.

    Args:
        paths: paths of the training.
        step: training step of the images.
        images: one image per column of the sheet.
        column_labels: one label per column.
        title: title of the sheet.

    Returns:
        The path of the contact sheet.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = paths.samples_dir / f"step-{step:07d}"
    for number, image in enumerate(images, 1):
        write_atomically(folder / f"{number}.png", _encode_png(image))
    steps = sorted(path for path in paths.samples_dir.glob("step-*") if path.is_dir())
    steps = steps if len(steps) <= MAX_SHEET_ROWS else [*steps[:1], *steps[-(MAX_SHEET_ROWS - 1) :]]
    rows = [[_sheet_cell(path / f"{number}.png") for number in range(1, len(column_labels) + 1)] for path in steps]
    row_labels = [str(int(path.name.partition("-")[2])) for path in steps]
    sheet = contact_sheet.ContactSheet(rows, title, list(column_labels), row_labels)
    write_atomically(paths.samples_sheet, _encode_png(contact_sheet.render_sheet(sheet, cell_px=192)))
    return paths.samples_sheet


def _sheet_cell(path: Path) -> contact_sheet.Cell:
    return contact_sheet.Cell(path if path.is_file() else None)


def _encode_png(image: Image.Image) -> bytes:
    return encode_without_metadata(image, "png")


@torch.no_grad()
def reconstruct_images(vae: Any, training_images: Sequence[TrainingImage], resolution: int) -> list[Image.Image]:
    """Return images that show a training image (left) and its reconstruction (right).

    Args:
        vae: the autoencoder that is trained.
        training_images: images of the data set.
        resolution: maximum side of an image, in pixels.
    """
    pairs = []
    for training_image in training_images:
        original = open_training_image(training_image)
        original.thumbnail((resolution, resolution))
        pair = Image.new("RGB", (2 * original.width, original.height))
        pair.paste(original, (0, 0))
        pair.paste(vae_roundtrip(vae, original), (original.width, 0))
        pairs.append(pair)
    return pairs
