"""Define the functions that take requests. They import the engine at the first call."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.events import Listener, no_op
from artgen.spec.base_requests import Request
from artgen.spec.settings import FramesSettings

if TYPE_CHECKING:
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.engine.results import FailedImage, GeneratedImage
    from artgen.jobs.anomaly import Anomaly


def generate(request: Request, *, frames: FramesSettings | None = None, listener: Listener = no_op) -> "GeneratedImage":
    """Generate the image of a request. See `artgen.engine.generate.generate`.

    Raises:
        ArtgenError: the request is invalid, or the image could not be generated.
    """
    from artgen.engine import generate as engine

    return engine.generate(request, frames=frames, listener=listener)


def generate_all(
    requests: Sequence[Request],
    *,
    batch_size: int = 1,
    frames: FramesSettings | None = None,
    listener: Listener = no_op,
) -> "Iterator[GeneratedImage | FailedImage]":
    """Generate the images of requests, in order. See `artgen.engine.generate.generate_all`.

    Raises:
        ArtgenError: a request is invalid. The result of an image that could not be generated is a `FailedImage`.
    """
    from artgen.engine import generate as engine

    return engine.generate_all(requests, batch_size=batch_size, frames=frames, listener=listener)


def find_anomalies(
    image_paths: Sequence[str | Path], request: "Anomaly | None" = None, *, listener: Listener = no_op
) -> "Iterator[AnomalyResult]":
    """Yield the anomaly score and heat map of each image. See `artgen.engine.anomaly.detector.find_anomalies`.

    Raises:
        ArtgenError: an image or the request is invalid.
    """
    from artgen.engine.anomaly import detector

    return detector.find_anomalies(image_paths, request, listener=listener)
