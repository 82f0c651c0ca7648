"""Define the command `artgen img2img`."""

from artgen.cli.dispatch import dispatch
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import ImagesAndPrompt, split_positionals
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions
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
    Img2ImgInput,
    InvertSettings,
    ModelSettings,
    OutputSettings,
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


@image_output("img2img")
@flatten_settings
def img2img(
    source: Img2ImgInput,
    prompt: PromptSettings,
    inversion: InvertSettings,
    series: SeriesSettings,
    selection: BestOfSettings,
    combination: CombinationSettings,
    sweep: SweepSettings,
    sampling: SamplingSettings,
    variation: VariationSettings,
    canvas: CanvasSettings,
    size: SizeSettings,
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
    positionals: ImagesAndPrompt = None,
) -> None:
    """Generate an image from an image and a prompt.

    The transparency of the input image is kept. The model generates color, so a gray image gives a color image.

    Without a prompt, the recorded prompt of the input image is used.

    artgen img2img fox.png "a blue fox"
    artgen img2img fox.png "a blue fox" --strength 0.4 --seed 7 -o blue.png
    artgen img2img photos/ "an oil painting" -o paintings/
    """
    from artgen.spec.requests import Img2Img

    image_paths, prompt = split_positionals(positionals, source, prompt)
    canvas = resolve_size(canvas, size)
    groups = (
        preset, filtering, source, prompt, inversion, sampling, variation, canvas, seamless, selection, model, control,
        compute,
    )  # fmt: skip
    options = OutputOptions(output, frames, report, remote)
    dispatch(Img2Img, groups, series, sweep, options, combination, image_paths=image_paths)
