"""Generate and edit images with diffusion models.

Every command of the command line is also a function::

    import artgen

    image = artgen.txt2img("a red fox in the snow", seed=7)
    image.save("fox.png")

The import of artgen is fast: torch and diffusers are imported when a function first needs them.
"""

TYPE_CHECKING = False  # type checkers treat this name as True; the import of `typing` takes longer than the rest
if TYPE_CHECKING:
    from artgen._version import __version__
    from artgen.api.batch import BatchResult, BatchResults, InvalidBatchError, batch, batch_status, verify_batch
    from artgen.api.images import denoise, img2img, inpaint, outpaint, sample, txt2img
    from artgen.api.info import FileInfo, info
    from artgen.api.replay import replay
    from artgen.api.requests import find_anomalies, generate, generate_all
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.engine.results import FailedImage, GeneratedImage
    from artgen.errors import (
        ArtgenError,
        DeviceLostError,
        FilteredError,
        InputFileError,
        MemoryExhaustedError,
        ModelUnavailableError,
        NonFiniteError,
        OutputError,
        RefusedError,
        SomeFailedError,
        UsageError,
    )
    from artgen.jobs.anomaly import Anomaly
    from artgen.spec.base_requests import Request
    from artgen.spec.requests import Denoise, Img2Img, Inpaint, Outpaint, Sample, Txt2Img


_LAZY_IMPORTS = {
    **dict.fromkeys(("txt2img", "img2img", "inpaint", "outpaint", "denoise", "sample"), "artgen.api.images"),
    **dict.fromkeys(("Denoise", "Img2Img", "Inpaint", "Outpaint", "Sample", "Txt2Img"), "artgen.spec.requests"),
    "Request": "artgen.spec.base_requests",
    **dict.fromkeys(
        ("batch", "batch_status", "verify_batch", "BatchResult", "BatchResults", "InvalidBatchError"),
        "artgen.api.batch",
    ),
    **dict.fromkeys(("FailedImage", "GeneratedImage"), "artgen.engine.results"),
    **dict.fromkeys(("FileInfo", "info"), "artgen.api.info"),
    "replay": "artgen.api.replay",
    **dict.fromkeys(("find_anomalies", "generate", "generate_all"), "artgen.api.requests"),
    "Anomaly": "artgen.jobs.anomaly",
    "AnomalyResult": "artgen.engine.anomaly.result",
    **dict.fromkeys(
        (
            *("ArtgenError", "DeviceLostError", "FilteredError", "InputFileError", "MemoryExhaustedError"),
            *("ModelUnavailableError", "NonFiniteError", "OutputError", "RefusedError", "SomeFailedError"),
            "UsageError",
        ),
        "artgen.errors",
    ),
    "__version__": "artgen._version",
}
"""Module of each public name, which is imported when the name is first used."""

__all__ = [
    "Anomaly",
    "AnomalyResult",
    "ArtgenError",
    "BatchResult",
    "BatchResults",
    "Denoise",
    "DeviceLostError",
    "FailedImage",
    "FileInfo",
    "FilteredError",
    "GeneratedImage",
    "Img2Img",
    "Inpaint",
    "InputFileError",
    "InvalidBatchError",
    "MemoryExhaustedError",
    "ModelUnavailableError",
    "NonFiniteError",
    "Outpaint",
    "OutputError",
    "RefusedError",
    "Request",
    "Sample",
    "SomeFailedError",
    "Txt2Img",
    "UsageError",
    "__version__",
    "batch",
    "batch_status",
    "denoise",
    "find_anomalies",
    "generate",
    "generate_all",
    "img2img",
    "info",
    "inpaint",
    "outpaint",
    "replay",
    "sample",
    "txt2img",
    "verify_batch",
]


def __getattr__(name: str) -> object:
    if name in _LAZY_IMPORTS:
        import importlib

        return getattr(importlib.import_module(_LAZY_IMPORTS[name]), name)
    raise AttributeError(f"module 'artgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
