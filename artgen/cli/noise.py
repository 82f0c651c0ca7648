"""`artgen noise`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.options import flattened
from artgen.cli.reporting import Reporter, emit, emit_json, note
from artgen.errors import ModelUnavailableError, UsageError
from artgen.settings import Film, Frames, Output, Picture, Report

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.forward import Moment
    from artgen.registry import ResolvedModel

SCHEDULES = ("linear", "scaled-linear", "cosine", "flow")
SPACES = ("pixel", "latent")

FRAMES = 33
"""Of an animation: so many times, whatever the strip shows."""

SMALLEST = 96
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
Named = Annotated[
    str | None, typer.Option("-m", "--model", help="Take this model's noise schedule, and for latents its autoencoder.")
]
Where = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="A file, a folder (with a trailing /) or a template.  [default: outputs/{stem}-noise.png]",
    ),
]
Cell = Annotated[int, typer.Option("--cell", min=32, max=2048, help="Pixels for each picture, at most.")]


@flattened
def noise(
    source: Picture,
    film: Film,
    report: Report,
    steps: Steps = 8,
    schedule: Schedule = None,
    seed: Annotated[int, typer.Option("-s", "--seed", min=0, max=2**64 - 1, help="Where chance starts.")] = 0,
    space: Space = "pixel",
    model: Named = None,
    output: Where = None,
    cell: Cell = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Draw how noise takes a picture over: the forward process of diffusion, as a strip.

    artgen noise input.png --steps 8
    """
    from artgen import images, outputs, sheets

    _check_words(schedule=(schedule, SCHEDULES), space=(space, SPACES))
    if source.image is None:
        raise UsageError("noise needs a picture.", "artgen noise input.png")
    loaded = images.load_image(source.image)
    record = {"task": "noise", "image": source.image.name, "seed": seed, "steps": steps}
    asked = Output(output=output, overwrite=overwrite, metadata="none")
    destination = outputs.destination(asked, "{stem}-noise", input_paths=(source.image,))
    reel = outputs.reel_for(Frames(frames=film.frames, fps=film.fps), several=False, overwrite=overwrite)
    with Reporter(report.quiet, report.verbose) as reporter:
        found = _model(model, space, reporter)
        picture = _fitted(loaded.image, max(found.native) if found and space == "latent" else cell)
        side = max(SMALLEST, min(cell, max(picture.size)))
        destination.check(*picture.size, record)
        if reel is not None:
            reel.check(record)
        config = _config(schedule, found)
        from artgen.engine import forward

        times = forward.moments(config, steps)
        if report.dry_run:
            note("dry run: a strip would be drawn, nothing was")
            return
        more = forward.moments(config, FRAMES) if reel else []
        pictures = _noised(picture, [*times, *more], seed, found if space == "latent" else None, reporter)
        cells = [sheets.Cell(None, _label(time), each) for time, each in zip(times, pictures, strict=False)]
        strip = sheets.draw_sheet(sheets.Sheet([cells]), cell=side)
        path = destination.save(strip, record)
        shown = reel.save(pictures[steps:], record, path) if reel else None
    told: dict[str, Any] = {**record, "schedule": schedule or model or "linear", "space": space}
    if report.json:
        told |= {"frames": str(shown)} if shown else {}
        at = [{"t": m.t, "signal": m.signal, "noise": m.noise, "snr_db": m.snr_db} for m in times]
        emit_json({"file": str(path), **told, "times": at})
        return
    for file in (path, *([shown] if shown else [])):
        emit(str(file))


def _check_words(**words: tuple[str | None, tuple[str, ...]]) -> None:
    for name, (word, choices) in words.items():
        if word is not None and word not in choices:
            raise UsageError(f"--{name} must be one of {', '.join(choices)}, not {word!r}.")


def _model(name: str | None, space: str, reporter: Reporter) -> "ResolvedModel | None":
    """The model whose latents or schedule are asked for; None when none is."""
    if name is None and space == "pixel":
        return None
    from artgen import machine, registry
    from artgen.events import Downloading

    found = registry.resolve(
        name or machine.default_model(),
        on_download=lambda file, done, total: reporter(Downloading(file, done, total)),
    )
    registry.check(found)
    if space == "latent" and found.architecture not in ("sd1", "sd2", "sdxl", "sd3"):
        raise ModelUnavailableError(f"{found.name} has no latents that can be shown.", "Use --space pixel.")
    return found


def _config(schedule: str | None, model: "ResolvedModel | None") -> dict[str, Any]:
    if schedule is not None or model is None:
        from artgen.engine.forward import CONFIGS

        return CONFIGS[schedule or "linear"]
    from artgen import registry

    return dict(registry.read_scheduler(registry.single_file_config(model) if model.is_file else model.path))


def _noised(
    picture: "Image.Image", times: "list[Moment]", seed: int, model: "ResolvedModel | None", reporter: Reporter
) -> "list[Image.Image]":
    if model is None:
        from artgen.engine import forward

        return forward.noised(picture, times, seed)
    from artgen.engine import forward_latent

    return forward_latent.noised(picture, times, seed, model, reporter)


def _fitted(image: "Image.Image", side: int) -> "Image.Image":
    """No larger than it is shown: scaling afterwards would average the noise away."""
    factor = min(1.0, side / max(image.size))
    if factor == 1:
        return image
    width, height = (max(1, round(each * factor)) for each in image.size)
    return image.resize((width, height))


def _label(moment: "Moment") -> str:
    snr = moment.snr_db
    return (
        f"t = {moment.t}\n{'clean' if not moment.noise else f'SNR {snr:.1f} dB' if snr is not None else 'noise alone'}"
    )
