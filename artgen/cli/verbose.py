"""Print what `--verbose` adds: versions, files, and the time of each stage."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from artgen.events import Decoding, Event, Loading, StageStarted, StepEvent
from artgen.system import process

if TYPE_CHECKING:
    from artgen.jobs.job import Job

VERSIONED_PACKAGES = ("torch", "diffusers", "transformers", "openvino")


def version_note() -> str:
    """Return one line with the versions of artgen, Python and the libraries, without importing the libraries."""
    import platform

    from artgen._version import __version__
    from artgen.system.optional_packages import installed_version

    versions = [f"{name} {version}" for name in VERSIONED_PACKAGES if (version := installed_version(name))]
    return f"artgen {__version__}, Python {platform.python_version()}, {', '.join(versions)}."


def file_notes(jobs: "Iterable[Job]") -> list[str]:
    """Return one line for each file or folder that the jobs use: models, LoRAs, VAEs and embeddings."""
    return list(dict.fromkeys(f"{name}: '{path}'." for job in jobs for name, path in _files_of(job)))


def _files_of(job: "Job") -> Iterator[tuple[str, object]]:
    model = getattr(job, "model", None)
    if model is not None:
        yield f"Model {model.short_name}", model.path
        if model.vae is not None:
            yield f"VAE {model.vae.short_name}", model.vae.path
        if model.refiner is not None:
            yield f"Refiner {model.refiner.short_name}", model.refiner.path
    for lora in job.loras:
        yield "LoRA", lora.file.path
    for embedding in getattr(job, "embeddings", ()):
        yield f"Embedding {embedding.token}", embedding.file.path


class StageTimes:
    """Measure the stages of a run: start, load, encode, denoise, decode and save."""

    def __init__(self) -> None:
        """Start with the time since the start of the process."""
        self._seconds: dict[str, float] = {"start": process.elapsed_seconds() if process.owns_process() else 0.0}
        self._stage, self._stage_start = "start", time.monotonic()

    def on_event(self, event: Event) -> None:
        """Enter the stage to which an event belongs."""
        match event:
            case Loading():
                self.enter("load")
            case StageStarted(stage):
                self.enter(stage)
            case StepEvent():
                self.enter("denoise")
            case Decoding():
                self.enter("decode")
            case _:
                pass

    def enter(self, stage: str) -> None:
        """End the current stage, and begin another one."""
        now = time.monotonic()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_start
        self._stage, self._stage_start = stage, now

    def note(self) -> str:
        """Return one line with the seconds of each stage; empty if no image was generated."""
        self.enter("start")
        if len(self._seconds) == 1:
            return ""
        return f"Time: {', '.join(f'{stage} {seconds:.2f} s' for stage, seconds in self._seconds.items())}."
