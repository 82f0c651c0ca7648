"""Generate the frames of a morph in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from artgen.api import engine_checks
from artgen.events import Listener, no_op
from artgen.jobs.image_variations.morph import MorphPlan
from artgen.jobs.job import Job
from artgen.jobs.license_notes import license_notes
from artgen.jobs.model_entries import ModelCache
from artgen.jobs.notes import job_notes
from artgen.jobs.prepare import prepare_jobs

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from artgen.engine.results import GeneratedImage


@dataclass(frozen=True, repr=False)
class Morph:
    """Represent the frames of a morph.

    Attributes:
        frames: images in order. The record of each frame replays this frame.
        record: record of the animation.
        loop: whether the last frame is followed by the first.
        notes: notes of the call, one sentence each.
    """

    frames: "tuple[GeneratedImage, ...]"
    record: Mapping[str, Any]
    loop: bool = False
    notes: tuple[str, ...] = field(default=())

    def save(
        self,
        path: "str | os.PathLike[str]",
        *,
        fps: float | None = None,
        quality: int | None = None,
        sign: bool | None = None,
        overwrite: bool = False,
    ) -> "Path":
        """Write the animation with its record, and return the path.

        Args:
            path: .gif, .webp or .mp4 file.
            fps: Frames per second. None: as in the record, or a total of 4 seconds.
            quality: WebP quality, 1 to 100; 100 is lossless. None: as in the record, or 90.
            sign: Sign the file with a C2PA manifest; None: as configured, by default no.
            overwrite: Replace an existing file.

        Raises:
            UsageError: The suffix is not that of an animation, or the encoder is not installed.
            OutputError: The file exists or cannot be written.
        """
        from artgen.errors import UsageError
        from artgen.outputs.morph_output import parse_morph_output
        from artgen.spec.python_text import for_python
        from artgen.spec.python_values import output_text

        with for_python():
            fps, quality = fps or self.record.get("fps"), quality or self.record.get("quality")
            output = parse_morph_output(
                output_text(path, "path"), overwrite=overwrite, fps=fps, quality=quality, loop=self.loop, sign=sign
            )
            if output is None:
                raise UsageError("A morph is one file.", "Use a .gif, .webp or .mp4 file, or save each frame.")
            encoding = {"fps": fps, "quality": quality}
            record = {**self.record, **{name: value for name, value in encoding.items() if value is not None}}
            output.check(record)
            return output.save([each.image for each in self.frames], record)

    def __repr__(self) -> str:
        return f"<Morph {len(self.frames)} frames>"


def prepare_frames(plan: MorphPlan, listener: Listener, *, download: bool = True) -> list[Job]:
    """Return the job of each frame.

    Raises:
        ArtgenError: see `ReplaySpec.prepare` and `ReplaySpec.check_job`.
    """
    check_previews = partial(engine_checks.check_jobs, listener=no_op)
    prepare = partial(
        prepare_jobs, listener=listener, models=ModelCache(), download=download, check_previews=check_previews
    )
    jobs = [plan.specs[0].prepare(request, prepare, listener) for request in plan.requests]
    for spec, index in zip(plan.specs, plan.key_frames, strict=True):
        spec.check_job(jobs[index])
    return jobs


def frame_notes(jobs: Sequence[Job]) -> list[str]:
    """Return the notes of the jobs, each note once."""
    return [*dict.fromkeys(text for job in jobs for text in job_notes(job)), *license_notes(jobs)]


def generate_frames(plan: MorphPlan, jobs: Sequence[Job], listener: Listener) -> Morph:
    """Generate the frames of a morph.

    Args:
        plan: the morph.
        jobs: job of each frame.
        listener: receives the events.

    Raises:
        ArtgenError: a frame could not be generated.
    """
    from artgen.engine import fast_import

    engine: Any = fast_import.import_engine()
    from artgen.engine.results import FailedImage

    frames: list[GeneratedImage] = []
    for outcome in engine.generate_jobs(jobs, batch_size=1, frames=None, listener=listener):
        if isinstance(outcome, FailedImage):
            raise outcome.error
        frames.append(outcome)
    record = plan.record([frames[index].record for index in plan.key_frames])
    return Morph(tuple(frames), record, plan.loop)
