"""Define the command `artgen edit`."""

from functools import partial

from artgen.cli.dispatch import dispatch
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import ImagesAndPrompt, split_positionals
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions
from artgen.jobs.size import resolve_size
from artgen.spec.settings import (
    CanvasSettings,
    CombinationSettings,
    ComputeSettings,
    ControlSettings,
    EditSettings,
    FeatherSettings,
    FilterSettings,
    FramesSettings,
    GenerationReportSettings,
    MaskSettings,
    MaskTextSettings,
    ModelSettings,
    OpaqueInput,
    OutputSettings,
    PresetSettings,
    PromptSettings,
    RemoteSettings,
    SamplingSettings,
    SeriesSettings,
    SizeSettings,
    SweepSettings,
)


@image_output("edit")
@partial(flatten_settings, hidden=("refiner", "control", "control_guess"))
def edit(
    source: OpaqueInput,
    prompt: PromptSettings,
    editing: EditSettings,
    mask: MaskSettings,
    mask_text: MaskTextSettings,
    feather: FeatherSettings,
    series: SeriesSettings,
    combination: CombinationSettings,
    sweep: SweepSettings,
    sampling: SamplingSettings,
    canvas: CanvasSettings,
    size: SizeSettings,
    preset: PresetSettings,
    filtering: FilterSettings,
    model: ModelSettings,
    control: ControlSettings,
    compute: ComputeSettings,
    remote: RemoteSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: GenerationReportSettings,
    positionals: ImagesAndPrompt = None,
) -> None:
    """Change an image according to an instruction.

    The model must be trained for instructions: InstructPix2Pix, Flux.1 Kontext, Flux.2, Qwen-Image-Edit and others. The
    default model is downloaded at the first use.

    With --mask, pixels outside the mask do not change. The transparency of the input image is kept.

    artgen edit photo.png "make it winter"
    artgen edit photo.png "make the car red" --mask car.png -o red.png
    artgen edit a.png "add the chair" --reference chair.png -m flux2-klein
    """
    from artgen.spec.requests import Edit

    image_paths, prompt = split_positionals(positionals, source, prompt)
    groups = (
        preset, filtering, source, prompt, editing, mask, mask_text, feather, sampling, resolve_size(canvas, size),
        model, control, compute,
    )  # fmt: skip
    dispatch(
        Edit, groups, series, sweep, OutputOptions(output, frames, report, remote), combination, image_paths=image_paths
    )
