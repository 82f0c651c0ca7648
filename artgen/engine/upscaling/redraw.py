"""Generate the details of an enlarged image with img2img on overlapping tiles.

The image is enlarged with Lanczos. Each tile is one image of img2img with a low strength. The prompt is empty by
default, because a prompt that describes the image would put its subject into each tile. Neighboring tiles are blended.
Each area of a tile has the mean color of the enlarged image, unless the image is one tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from artgen import images
from artgen.engine.batch_runner import BatchRunner
from artgen.engine.generation_context import GenerationContext
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling.pipeline_call import ProgressReporter
from artgen.engine.upscaling.properties import to_rgb, with_invertible_profile, with_properties_of
from artgen.engine.upscaling.resampling import finished_image
from artgen.engine.upscaling.tiles import Tile, TileGrid, blend_tiles
from artgen.events import Decoding, Event, Notice, PlanNote, StageStarted, StepEvent
from artgen.jobs.batch_size import ExactBatchSize, default_batch_size
from artgen.jobs.job import GenerationJob, UpscaleJob
from artgen.spec.records import PROVENANCE_FIELDS
from artgen.spec.settings import MAX_SEED, options_of

_FACTS_OF_TILES = frozenset({"width", "height", "batch_size", "fallbacks", "filter_results"})
"""Fields of the record of a tile that are not copied to the record of the result."""

COLOR_AREAS_PER_SIDE = 8
"""Number of areas along the shorter side of a tile whose mean colors are corrected."""

SHARPENING_RADIUS_PX = 1.25
"""Radius of the unsharp mask in pixels of the input image."""

_SELECTED_SETTINGS = ("device", "dtype", "offload", "vae_tiling")
"""Settings whose values are selected during a pipeline call."""


class _TileFailed(Exception):
    """Stop the blending after a failed tile."""

    def __init__(self, failure: FailedImage) -> None:
        super().__init__()
        self.failure = failure


@dataclass
class _Tiles:
    """Generate the tiles of an image.

    Attributes:
        tile_job: job of each tile, without its image.
        image: enlarged image, mode RGB.
        grid: positions of the tiles.
        progress: receives the finished tiles.
        context: state shared with other calls.
        done: number of finished tiles.
        first: result of the first tile.
        fallbacks: fallbacks of all tiles.
        filter_results: results of the filters for all tiles.
    """

    tile_job: GenerationJob
    image: Image.Image
    grid: TileGrid
    progress: ProgressReporter
    context: GenerationContext
    done: int = 0
    first: GeneratedImage | None = None
    fallbacks: dict[str, None] = field(default_factory=dict)
    filter_results: dict[str, None] = field(default_factory=dict)
    _reported: set[Event] = field(default_factory=set)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the pixels of each tile, shape (height, width, 3).

        Raises:
            _TileFailed: a tile could not be generated.
        """
        tiles = list(self.grid)
        batch_size = min(default_batch_size(self.tile_job), 1 << (len(tiles) - 1).bit_length())
        self._report_progress()
        for start in range(0, len(tiles), batch_size):
            jobs = [self._job(start + index, tile) for index, tile in enumerate(tiles[start : start + batch_size])]
            runner = BatchRunner(jobs, ExactBatchSize(batch_size), None, self.context, self._on_event)
            position = 0
            while position < len(jobs):
                outcomes = runner.run_next_batch(position)
                position += len(outcomes)
                for outcome in outcomes:
                    pixels = self._finish(outcome)
                    box = tiles[self.done - 1].box
                    yield with_colors_of(pixels, self.image.crop(box)) if len(tiles) > 1 else pixels

    def _job(self, index: int, tile: Tile) -> GenerationJob:
        """Return the job of a tile. Each tile has its own noise, so that no pattern repeats."""
        seed = (int(self.tile_job.request.seed or 0) + index) % (MAX_SEED + 1)
        request = self.tile_job.request.replace(seed=seed)
        # Control images have the size of the result.
        controls = tuple(replace(each, image=each.image.crop(tile.box)) for each in self.tile_job.controls)
        return replace(self.tile_job, request=request, image=self.image.crop(tile.box), controls=controls)

    def _finish(self, outcome: GeneratedImage | FailedImage) -> NDArray[np.uint8]:
        if isinstance(outcome, FailedImage):
            raise _TileFailed(outcome)
        self.first = self.first or outcome
        self.fallbacks |= dict.fromkeys(outcome.record.get("fallbacks") or ())
        self.filter_results |= dict.fromkeys(outcome.record.get("filter_results") or ())
        self.done += 1
        self._report_progress()
        return np.asarray(outcome.image)

    def _report_progress(self) -> None:
        self.progress.on_tile(self.done, self.grid.num_tiles)

    def _on_event(self, event: Event) -> None:
        """Forward an event. The steps of a tile are reported as the number of finished tiles, notes once."""
        if isinstance(event, StepEvent | Decoding | StageStarted):
            if self.first is not None or isinstance(event, StepEvent):
                self._report_progress()
            return
        if isinstance(event, Notice | PlanNote):
            if event in self._reported:
                return
            self._reported.add(event)
        self.progress.listener(event)


def with_colors_of(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.float32]:
    """Return the pixels of a tile with the local mean colors of its input. Otherwise the colors of tiles can differ.

    Source: the color correction of StableSR (Wang et al., arXiv 2305.07015), with means of areas in place of wavelets.

    Args:
        pixels: generated tile, shape (H, W, 3).
        image: input of the tile, mode RGB, same size.

    Returns:
        Array of shape (H, W, 3). Values can be slightly outside of 0 to 255.
    """
    change = np.asarray(image).astype(np.float32) - pixels
    area = max(1, min(image.size) // COLOR_AREAS_PER_SIDE)
    small = max(1, image.width // area), max(1, image.height // area)
    for channel in range(change.shape[2]):
        means = Image.fromarray(change[..., channel]).resize(small, Image.Resampling.BOX)
        change[..., channel] = np.asarray(means.resize(image.size, Image.Resampling.BICUBIC))
    return pixels + change


def redraw(
    job: UpscaleJob, tile_job: GenerationJob, progress: ProgressReporter, context: GenerationContext
) -> GeneratedImage | FailedImage:
    """Return the enlarged image of a job with generated details, or its failure.

    Args:
        job: job of an `Upscale` request.
        tile_job: img2img job of a tile.
        progress: receives the finished tiles.
        context: state shared with other calls.
    """
    source = with_invertible_profile(images.resize_lossless(job.source, job.size))
    image = to_rgb(source)
    factor = job.width / job.source.image.width
    pixel_side = int(factor) if factor.is_integer() else 1
    grid = TileGrid(*job.size, *tile_job.size, job.request.tile_overlap or 0, pixel_side=pixel_side)
    tiles = _Tiles(tile_job, _sharpened(image, job), grid, progress, context)
    try:
        generated = Image.fromarray(blend_tiles(grid, tiles))
    except _TileFailed as error:
        return replace(error.failure, request=job.request)
    result = with_properties_of(source, generated, before=image)
    settings, facts = _shared_facts(job, tiles)
    return finished_image(job, result, settings, facts)


def _sharpened(image: Image.Image, job: UpscaleJob) -> Image.Image:
    if not job.request.sharpen:
        return image
    factor = max(1.0, job.width / job.source.image.width)
    return image.filter(ImageFilter.UnsharpMask(SHARPENING_RADIUS_PX * factor, job.request.sharpen, 0))


def _shared_facts(job: UpscaleJob, tiles: _Tiles) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings and the provenance of the tiles that also describe the result."""
    if tiles.first is None:
        raise ValueError("no tile was generated")
    record, request = tiles.first.record, tiles.first.request
    settings = {name: getattr(request, name) for name in _SELECTED_SETTINGS}
    names = PROVENANCE_FIELDS.keys() - _FACTS_OF_TILES - options_of(type(job.request)).keys() - job.provenance.keys()
    facts = {name: value for name, value in record.items() if name in names and name != "task"}
    return settings, {**facts, "fallbacks": list(tiles.fallbacks), "filter_results": list(tiles.filter_results)}
