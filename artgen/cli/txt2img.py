"""Define the command `artgen txt2img`."""

from functools import partial

from artgen.cli.dispatch import dispatch
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import missing_prompt_hint, read_prompt
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions
from artgen.errors import UsageError
from artgen.jobs.size import resolve_size
from artgen.spec.settings import (
    BestOfSettings,
    CanvasSettings,
    CombinationSettings,
    ComputeSettings,
    ControlSettings,
    FilterSettings,
    FramesSettings,
    GenerationReportSettings,
    HiresSettings,
    ModelSettings,
    MorphSettings,
    OutputSettings,
    PanoramaSettings,
    PresetSettings,
    PromptSettings,
    RemoteSettings,
    SamplingSettings,
    SeamlessSettings,
    SeriesSettings,
    SizeSettings,
    SweepSettings,
    VariationSettings,
)


@image_output("txt2img")
@partial(flatten_settings, hidden=("include_noising",))
def txt2img(
    prompt: PromptSettings,
    series: SeriesSettings,
    selection: BestOfSettings,
    combination: CombinationSettings,
    sweep: SweepSettings,
    sampling: SamplingSettings,
    variation: VariationSettings,
    morph: MorphSettings,
    canvas: CanvasSettings,
    size: SizeSettings,
    hires: HiresSettings,
    panorama: PanoramaSettings,
    seamless: SeamlessSettings,
    preset: PresetSettings,
    filtering: FilterSettings,
    model: ModelSettings,
    control: ControlSettings,
    compute: ComputeSettings,
    remote: RemoteSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: GenerationReportSettings,
) -> None:
    """Generate an image from a prompt.

    artgen txt2img "a red fox in the snow"
    artgen txt2img "a red fox in the snow" --seed 7 --steps 30 -o fox.png
    artgen txt2img "a red fox in the snow" --count 4 -o foxes/
    """
    from artgen.spec.requests import Txt2Img

    prompt = read_prompt(prompt)
    has_prompt = prompt.prompt.strip() or any(text.startswith("prompt=") for text in sweep.sweep)
    if not has_prompt and not control.image_prompt:
        raise UsageError("Cannot run txt2img: the prompt is missing.", missing_prompt_hint())
    canvas = resolve_size(canvas, size)
    enlargement = (hires, panorama, seamless)
    groups = (
        preset,
        filtering,
        prompt,
        sampling,
        variation,
        morph,
        canvas,
        *enlargement,
        selection,
        model,
        control,
        compute,
    )
    dispatch(Txt2Img, groups, series, sweep, OutputOptions(output, frames, report, remote), combination)
