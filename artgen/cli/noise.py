"""Define the command `artgen noise`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from artgen.api import engine_checks
from artgen.cli.console import Reporter, print_note, print_result
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.run_requests import summary_line
from artgen.cli.stdout_image import check_stdout_image, print_saved_path
from artgen.errors import ModelUnavailableError, UsageError
from artgen.spec.settings import AnimationSettings, FramesSettings, InputImage, OutputSettings, ReportSettings
from artgen.system import process

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.diffusion.noise_schedule import NoiseLevel
    from artgen.registry import ResolvedModel

SCHEDULES = ("linear", "scaled-linear", "cosine", "flow")
SPACES = ("pixel", "latent")

NUM_ANIMATION_FRAMES = 33
"""Number of noise levels in an animation, independent of the strip."""

MIN_CELL_PX = 96
"""Minimum width of a cell, in pixels, so that the label fits."""

Steps = Annotated[
    int, typer.Option("--steps", min=2, max=50, help="Number of images on the strip. The first image has no noise.")
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
    int, typer.Option("--cell", min=32, max=2048, help="Maximum width and height of each image, in pixels.")
]


@dataclass(frozen=True)
class NoiseTime:
    """Describe one image of the strip.

    Attributes:
        t: timestep, 0 (image) to 1000 (noise); None if unknown.
        signal: factor of the image.
        noise: factor of the noise.
        snr_db: signal-to-noise ratio in dB; None without noise and without signal.
    """

    t: int | None
    signal: float
    noise: float
    snr_db: float | None


@dataclass(frozen=True, kw_only=True)
class NoiseStrip:
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


OUTPUT = JsonOutput(lambda: NoiseStrip, is_list=False)


@OUTPUT
@flatten_settings
def noise(
    source: InputImage,
    animation: AnimationSettings,
    report: ReportSettings,
    steps: Steps = 8,
    schedule: Schedule = None,
    seed: Annotated[int, typer.Option("-s", "--seed", min=0, max=2**64 - 1, help="Random seed.")] = 0,
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

    _check_choices(schedule=(schedule, SCHEDULES), space=(space, SPACES))
    if source.image is None:
        raise UsageError("Cannot run noise: the input image is missing.", "artgen noise input.png")
    loaded = images.load_image(source.image)
    for note in () if report.quiet else loaded.notes:
        print_note(note)
    record = {"task": "noise", "image": source.image.name, "seed": seed, "steps": steps}
    output_settings = OutputSettings(output=output, overwrite=overwrite, metadata="none")
    destination = outputs.parse_destination(output_settings, "{stem}-noise", input_paths=(source.image,))
    check_stdout_image(destination.is_stdout, json=report.json, dry_run=report.dry_run)
    animation_output = outputs.parse_frames_option(
        FramesSettings(frames=animation.frames, fps=animation.fps), multiple_images=False, overwrite=overwrite
    )
    with Reporter(report.quiet, report.verbose) as reporter:
        resolved = _resolve_model(model, space, reporter, download=not report.dry_run)
        image = _shrink_to_fit(loaded.image, max(resolved.native_size) if resolved and space == "latent" else cell)
        cell_px = max(MIN_CELL_PX, min(cell, max(image.size)))
        destination.check(*image.size, record)
        if animation_output is not None:
            animation_output.check(record)
        with process.paused_gc():
            from artgen.engine.diffusion import noise_schedule

        config = _scheduler_config(schedule, resolved)
        levels = noise_schedule.noise_levels(config, steps)
        describe = partial(
            NoiseStrip,
            image=source.image.name,
            seed=seed,
            steps=steps,
            schedule=schedule or model or "linear",
            space=space,
            times=tuple(NoiseTime(level.timestep, level.alpha, level.sigma, level.snr_db) for level in levels),
        )
        if report.dry_run:
            engine_checks.check_model(resolved if space == "latent" else None)
            _print_plan(describe(file=destination.preview(record), frames=None), report.json)
            return
        frame_levels = noise_schedule.noise_levels(config, NUM_ANIMATION_FRAMES) if animation_output else []
        latent_model = resolved if space == "latent" else None
        noisy_images = _noise_image(image, [*levels, *frame_levels], seed, latent_model, reporter)
        path = destination.save(_render_strip(noisy_images[:steps], levels, cell_px), record)
        frames_path = animation_output.save(noisy_images[steps:], record, path) if animation_output else None
    display = Display(report)
    display.show_file(path)
    display.open(path)
    if report.json:
        OUTPUT.print(describe(file=path, frames=frames_path))
        return
    print_saved_path(path, frames_path)


def _print_plan(strip: NoiseStrip, as_json: bool) -> None:
    """Print the strip that would be generated."""
    if as_json:
        OUTPUT.print(strip)
    else:
        names = ("task", "image", "seed", "steps", "schedule", "space")
        print_result(summary_line({**{name: getattr(strip, name) for name in names}, "output": strip.file}))
    print_note("Dry run: 1 strip would be generated.")


def _check_choices(**options: tuple[str | None, tuple[str, ...]]) -> None:
    for name, (value, choices) in options.items():
        if value is not None and value not in choices:
            raise UsageError(f"Invalid --{name} '{value}': the values are {', '.join(choices)}.")


def _resolve_model(name: str | None, space: str, reporter: Reporter, *, download: bool) -> "ResolvedModel | None":
    """Return the model whose latents or schedule are used, or None."""
    if name is None and space == "pixel":
        return None
    from artgen import registry

    return registry.resolve_usable_model(
        name or registry.default_model(listener=reporter),
        lambda model: _check_architecture(model, space),
        download=download,
        listener=reporter,
    )


def _check_architecture(model: "ResolvedModel", space: str) -> None:
    if space == "latent" and not model.pipeline_entry.supports("latent-noise"):
        raise ModelUnavailableError(
            f"Cannot add noise to the latents of '{model.name}': the architecture is not supported.",
            "Use --space pixel.",
        )


def _scheduler_config(schedule: str | None, model: "ResolvedModel | None") -> dict[str, Any]:
    if schedule is not None or model is None:
        from artgen.engine.diffusion.noise_schedule import SCHEDULE_CONFIGS

        return SCHEDULE_CONFIGS[schedule or "linear"]
    from artgen import registry

    return dict(registry.read_scheduler_config(registry.single_file_config(model) if model.is_file else model.path))


def _noise_image(
    image: "Image.Image",
    levels: "list[NoiseLevel[float]]",
    seed: int,
    model: "ResolvedModel | None",
    reporter: Reporter,
) -> "list[Image.Image]":
    if model is None:
        from artgen.engine.diffusion import pixel_forward

        return pixel_forward.add_pixel_noise(image, levels, seed)
    with process.paused_gc():
        from artgen.engine.diffusion import latent_forward

    return latent_forward.add_latent_noise(image, levels, seed, model, reporter)


def _shrink_to_fit(image: "Image.Image", max_side: int) -> "Image.Image":
    """Resize the image before noise is added: resizing afterwards would average the noise."""
    factor = min(1.0, max_side / max(image.size))
    if factor == 1:
        return image
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height))


def _render_strip(noisy_images: "list[Image.Image]", levels: "list[NoiseLevel[float]]", cell_px: int) -> "Image.Image":
    from artgen.images.contact_sheet import Cell, ContactSheet, render_sheet

    cells = [Cell(None, _level_label(level), noisy) for level, noisy in zip(levels, noisy_images, strict=True)]
    return render_sheet(ContactSheet([cells]), cell_px=cell_px)


def _level_label(level: "NoiseLevel[float]") -> str:
    if not level.sigma:
        label = "no noise"
    else:
        label = f"SNR {level.snr_db:.1f} dB" if level.snr_db is not None else "only noise"
    return f"t = {level.timestep}\n{label}"
