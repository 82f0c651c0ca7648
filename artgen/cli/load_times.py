"""Store how long the loading of a model and the generation of an image took, to estimate the time of the next run."""

import json
import sys
from typing import Any

from artgen.errors import ArtgenError
from artgen.system import process
from artgen.system.external_data import parse_json, read_optional
from artgen.system.files import write_atomically
from artgen.system.paths import user_cache_folder

MAX_ENTRIES = 500
"""Maximum number of stored durations. The oldest are removed."""

_MAX_FILE_BYTES = 1 << 20
_MAX_SECONDS = 1e6
_IMAGE_SETTINGS = (
    "task",
    "width",
    "height",
    "steps",
    "strength",
    "fast",
    "method",
    "image",
    "expand",
    "by",
    "target_size",
)
"""Settings that, besides the model and the device, determine the duration of an image."""


class LoadTimes:
    """Read and store the durations of one kind of request. Runs in processes that artgen does not own are ignored.

    Commands in the worker do not change the durations: they load less. The first one, which loads all, uses them.

    The loading time is the time from the start of the process to the end of the first step.
    """

    def __init__(self, request: Any) -> None:
        """Store the keys of a request.

        Args:
            request: a request, of which the user's settings may be unset.
        """
        names = ["model", "device", "dtype", "offload"]
        if hasattr(request, "method"):
            names.append("method")
        if getattr(request, "acceleration", None) not in (None, "none"):
            names.append("acceleration")
        self._model_key = " ".join(str(getattr(request, name, None)) for name in names)
        self._image_key = " ".join((self._model_key, *(str(getattr(request, name, None)) for name in _IMAGE_SETTINGS)))
        self._path = user_cache_folder() / "load-times.json"

    def expected_seconds(self, num_images: int) -> float | None:
        """Return the expected duration of a command in seconds; None if an equal command never ran."""
        if _has_loaded():
            return None
        stored = self._read()
        loading, image = stored.get(self._model_key), stored.get(self._image_key)
        return None if loading is None or image is None else loading + num_images * image

    def remaining_seconds(self) -> float | None:
        """Return the expected seconds until the first step; None if the model was never loaded."""
        loading = self._read().get(self._model_key)
        if loading is None or not process.owns_process() or _has_loaded():
            return None
        return max(0.0, loading - process.elapsed_seconds())

    def save(self, loading_seconds: float, total_seconds: float | None = None, num_images: int = 1) -> None:
        """Store the durations of a run. Errors are ignored, because the file is only a cache."""
        if not process.owns_process() or process.is_worker():
            return
        stored = self._read()
        new = {self._model_key: round(loading_seconds, 2)}
        if total_seconds is not None:
            new[self._image_key] = round(max(0.01, (total_seconds - loading_seconds) / num_images), 2)
        kept = {key: value for key, value in stored.items() if key not in new} | new
        try:
            write_atomically(self._path, json.dumps(dict(list(kept.items())[-MAX_ENTRIES:]), indent=0))
        except (OSError, ArtgenError):
            return

    def _read(self) -> dict[str, float]:
        try:
            stored = parse_json(read_optional(self._path, _MAX_FILE_BYTES) or b"")
        except ValueError:
            return {}
        if not isinstance(stored, dict):
            return {}
        return {k: float(v) for k, v in stored.items() if type(v) in (int, float) and 0 < v <= _MAX_SECONDS}


def _has_loaded() -> bool:
    """Return whether an earlier command of this process, the worker, has loaded the libraries."""
    return process.is_worker() and "torch" in sys.modules
