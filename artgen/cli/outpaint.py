"""Define the command `artgen outpaint`."""

from functools import partial

from artgen.cli.dispatch import dispatch
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import ImagesAndPrompt, split_positionals
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions
from artgen.spec.settings import (
    BestOfSettings,
    CombinationSettings,
    ComputeSettings,
    ControlSettings,
    FilterSettings,
    FramesSettings,
    GenerationReportSettings,
    Img2ImgInput,
    InpaintBlend,
    ModelSettings,
    OutpaintSettings,
    OutputSettings,
    PresetSettings,
    PromptSettings,
    RemoteSettings,
    SamplingSettings,
    SeriesSettings,
    SweepSettings,
    VariationSettings,
)


@image_output("outpaint")
@partial(flatten_settings, hidden=("refiner",))
def outpaint(
    source: Img2ImgInput,
    prompt: PromptSettings,
    expansion: OutpaintSettings,
    blend: InpaintBlend,
    series: SeriesSettings,
    selection: BestOfSettings,
    combination: CombinationSettings,
    sweep: SweepSettings,
    sampling: SamplingSettings,
    variation: VariationSettings,
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
    """Extend an image beyond its edges.

    A narrow band at these edges is blended. All other pixels of the input image do not change. --feather sets the width
    of the band; with --feather 0 no pixel of the input image changes.

    Gray mode, transparency, 16 bits per channel and the color profile are kept.

    Without a prompt, the recorded prompt of the input image is used.

    artgen outpaint fox.png "a meadow" --expand 64
    artgen outpaint fox.png "a meadow" --expand left=64,right=64 -o wide.png
    """
    from artgen.spec.requests import Outpaint

    image_paths, prompt = split_positionals(positionals, source, prompt)
    groups = (
        preset,
        filtering,
        source,
        prompt,
        expansion,
        blend,
        sampling,
        variation,
        selection,
        model,
        control,
        compute,
    )
    options = OutputOptions(output, frames, report, remote)
    dispatch(Outpaint, groups, series, sweep, options, combination, image_paths=image_paths)
