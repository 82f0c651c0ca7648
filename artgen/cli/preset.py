"""Define the command `artgen preset`: named settings of the user."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from artgen.cli.console import print_note, print_result
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import AliasCommand, flatten_settings
from artgen.cli.user_defaults import is_typed
from artgen.errors import UsageError
from artgen.jobs.size import resolve_size
from artgen.spec.config_values import format_value
from artgen.spec.settings import (
    BatchMethodSettings,
    BestOfSettings,
    CanvasSettings,
    ComputeSettings,
    EditSettings,
    FilterSettings,
    HiresSettings,
    Img2ImgInput,
    InpaintBlend,
    InpaintDetails,
    InvertSettings,
    MaskSettings,
    MaskTextSettings,
    ModelSettings,
    OutputSettings,
    PanoramaSettings,
    PromptSettings,
    SamplingSettings,
    SeamlessSettings,
    SeriesSettings,
    SizeSettings,
    UpscaleSettings,
    VariationSettings,
    options_of,
)

app = App(
    """Save, list, show and remove presets: named settings for --preset.

    artgen preset save portrait --steps 28 -g 6 -n "blurry"
    artgen preset list
    artgen txt2img "a woman" --preset portrait
    """
)

PresetName = Annotated[str, typer.Argument(help="Name of the preset.", metavar="NAME")]

SETTINGS_OF_ONE_IMAGE = frozenset({"prompt", "seed", "variation_seed", "image", "mask", "reference"})
"""Settings that a preset does not contain. Their options are accepted to explain this."""


@dataclass(frozen=True)
class PresetReport:
    """Describe a preset.

    Attributes:
        name: name.
        settings: settings by name. A value is a text, a number, true, false or a list of texts.
        file: file that contains the preset.
    """

    name: str
    settings: dict[str, Any]
    file: Path


LIST_OUTPUT = JsonOutput(lambda: PresetReport)
SHOW_OUTPUT = JsonOutput(lambda: PresetReport, is_list=False)


@app.command(cls=AliasCommand)
@partial(flatten_settings, hidden=SETTINGS_OF_ONE_IMAGE)
def save(
    name: PresetName,
    prompt: PromptSettings,
    series: SeriesSettings,
    sampling: SamplingSettings,
    variation: VariationSettings,
    canvas: CanvasSettings,
    size: SizeSettings,
    hires: HiresSettings,
    panorama: PanoramaSettings,
    seamless: SeamlessSettings,
    source: Img2ImgInput,
    inversion: InvertSettings,
    selection: BestOfSettings,
    mask: MaskSettings,
    mask_text: MaskTextSettings,
    blend: InpaintBlend,
    details: InpaintDetails,
    editing: EditSettings,
    denoise_settings: BatchMethodSettings,
    upscaling: UpscaleSettings,
    model: ModelSettings,
    compute: ComputeSettings,
    filtering: FilterSettings,
    output: OutputSettings,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Also save the settings in the metadata of an image.", metavar="IMAGE"),
    ] = None,
) -> None:
    """Save the given options as a preset.

    --overwrite replaces a preset. Options that are not given are not saved.

    artgen preset save portrait --steps 28 -g 6 -n "blurry"
    """
    from artgen.spec import presets
    from artgen.spec.preset_values import PRESET_SETTINGS

    groups = (
        prompt, series, sampling, variation, resolve_size(canvas, size), hires, panorama, seamless, source, inversion,
        selection, mask, mask_text, blend, details, editing, denoise_settings, upscaling, model, compute, filtering,
        output,
    )  # fmt: skip
    names = dict.fromkeys(each for group in groups for each in options_of(type(group)) if each != "overwrite")
    if refused := [each for each in names if is_typed(each) and each not in PRESET_SETTINGS]:
        reason = ": each image has its own" if {*refused} <= SETTINGS_OF_ONE_IMAGE else ""
        raise UsageError(
            f"A preset cannot contain {' and '.join(refused)}{reason}.",
            f'artgen txt2img "a red fox" --preset {name}',
        )
    values: dict[str, Any] = {}
    if from_ is not None:
        from artgen.jobs.recorded_settings import recorded_settings

        values, notes = recorded_settings(from_)
        for note in notes:
            print_note(note)
    typed = {each for each in PRESET_SETTINGS if is_typed(each) or (size.size and each in ("width", "height"))}
    for group in groups:
        for each in options_of(type(group)).keys() & typed:
            values[each] = _with_absolute_path(each, getattr(group, each))
    values = {each: values[each] for each in PRESET_SETTINGS if each in values}
    path = presets.save_preset(name, values, overwrite=output.overwrite)
    print_note(f"Saved the preset '{name}' in '{path}': {_text(presets.find_preset(name).values)}.")


def _with_absolute_path(name: str, value: Any) -> Any:
    """Return the value of a setting in which the path of an existing file or folder is absolute."""
    from artgen.spec.embedding import parse_embedding
    from artgen.spec.lora import parse_lora
    from artgen.spec.refiner import parse_refiner

    def absolute(text: str) -> str:
        path = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
        is_path = os.path.basename(path) != path or Path(path).suffix  # noqa: PTH119 - else it can be an alias
        return os.path.abspath(path) if is_path and os.path.lexists(path) else text  # noqa: PTH100

    parsers: Mapping[str, Callable[[str], Any]] = {"lora": parse_lora, "embedding": parse_embedding}
    if name in parsers:
        specs = [parsers[name](text) for text in value]
        return tuple(
            text if (path := absolute(spec.name)) == spec.name else str(spec._replace(name=path))
            for text, spec in zip(value, specs, strict=True)
        )
    if name == "refiner":
        refiner = parse_refiner(value)
        return str(refiner._replace(model=absolute(refiner.model)))
    models = ("model", "vae", "hires_model", "upscale_model", "mask_model", "score_model")
    return absolute(value) if name in models else value


@app.command("list")
@LIST_OUTPUT
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False) -> None:
    """List your presets and the presets of artgen.toml.

    artgen preset list
    """
    from artgen.spec.presets import list_presets

    found = list_presets()
    width = max((len(preset.name) for preset in found), default=0)
    for preset in found:
        if as_json:
            LIST_OUTPUT.print(PresetReport(preset.name, dict(preset.values), preset.file))
        else:
            print_result(f"{preset.name:<{width}}  {_text(preset.values)}")
    if not found:
        print_note("No presets exist. Save one: artgen preset save portrait --steps 28")


@app.command()
@SHOW_OUTPUT
def show(
    name: PresetName, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Print the settings of a preset.

    artgen preset show portrait
    """
    from artgen.spec.presets import find_preset

    preset = find_preset(name)
    if as_json:
        SHOW_OUTPUT.print(PresetReport(preset.name, dict(preset.values), preset.file))
        return
    print_note(f"{preset.file}:")
    for key, value in preset.values.items():
        print_result(f"{key} = {format_value(value)}")


@app.command()
def remove(name: PresetName) -> None:
    """Remove a preset.

    artgen preset remove portrait
    """
    from artgen.spec.presets import remove_preset

    print_note(f"Removed the preset '{name}' from '{remove_preset(name)}'.")


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={format_value(value)}" for name, value in values.items())
