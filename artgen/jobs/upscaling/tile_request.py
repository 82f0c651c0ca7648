"""Convert a request for `--method redraw` to the img2img request of its tiles, and back."""

from artgen.errors import UsageError
from artgen.registry import BUNDLED_MODEL, ResolvedModel
from artgen.spec.requests import TASKS, Img2Img
from artgen.spec.restoration_requests import Upscale
from artgen.spec.settings import options_of

OVERLAP_RATIO = 1 / 4
"""Default width of the blended band, divided by the shorter side of a tile."""

BUNDLED_SHARPENING_PERCENT = 350
"""Default sharpening for the bundled model. Measured with `tests/benchmarks/upscale_redraw.py`."""

_MAX_OVERLAP_RATIO = 1 / 3
_OWN_SETTINGS = frozenset({"image", "max_side", "strength"})


def tile_request(request: Upscale) -> Img2Img:
    """Return the img2img request of the tiles of a request; its size is unset."""
    values = {name: getattr(request, name) for name in _shared_settings()}
    strength = TASKS[request.task].default_strength if request.strength is None else request.strength
    return Img2Img(**values, image=request.image, strength=strength, expansion=request.expansion)


def completed_request(request: Upscale, tile: Img2Img, model: ResolvedModel) -> Upscale:
    """Return a request with the values that were filled in for its tiles.

    Args:
        request: request.
        tile: complete request of a tile.
        model: resolved model.
    """
    sides = tile_sides(request, model)
    sharpen = BUNDLED_SHARPENING_PERCENT if model.name == BUNDLED_MODEL else 0
    # A model with tiles that are not square uses its native size.
    side = sides[0] if sides[0] == sides[1] else None
    return request.replace(
        **{name: getattr(tile, name) for name in _shared_settings()},
        strength=tile.strength,
        tile_size=request.tile_size or side,
        tile_overlap=tile_overlap(request, sides),
        sharpen=sharpen if request.sharpen is None else request.sharpen,
    )


def tile_sides(request: Upscale, model: ResolvedModel) -> tuple[int, int]:
    """Return the width and height of the tiles in pixels.

    Raises:
        UsageError: the model does not support the size.
    """
    side, multiple = request.tile_size, model.size_multiple
    if side is None:
        return model.native_size
    if side % multiple:
        below = max(multiple, side // multiple * multiple)
        raise UsageError(
            f"Cannot use --tile-size {side} with '{model.name}': the sides of its images are multiples of {multiple}.",
            f"Use --tile-size {below} or {below + multiple}.",
            settings=("tile_size",),
        )
    return side, side


def tile_overlap(request: Upscale, sides: tuple[int, int]) -> int:
    """Return the width of the band in which tiles are blended, in pixels.

    Raises:
        UsageError: the requested band is too wide for the tiles.
    """
    limit = int(min(sides) * _MAX_OVERLAP_RATIO)
    if request.tile_overlap is None:
        return int(min(sides) * OVERLAP_RATIO)
    if request.tile_overlap > limit:
        raise UsageError(
            f"Cannot use --tile-overlap {request.tile_overlap}: for tiles of {min(sides)} pixels the limit is {limit}.",
            f"Use --tile-overlap {limit} or less, or a larger --tile-size.",
            settings=("tile_overlap", "tile_size"),
        )
    return request.tile_overlap


def _shared_settings() -> frozenset[str]:
    return frozenset((options_of(Upscale).keys() & options_of(Img2Img).keys()) - _OWN_SETTINGS)
