"""Pictures drawn on the way, always from the same words and noise, and the sheet that shows how they change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from artgen import sheets
from artgen.engine import loading
from artgen.engine.reconstructing import reconstruct
from artgen.errors import OutputError
from artgen.outputs import encode_plain, write_over
from artgen.registry import ResolvedModel
from artgen.training.collection import Example, open_example
from artgen.training.results import Layout

ROWS = 40
"""Snapshots on the sheet; of more, the first and the last ones."""


@torch.no_grad()
def draw(pipe: Any, model: ResolvedModel, prompts: Sequence[str], seed: int) -> list[Image.Image]:
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
        with loading.quiet():
            pipe.vae.to(pipe.unet.dtype)
            return [
                pipe(
                    prompt,
                    num_inference_steps=model.steps,
                    guidance_scale=model.guidance_scale,
                    width=model.native[0],
                    height=model.native[1],
                    generator=torch.Generator().manual_seed((seed + number) % 2**32),
                ).images[0]
                for number, prompt in enumerate(prompts)
            ]
    finally:
        with loading.quiet():
            pipe.vae.to(precision)
        for part, mode in modes.items():
            part.train(mode)


def keep(layout: Layout, step: int, pictures: Sequence[Image.Image], names: Sequence[str], title: str) -> Path:
    """Saves the pictures of one snapshot and draws the sheet of all anew.

    Args:
        layout: where.
        step: after which they were drawn.
        pictures, names: one for each column.
        title: above the sheet.

    Raises:
        OutputError: they cannot be written.
    """
    folder = layout.samples / f"step-{step:07d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures, 1):
            write_over(folder / f"{number}.png", _png(picture))
        steps = sorted(path for path in layout.samples.glob("step-*") if path.is_dir())
        steps = steps if len(steps) <= ROWS else [*steps[:1], *steps[-(ROWS - 1) :]]
        rows = [[_cell(path / f"{number}.png") for number in range(1, len(names) + 1)] for path in steps]
        sides = [str(int(path.name.partition("-")[2])) for path in steps]
        sheet = sheets.Sheet(rows, title, list(names), sides)
        write_over(layout.sheet, _png(sheets.draw_sheet(sheet, cell=192)))
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written: {error.strerror or error}.", "Make room.") from error
    return layout.sheet


def _cell(path: Path) -> sheets.Cell:
    return sheets.Cell(path if path.is_file() else None)


def _png(picture: Image.Image) -> bytes:
    return encode_plain(picture, "png")


@torch.no_grad()
def rebuild(vae: Any, examples: Sequence[Example], resolution: int) -> list[Image.Image]:
    """Pictures, each beside what the autoencoder makes of it.

    Args:
        vae: with the weights as they are.
        examples: pictures of the training.
        resolution: the longer side of what is shown, in pixels.
    """
    pictures = []
    for example in examples:
        given = open_example(example)
        given.thumbnail((resolution, resolution))
        pair = Image.new("RGB", (2 * given.width, given.height))
        pair.paste(given, (0, 0))
        pair.paste(reconstruct(vae, given), (given.width, 0))
        pictures.append(pair)
    return pictures
