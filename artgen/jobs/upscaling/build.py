"""Convert the draft of a job that enlarges an image: to the img2img job of a tile for `--method redraw`, and back."""

from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from artgen.jobs.job import GenerationJob, UpscaleJob
from artgen.jobs.time_estimate import estimate_seconds
from artgen.jobs.upscaling.size import DEFAULT_FACTOR
from artgen.jobs.upscaling.tile_request import completed_request, tile_overlap, tile_request, tile_sides
from artgen.spec.requests import Img2Img
from artgen.spec.restoration_requests import Upscale
from artgen.system.counts import format_duration

if TYPE_CHECKING:
    from artgen.jobs.drafts import JobDraft


def to_tile(draft: "JobDraft") -> "JobDraft":
    """Return the draft of the tiles of a request for `--method redraw`. Other drafts are unchanged."""
    request = draft.request
    if not isinstance(request, Upscale) or not request.is_redraw:
        return draft
    return replace(draft, request=tile_request(request), upscale=request)


def with_tile_size(draft: "JobDraft") -> "JobDraft":
    """Set the size of the tiles, which depends on the model. Other drafts are unchanged.

    Raises:
        UsageError: the model does not support the size of the tiles.
    """
    result_size, model = draft.inputs.result_size, draft.entry.model
    if draft.upscale is None or result_size is None or model is None:
        return draft
    sides = tile_sides(draft.upscale, model)
    tile_overlap(draft.upscale, sides)
    width, height = (min(pair) for pair in zip(sides, result_size, strict=True))
    inputs = replace(draft.inputs, image=Image.new("RGB", (width, height)), source=None)
    return replace(draft, inputs=inputs, request=draft.request.replace(width=width, height=height))


def upscale_job(draft: "JobDraft", tile: GenerationJob | None) -> UpscaleJob:
    """Return the job of a complete draft.

    Args:
        draft: draft of the request or of its tiles.
        tile: job of a tile; None if no diffusion model is used.

    Raises:
        TypeError: the draft has no input image.
    """
    request, source, size = draft.upscale or draft.request, draft.inputs.lossless, draft.inputs.result_size
    if not isinstance(request, Upscale) or source is None or size is None:
        raise TypeError("the draft is not of a request that enlarges an image")
    notes = draft.notes
    if tile is not None and isinstance(tile.request, Img2Img):
        request = completed_request(request, tile.request, tile.model)
        seconds = estimate_seconds(tile.request, tile.model, size)
        if seconds is not None:
            notes += (f"{size[0]}x{size[1]} pixels take about {format_duration(seconds)} on this CPU.",)
    else:
        uses_seed = draft.upscaler is not None and draft.upscaler.is_diffusion
        request = request.replace(method=request.method or "lanczos", seed=request.seed if uses_seed else None)
    if request.by is None and request.target_size is None:
        request = request.replace(by=DEFAULT_FACTOR)
    provenance = {**draft.provenance, "width": size[0], "height": size[1]}
    return UpscaleJob(
        request=request,
        size=size,
        provenance=provenance,
        notes=notes,
        loras=draft.loras,
        source=source,
        tile=tile,
        upscaler=draft.upscaler,
        filters=draft.filters,
    )
