"""Derive the requests of both passes of hires fix from a request with `hires`."""

from pathlib import Path

from artgen.spec.base_requests import Request
from artgen.spec.hires import parse_hires
from artgen.spec.requests import Img2Img, Txt2Img
from artgen.spec.settings import BestOfSettings, HiresSettings, options_of

IMAGE_PLACEHOLDER = Path("first-pass.png")


def first_request(request: Txt2Img) -> Txt2Img:
    """Return the request of the first pass."""
    return request.replace(**dict.fromkeys((*options_of(HiresSettings), *options_of(BestOfSettings))))


def second_request(request: Txt2Img, size: tuple[int, int] | None = None) -> Img2Img:
    """Return the request of the second pass. Its input image is a placeholder.

    Args:
        request: request with `hires`.
        size: width and height of the result in pixels; None if unknown.
    """
    known = options_of(Txt2Img)
    values = {name: getattr(request, name) for name in options_of(Img2Img) if name in known}
    values |= {"steps": request.hires_steps or request.steps, "width": size and size[0], "height": size and size[1]}
    values |= dict.fromkeys(options_of(BestOfSettings))
    strength = parse_hires(str(request.hires)).strength
    return Img2Img(**values, image=IMAGE_PLACEHOLDER, strength=strength, expansion=request.expansion)


def second_pass_steps(request: Request) -> int:
    """Return the number of steps that the second pass runs; 0 without hires fix."""
    if not isinstance(request, Txt2Img) or request.hires is None:
        return 0
    return max(1, int((request.hires_steps or request.steps or 1) * parse_hires(request.hires).strength))
