"""`artgen noise`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import Reporter, print_json, print_note, print_result
from artgen.cli.options import flatten_settings
from artgen.errors import ModelUnavailableError, UsageError
from artgen.spec.settings import AnimationSettings, FramesSettings, InputImage, OutputSettings, ReportSettings

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.diffusion.noise_schedule import NoiseLevel
    from artgen.registry import ResolvedModel

SCHEDULES = ("linear", "scaled-linear", "cosine", "flow")
SPACES = ("pixel", "latent")

NUM_ANIMATION_FRAMES = 33
"""Of an animation: so many times, whatever the strip shows."""

MIN_CELL_PX = 96
"""Pixels of a cell, at least: its label has to fit."""

Steps = Annotated[int, typer.Option("--steps", min=2, max=50, help="Pictures on the strip, the clean one first.")]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="How fast noise grows: as in DDPM, Stable Diffusion, Improved DDPM, or flow matching (Stable Diffusion 3)."
        "  [default: linear, or the model's own]",
        metavar="|".join(SCHEDULES),
    ),
]
Space = Annotated[
    str,
    typer.Option("--space", help="Where noise is added: to pixels, or to a model's latents.", metavar="|".join(SPACES)),
]
ModelOption = Annotated[
    str | None, typer.Option("-m", "--model", help="Take this model's noise schedule, and for latents its autoencoder.")
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="A file, a folder (with a trailing /) or a template.  [default: outputs/{stem}-noise.png]",
    ),
]
CellSize = Annotated[int, typer.Option("--cell", min=32, max=2048, help="Pixels for each picture, at most.")]


@flatten_settings
def noise(
    source: InputImage,
    animation: AnimationSettings,
    report: ReportSettings,
    steps: Steps = 8,
    schedule: Schedule = None,
    seed: Annotated[int, typer.Option("-s", "--seed", min=0, max=2**64 - 1, help="OutputOption chance starts.")] = 0,
    space: Space = "pixel",
    model: ModelOption = None,
    output: OutputOption = None,
    cell: CellSize = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Draw how noise takes a picture over: the forward process of diffusion, as a strip.

    artgen noise input.png --steps 8
    """
    from artgen import images, outputs
    from artgen.images import contact_sheet

    _check_choices(schedule=(schedule, SCHEDULES), space=(space, SPACES))
    if source.image is None:
        raise UsageError("noise needs a picture.", "artgen noise input.png")
    loaded = images.load_image(source.image)
    record = {"task": "noise", "image": source.image.name, "seed": seed, "steps": steps}
    asked = OutputSettings(output=output, overwrite=overwrite, metadata="none")
    destination = outputs.parse_destination(asked, "{stem}-noise", input_paths=(source.image,))
    reel = outputs.parse_frames_option(
        FramesSettings(frames=animation.frames, fps=animation.fps), multiple_images=False, overwrite=overwrite
    )
    with Reporter(report.quiet, report.verbose) as reporter:
        found = _resolve_model(model, space, reporter)
        picture = _shrink_to_fit(loaded.image, max(found.native_size) if found and space == "latent" else cell)
        side = max(MIN_CELL_PX, min(cell, max(picture.size)))
        destination.check(*picture.size, record)
        if reel is not None:
            reel.check(record)
        config = _scheduler_config(schedule, found)
        from artgen.engine.diffusion import noise_schedule

        times = noise_schedule.noise_levels(config, steps)
        if report.dry_run:
            print_note("dry run: a strip would be drawn, nothing was")
            return
        more = noise_schedule.noise_levels(config, NUM_ANIMATION_FRAMES) if reel else []
        pictures = _noise_image(picture, [*times, *more], seed, found if space == "latent" else None, reporter)
        cells = [
            contact_sheet.Cell(None, _level_label(time), each) for time, each in zip(times, pictures, strict=False)
        ]
        strip = contact_sheet.render_sheet(contact_sheet.ContactSheet([cells]), cell_px=side)
        path = destination.save(strip, record)
        shown = reel.save(pictures[steps:], record, path) if reel else None
    told: dict[str, Any] = {**record, "schedule": schedule or model or "linear", "space": space}
    if report.json:
        told |= {"frames": str(shown)} if shown else {}
        at = [{"t": m.timestep, "signal": m.alpha, "noise": m.sigma, "snr_db": m.snr_db} for m in times]
        print_json({"file": str(path), **told, "times": at})
        return
    for file in (path, *([shown] if shown else [])):
        print_result(str(file))


def _check_choices(**options: tuple[str | None, tuple[str, ...]]) -> None:
    for name, (word, choices) in options.items():
        if word is not None and word not in choices:
            raise UsageError(f"--{name} must be one of {', '.join(choices)}, not {word!r}.")


def _resolve_model(name: str | None, space: str, reporter: Reporter) -> "ResolvedModel | None":
    """The model whose latents or schedule are asked for; None when none is."""
    if name is None and space == "pixel":
        return None
    from artgen import registry
    from artgen.events import Downloading
    from artgen.system import hardware

    found = registry.resolve_model(
        name or hardware.default_model(),
        on_download=lambda file, done, total: reporter(Downloading(file, done, total)),
    )
    registry.check_model_files(found)
    if space == "latent" and found.architecture not in ("sd1", "sd2", "sdxl", "sd3"):
        raise ModelUnavailableError(f"{found.name} has no latents that can be shown.", "Use --space pixel.")
    return found


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
    from artgen.engine.diffusion import latent_forward

    return latent_forward.add_latent_noise(image, levels, seed, model, reporter)


def _shrink_to_fit(image: "Image.Image", max_side: int) -> "Image.Image":
    """No larger than it is shown: scaling afterwards would average the noise away."""
    factor = min(1.0, max_side / max(image.size))
    if factor == 1:
        return image
    width, height = (max(1, round(each * factor)) for each in image.size)
    return image.resize((width, height))


def _level_label(level: "NoiseLevel[float]") -> str:
    snr = level.snr_db
    return f"t = {level.timestep}\n{'clean' if not level.sigma else f'SNR {snr:.1f} dB' if snr is not None else 'noise alone'}"
