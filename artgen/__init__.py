"""artgen: draw, redraw, mend and extend pictures with Stable Diffusion.

Every command is also a library call::

    from artgen import Txt2Img, generate

    picture = generate(Txt2Img(prompt="a red fox in the snow", seed=7))
    picture.image.save("fox.png")

Importing artgen is cheap; torch and diffusers load when `generate` first runs.
"""

from typing import TYPE_CHECKING, Any

from artgen.errors import ArtgenError
from artgen.requests import Img2Img, Inpaint, Outpaint, Request, Txt2Img

if TYPE_CHECKING:
    from artgen.engine.generate import Picture, generate, generate_all

__version__ = "0.1.0"

__all__ = [
    "ArtgenError",
    "Img2Img",
    "Inpaint",
    "Outpaint",
    "Picture",
    "Request",
    "Txt2Img",
    "__version__",
    "generate",
    "generate_all",
]


def __getattr__(name: str) -> Any:
    if name in ("generate", "generate_all", "Picture"):
        from artgen.engine import generate as module

        return getattr(module, name)
    raise AttributeError(f"module 'artgen' has no attribute {name!r}")
