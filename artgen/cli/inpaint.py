"""Define the command `artgen inpaint`."""

from functools import partial

from artgen.cli.dispatch import dispatch
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import ImagesAndPrompt, missing_mask_error, split_positionals
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
    InpaintBlend,
    InpaintDetails,
    MaskSettings,
    MaskTextSettings,
    ModelSettings,
    OutputSettings,
    PresetSettings,
    PromptSettings,
    RemoteSettings,
    SamplingSettings,
    SeriesSettings,
    SizeSettings,
    SweepSettings,
    VariationSettings,
)


@image_output("inpaint")
@partial(flatten_settings, hidden=("refiner",))
def inpaint(
    source: Img2ImgInput,
    prompt: PromptSettings,
    mask: MaskSettings,
    mask_text: MaskTextSettings,
    blend: InpaintBlend,
    details: InpaintDetails,
    series: SeriesSettings,
    selection: BestOfSettings,
    combination: CombinationSettings,
    sweep: SweepSettings,
    sampling: SamplingSettings,
    variation: VariationSettings,
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
    """Repaint the masked part of an image.

    Pixels outside the mask do not change. Gray mode, transparency, 16 bits per channel and the color profile are kept.
    JPEG and lossy WebP change all pixels slightly; PNG and WebP with --quality 100 do not.

    Without a prompt, the recorded prompt of the input image is used.

    artgen inpaint fox.png "a hat" --mask mask.png
    artgen inpaint photo.png "a snowman" --mask-text "dog AND NOT collar"
    artgen inpaint fox.png "a hat" --mask mask.png --feather 8 -o hat.png
    """
    from artgen.spec.requests import Inpaint

    image_paths, prompt = split_positionals(positionals, source, prompt)
    if mask.mask is None and mask_text.mask_text is None and len(image_paths) == 2:
        raise missing_mask_error(image_paths, prompt.prompt)
    canvas = resolve_size(canvas, size)
    groups = (
        preset, filtering, source, prompt, mask, mask_text, blend, details, sampling, variation, canvas, selection,
        model, control, compute,
    )  # fmt: skip
    options = OutputOptions(output, frames, report, remote)
    dispatch(Inpaint, groups, series, sweep, options, combination, image_paths=image_paths)
