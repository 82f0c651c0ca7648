"""Define the command `artgen noise`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from artgen.api import engine_checks
from artgen.api.noise_strip import (
    MAX_CELL_PX,
    MAX_SEED,
    MAX_STEPS,
    MIN_CELL_PX,
    MIN_STEPS,
    SCHEDULES,
    SPACES,
    NoiseSettings,
    NoiseTime,
    prepare_noise,
)
from artgen.cli.console import print_note, print_result
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.reporter import Reporter
from artgen.cli.run_requests import summary_line
from artgen.cli.stdout_image import check_stdout_image, print_saved_path
from artgen.errors import UsageError
from artgen.spec.settings import AnimationSettings, FramesSettings, InputImage, OutputSettings, ReportSettings

Steps = Annotated[
    int,
    typer.Option(
        "--steps", min=MIN_STEPS, max=MAX_STEPS, help="Number of images on the strip. The first image has no noise."
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="Noise schedule. linear: DDPM. scaled-linear: Stable Diffusion. cosine: Improved DDPM. flow: "
        "flow matching (Stable Diffusion 3).  [default: linear, or the schedule of --model]",
        metavar="|".join(SCHEDULES),
    ),
]
Space = Annotated[
    str,
    typer.Option("--space", help="Add noise to pixels, or to the latents of a model.", metavar="|".join(SPACES)),
]
ModelOption = Annotated[
    str | None,
    typer.Option("-m", "--model", help="Use the noise schedule of this model, and its autoencoder for latents."),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="File, folder (with a trailing /), template, or - for stdout.  [default: outputs/{stem}-noise.png]",
    ),
]
CellSize = Annotated[
    int,
    typer.Option("--cell", min=MIN_CELL_PX, max=MAX_CELL_PX, help="Maximum width and height of each image, in pixels."),
]


@dataclass(frozen=True, kw_only=True)
class NoiseReport:
    """Describe a strip for `--json`.

    Attributes:
        file: path of the strip. With `--dry-run`, the path that the strip would have.
        frames: path of the animation; None without `--frames`, and with `--dry-run`.
        task: name of the command.
        image: name of the input image.
        seed: seed of the noise.
        steps: number of images on the strip.
        schedule: noise schedule, or the model whose schedule is used.
        space: space to which noise is added.
        times: images of the strip.
    """

    file: Path
    frames: Path | None
    task: Literal["noise"] = "noise"
    image: str
    seed: int
    steps: int
    schedule: str
    space: str
    times: tuple[NoiseTime, ...]


OUTPUT = JsonOutput(lambda: NoiseReport, is_list=False)


@OUTPUT
@flatten_settings
def noise(
    source: InputImage,
    animation: AnimationSettings,
    report: ReportSettings,
    steps: Steps = 8,
    schedule: Schedule = None,
    seed: Annotated[int, typer.Option("-s", "--seed", min=0, max=MAX_SEED, help="Random seed.")] = 0,
    space: Space = "pixel",
    model: ModelOption = None,
    output: OutputOption = None,
    cell: CellSize = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
) -> None:
    """Show an image with increasing noise, as a strip.

    This is the forward process of diffusion.

    artgen noise fox.png
    artgen noise fox.png --steps 12 --schedule cosine -o strip.png
    artgen noise fox.png --frames noise.gif
    """
    from artgen import images, outputs
    from artgen.metadata.writing import INPUT_SOURCE_TYPE
    from artgen.outputs.mark_notes import source_marks

    settings = NoiseSettings(steps=steps, schedule=schedule, seed=seed, space=space, model=model, cell=cell)
    if source.image is None:
        raise UsageError("Cannot run noise: the input image is missing.", "artgen noise input.png")
    loaded = images.load_image(source.image)
    marks = source_marks([source.image])
    for note in () if report.quiet else (*loaded.notes, *marks.notes):
        print_note(note)
    record = {"task": "noise", "image": source.image.name, "seed": seed, "steps": steps}
    record |= {INPUT_SOURCE_TYPE: marks.source_type} if marks.source_type else {}
    output_settings = OutputSettings(output=output, overwrite=overwrite, metadata="none", sign=False)
    destination = outputs.parse_destination(output_settings, "{stem}-noise", input_paths=(source.image,))
    check_stdout_image(destination.is_stdout, json=report.json, dry_run=report.dry_run)
    animation_output = outputs.parse_frames_option(
        FramesSettings(frames=animation.frames, fps=animation.fps), multiple_images=False, overwrite=overwrite
    )
    with Reporter(report.quiet, report.verbose) as reporter:
        job = prepare_noise(loaded.image, settings, reporter, download=not report.dry_run)
        destination.check(*job.image.size, record)
        if animation_output is not None:
            animation_output.check(record)
        describe = partial(
            NoiseReport,
            image=source.image.name,
            seed=seed,
            steps=steps,
            schedule=schedule or model or "linear",
            space=space,
            times=job.times(),
        )
        if report.dry_run:
            engine_checks.check_model(job.latent_model)
            _print_plan(describe(file=destination.preview(record), frames=None), report)
            return
        strip = job.run(reporter, frames=animation_output is not None)
        path = destination.save(strip.image, record)
        frames_path = animation_output.save(strip.frames, record, path) if animation_output else None
    display = Display(report)
    display.show_file(path)
    display.open(path)
    if report.json:
        OUTPUT.print(describe(file=path, frames=frames_path))
        return
    print_saved_path(path, frames_path)


def _print_plan(strip: NoiseReport, report: ReportSettings) -> None:
    """Print the strip that would be generated."""
    if report.json:
        OUTPUT.print(strip)
    else:
        names = ("task", "image", "seed", "steps", "schedule", "space")
        print_result(summary_line({**{name: getattr(strip, name) for name in names}, "output": strip.file}))
    if not report.quiet:
        print_note("Dry run: 1 strip would be generated.")
