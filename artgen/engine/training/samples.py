"""Pictures drawn on the way, always from the same words and noise, and the sheet that shows how they change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from artgen.dataset.read import TrainingImage, open_training_image
from artgen.engine.loading import pipeline_cache
from artgen.engine.reconstruct import vae_roundtrip
from artgen.errors import OutputError
from artgen.images import contact_sheet
from artgen.jobs.training_layout import TrainingPaths
from artgen.outputs import atomic_replace, encode_without_metadata
from artgen.registry import ResolvedModel

MAX_SHEET_ROWS = 40
"""Snapshots on the sheet; of more, the first and the last ones."""


@torch.no_grad()
def sample_images(pipe: Any, model: ResolvedModel, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    """A picture for each prompt, with the weights as they are, at the size that the model was trained for.

    Args:
        pipe: the pipeline, part of which is being trained; it comes back as it was.
        model: its steps and guidance are used.
        prompts: one for each picture.
        seed: of the first; the others count up.
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


def save_samples(
    paths: TrainingPaths, step: int, images: Sequence[Image.Image], column_labels: Sequence[str], title: str
) -> Path:
    """Saves the pictures of one snapshot and draws the sheet of all anew.

    Args:
        paths: where.
        step: after which they were drawn.
        images, column_labels: one for each column.
        title: above the sheet.

    Raises:
        OutputError: they cannot be written.
    """
    folder = paths.samples_dir / f"step-{step:07d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(images, 1):
            atomic_replace(folder / f"{number}.png", _encode_png(picture))
        steps = sorted(path for path in paths.samples_dir.glob("step-*") if path.is_dir())
        steps = steps if len(steps) <= MAX_SHEET_ROWS else [*steps[:1], *steps[-(MAX_SHEET_ROWS - 1) :]]
        rows = [[_sheet_cell(path / f"{number}.png") for number in range(1, len(column_labels) + 1)] for path in steps]
        sides = [str(int(path.name.partition("-")[2])) for path in steps]
        sheet = contact_sheet.ContactSheet(rows, title, list(column_labels), sides)
        atomic_replace(paths.samples_sheet, _encode_png(contact_sheet.render_sheet(sheet, cell_px=192)))
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written: {error.strerror or error}.", "Make room.") from error
    return paths.samples_sheet


def _sheet_cell(path: Path) -> contact_sheet.Cell:
    return contact_sheet.Cell(path if path.is_file() else None)


def _encode_png(image: Image.Image) -> bytes:
    return encode_without_metadata(image, "png")


@torch.no_grad()
def reconstruct_images(vae: Any, training_images: Sequence[TrainingImage], resolution: int) -> list[Image.Image]:
    """Pictures, each beside what the autoencoder makes of it.

    Args:
        vae: with the weights as they are.
        training_images: pictures of the training.
        resolution: the longer side of what is shown, in pixels.
    """
    pictures = []
    for example in training_images:
        given = open_training_image(example)
        given.thumbnail((resolution, resolution))
        pair = Image.new("RGB", (2 * given.width, given.height))
        pair.paste(given, (0, 0))
        pair.paste(vae_roundtrip(vae, given), (given.width, 0))
        pictures.append(pair)
    return pictures
