"""Generate and edit images with diffusion models.

Every command of the command line is also a function::

    from artgen import Txt2Img, generate

    result = generate(Txt2Img(prompt="a red fox in the snow", seed=7))
    result.image.save("fox.png")

The import of artgen is fast: torch and diffusers are imported when `generate` is first called.
"""

from artgen.errors import ArtgenError

TYPE_CHECKING = False  # type checkers treat this name as True; the import of `typing` takes longer than the rest
if TYPE_CHECKING:
    from artgen._version import __version__
    from artgen.engine.anomaly.detector import find_anomalies
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.engine.generate import FailedImage, GeneratedImage, generate, generate_all, replay
    from artgen.jobs.anomaly import Anomaly
    from artgen.metadata import ImageMetadata
    from artgen.metadata import read_metadata as info
    from artgen.spec.base_requests import Request
    from artgen.spec.requests import Denoise, Img2Img, Inpaint, Outpaint, Sample, Txt2Img


__all__ = [
    "Anomaly",
    "AnomalyResult",
    "ArtgenError",
    "Denoise",
    "FailedImage",
    "GeneratedImage",
    "ImageMetadata",
    "Img2Img",
    "Inpaint",
    "Outpaint",
    "Request",
    "Sample",
    "Txt2Img",
    "__version__",
    "find_anomalies",
    "generate",
    "generate_all",
    "info",
    "replay",
]


_LAZY_IMPORTS = {
    "Anomaly": ("artgen.jobs.anomaly", "Anomaly"),
    "AnomalyResult": ("artgen.engine.anomaly.result", "AnomalyResult"),
    "find_anomalies": ("artgen.engine.anomaly.detector", "find_anomalies"),
    "Denoise": ("artgen.spec.requests", "Denoise"),
    "Img2Img": ("artgen.spec.requests", "Img2Img"),
    "Inpaint": ("artgen.spec.requests", "Inpaint"),
    "Outpaint": ("artgen.spec.requests", "Outpaint"),
    "Request": ("artgen.spec.base_requests", "Request"),
    "Sample": ("artgen.spec.requests", "Sample"),
    "Txt2Img": ("artgen.spec.requests", "Txt2Img"),
    "FailedImage": ("artgen.engine.generate", "FailedImage"),
    "GeneratedImage": ("artgen.engine.generate", "GeneratedImage"),
    "generate": ("artgen.engine.generate", "generate"),
    "generate_all": ("artgen.engine.generate", "generate_all"),
    "replay": ("artgen.engine.generate", "replay"),
    "ImageMetadata": ("artgen.metadata", "ImageMetadata"),
    "info": ("artgen.metadata", "read_metadata"),
    "__version__": ("artgen._version", "__version__"),
}
"""Module and attribute of each public name, which is imported when the name is first used."""


def __getattr__(name: str) -> object:
    if name in _LAZY_IMPORTS:
        import importlib

        module, attribute = _LAZY_IMPORTS[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'artgen' has no attribute {name!r}")
