"""Define the command `artgen upscale`."""

from functools import partial

from artgen.cli.dispatch import dispatch_batch, needs_batch, note_unused_settings
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import OptionalImages, check_stdin_uses, read_prompt
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.cli.status_line import status_line
from artgen.cli.user_defaults import is_typed
from artgen.errors import UsageError
from artgen.spec.settings import (
    ComputeSettings,
    ControlSettings,
    FilterSettings,
    FramesSettings,
    ModelSettings,
    OutputSettings,
    PresetSettings,
    PromptSettings,
    RemoteSettings,
    ReportSettings,
    SamplingSettings,
    ScaledInput,
    SeedSettings,
    SeriesSettings,
    SweepSettings,
    UpscaleMethod,
    UpscaleSettings,
)


@image_output("upscale")
@partial(flatten_settings, hidden=("refiner",))
def upscale(
    source: ScaledInput,
    upscaling: UpscaleSettings,
    method: UpscaleMethod,
    seed: SeedSettings,
    prompt: PromptSettings,
    sampling: SamplingSettings,
    sweep: SweepSettings,
    preset: PresetSettings,
    filtering: FilterSettings,
    model: ModelSettings,
    control: ControlSettings,
    compute: ComputeSettings,
    remote: RemoteSettings,
    output: OutputSettings,
    report: ReportSettings,
    image_args: OptionalImages = None,
) -> None:
    """Enlarge images.

    The result keeps transparency, gray mode, 16-bit depth, color profile, dpi, date and camera.

    lanczos resamples the image, without a model. model runs an upscaling network; a small network is bundled, others
    are downloaded at the first use. redraw generates details with img2img: the content of the image can change.

    artgen upscale photo.png --by 2
    artgen upscale photos/ --target-size 3840x2160 -o large/
    artgen upscale fox.png --by 4 --method redraw --strength 0.2
    """
    from artgen.spec.restoration_requests import Upscale

    image_paths = [*([source.image] if source.image else []), *(image_args or [])]
    check_stdin_uses(*image_paths, prompt.prompt)
    groups = (preset, filtering, source, upscaling, method, read_prompt(prompt), sampling, model, control, compute)
    options = OutputOptions(output, FramesSettings(), report, remote)
    if is_typed("seed") and method.method in (None, "lanczos"):
        raise UsageError(
            "The method lanczos does not support seed.", "Remove --seed, or use --method redraw.", settings=("seed",)
        )
    if method.method in (None, "lanczos"):
        status_line.hide_imports()
    if not report.quiet:
        status_line.start()
    if needs_batch(image_paths, sweep):
        series = SeriesSettings(seed=None if seed.seed is None else str(seed.seed))
        dispatch_batch(Upscale.task, groups, image_paths, series, sweep, options)
        return
    if not report.quiet:
        note_unused_settings(sweep)
    from artgen.cli.remote_jobs import create_jobs

    request = Upscale.from_settings(*groups, seed, image=image_paths[0] if image_paths else None)
    run_requests(create_jobs([request], options), report)
