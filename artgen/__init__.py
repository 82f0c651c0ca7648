"""artgen: draw, redraw, mend and extend pictures with Stable Diffusion.

Every command is also a library call::

    from artgen import Txt2Img, generate

    picture = generate(Txt2Img(prompt="a red fox in the snow", seed=7))
    picture.image.save("fox.png")

Importing artgen is cheap; torch and diffusers load when `generate` first runs.
"""

from artgen.errors import ArtgenError

TYPE_CHECKING = False  # what type checkers take for True; `typing` itself would be most of the import
if TYPE_CHECKING:
    from artgen.anomalies import Anomaly
    from artgen.engine.anomaly import Finding, find_anomalies
    from artgen.engine.generate import Failure, Picture, generate, generate_all, replay
    from artgen.metadata import Found
    from artgen.metadata import read as info
    from artgen.requests import Denoise, Img2Img, Inpaint, Outpaint, Request, Txt2Img

__version__ = "0.1.0"

__all__ = [
    "Anomaly",
    "ArtgenError",
    "Denoise",
    "Failure",
    "Finding",
    "Found",
    "Img2Img",
    "Inpaint",
    "Outpaint",
    "Picture",
    "Request",
    "Txt2Img",
    "__version__",
    "find_anomalies",
    "generate",
    "generate_all",
    "info",
    "replay",
]


_LAZY = {
    "Anomaly": ("artgen.anomalies", "Anomaly"),
    "Finding": ("artgen.engine.anomaly", "Finding"),
    "find_anomalies": ("artgen.engine.anomaly", "find_anomalies"),
    "Denoise": ("artgen.requests", "Denoise"),
    "Img2Img": ("artgen.requests", "Img2Img"),
    "Inpaint": ("artgen.requests", "Inpaint"),
    "Outpaint": ("artgen.requests", "Outpaint"),
    "Request": ("artgen.requests", "Request"),
    "Txt2Img": ("artgen.requests", "Txt2Img"),
    "Failure": ("artgen.engine.generate", "Failure"),
    "Picture": ("artgen.engine.generate", "Picture"),
    "generate": ("artgen.engine.generate", "generate"),
    "generate_all": ("artgen.engine.generate", "generate_all"),
    "replay": ("artgen.engine.generate", "replay"),
    "Found": ("artgen.metadata", "Found"),
    "info": ("artgen.metadata", "read"),
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import importlib

        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'artgen' has no attribute {name!r}")
