"""Define the keywords of each function of the Python API, as groups of settings.

`docs/generate_keywords.py` writes `artgen/api/keyword_types.py` from this table, for editors and type checkers.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, NamedTuple

from artgen.spec.settings import (
    AnomalySettings,
    BatchRunSettings,
    BestOfSettings,
    CanvasSettings,
    CheckpointSettings,
    ClassSettings,
    CombinationSettings,
    ComputeSettings,
    ControlSettings,
    DatasetSettings,
    DenoiseSettings,
    DeviceSettings,
    EditSettings,
    FeatherSettings,
    FilterSettings,
    FramesSettings,
    GuidanceSettings,
    HiresSettings,
    Img2ImgInput,
    InpaintBlend,
    InpaintDetails,
    InvertSettings,
    LoraSettings,
    LoraTrainingSettings,
    LossSettings,
    MaskModelSettings,
    MaskSettings,
    MaskTextSettings,
    ModelRef,
    ModelSettings,
    MorphSettings,
    OpaqueInput,
    OptimizerSettings,
    OutpaintSettings,
    OutputSettings,
    PanoramaSettings,
    PresetSettings,
    PromptSettings,
    RankSettings,
    SamplingSettings,
    ScaledInput,
    SchedulerSettings,
    SeamlessSettings,
    SeedSettings,
    SeriesSettings,
    SizeSettings,
    StepsSettings,
    UpscaleMethod,
    UpscaleSettings,
    VariationSettings,
    options_of,
)


class Keyword(NamedTuple):
    """Describe a keyword that is not a setting, or whose type or meaning differs from the setting.

    Attributes:
        type: type, as Python code.
        help: sentences for the docstring of the function.
        default: default value.
    """

    type: str
    help: str
    default: object = None


COMMON_KEYWORDS: Mapping[str, Keyword] = {
    "progress": Keyword("bool | None", "Show a progress bar on stderr. [in a notebook]"),
    "listener": Keyword("Listener | None", "Function that receives the events of `artgen.events`."),
}
"""Keywords of all functions that generate or download."""

_FRAMES = {"frames": Keyword("bool", "Return the intermediate steps in `GeneratedImage.frames`. [off]", False)}
_SERIES = {
    "seed": Keyword(
        "int | Sequence[int] | None", "Random seed. With a list of seeds, one image for each. -1 is random. [random]"
    ),
    "count": Keyword(
        "int | None",
        "Number of images. The seed increases by 1 from image to image. [one image, which is not in a list]",
    ),
}
_NOT_IN_PYTHON = ("fps",)


@dataclass(frozen=True)
class FunctionSpec:
    """Store the keywords of a function.

    Attributes:
        groups: groups whose settings are keywords, in order.
        omitted: settings of the groups that are parameters of the function itself, or that it does not take.
        extra: other keywords; they replace settings with the same name.
        has_recorded_defaults: whether settings that are not given have the values of a record. The signature shows
            `...` as their default.
    """

    groups: tuple[type, ...]
    omitted: tuple[str, ...] = ()
    extra: Mapping[str, Keyword] = field(default_factory=dict)
    has_recorded_defaults: bool = False


_ONE_IMAGE = {**_FRAMES, **COMMON_KEYWORDS}
_IMAGES = {**_SERIES, **_ONE_IMAGE}
_VARIATION = (VariationSettings, MorphSettings)
_MODEL = (PresetSettings, FilterSettings, ModelSettings, ControlSettings, ComputeSettings, FramesSettings)

FUNCTIONS: dict[str, FunctionSpec] = {
    "txt2img": FunctionSpec(
        (
            *(PromptSettings, SamplingSettings, *_VARIATION, CanvasSettings, SizeSettings),
            *(HiresSettings, PanoramaSettings, SeamlessSettings, SeriesSettings),
            *(BestOfSettings, *_MODEL),
        ),
        ("prompt", *_NOT_IN_PYTHON),
        _IMAGES,
    ),
    "img2img": FunctionSpec(
        (
            *(Img2ImgInput, PromptSettings, InvertSettings, SamplingSettings, VariationSettings, CanvasSettings),
            *(SizeSettings, SeamlessSettings, SeriesSettings, BestOfSettings, *_MODEL),
        ),
        ("image", "prompt", *_NOT_IN_PYTHON),
        _IMAGES,
    ),
    "inpaint": FunctionSpec(
        (
            *(
                Img2ImgInput,
                PromptSettings,
                MaskSettings,
                MaskTextSettings,
                InpaintBlend,
                InpaintDetails,
                SamplingSettings,
                VariationSettings,
            ),
            *(CanvasSettings, SizeSettings, SeriesSettings, BestOfSettings, *_MODEL),
        ),
        ("image", "mask", "prompt", *_NOT_IN_PYTHON),
        _IMAGES,
    ),
    "outpaint": FunctionSpec(
        (
            *(Img2ImgInput, PromptSettings, OutpaintSettings, InpaintBlend, SamplingSettings, VariationSettings),
            *(SeriesSettings, BestOfSettings, *_MODEL),
        ),
        ("image", "prompt", *_NOT_IN_PYTHON),
        _IMAGES,
    ),
    "edit": FunctionSpec(
        (
            *(OpaqueInput, PromptSettings, EditSettings, MaskSettings, MaskTextSettings),
            *(FeatherSettings, SamplingSettings),
            *(CanvasSettings, SizeSettings, SeriesSettings, *_MODEL),
        ),
        ("image", "mask", "prompt", *_NOT_IN_PYTHON),
        {"mask": Keyword("ImageInput | None", "Mask. Only its white pixels are edited."), **_IMAGES},
    ),
    "denoise": FunctionSpec(
        (
            ScaledInput,
            DenoiseSettings,
            StepsSettings,
            SeedSettings,
            PresetSettings,
            FilterSettings,
            LoraSettings,
            DeviceSettings,
            FramesSettings,
        ),
        ("image", *_NOT_IN_PYTHON),
        {
            "reference": Keyword(
                "ImageInput | None", "Noise-free version of the image. `GeneratedImage.metrics` compares with it."
            ),
            **_ONE_IMAGE,
        },
    ),
    "upscale": FunctionSpec(
        (
            *(UpscaleMethod, UpscaleSettings, ScaledInput, PromptSettings, SamplingSettings, SeedSettings),
            *(PresetSettings, FilterSettings, ModelSettings, ControlSettings, ComputeSettings),
        ),
        ("image",),
        COMMON_KEYWORDS,
    ),
    "sample": FunctionSpec(
        (
            *(StepsSettings, GuidanceSettings, SchedulerSettings, ClassSettings, SeriesSettings),
            *(PresetSettings, FilterSettings, ModelRef, DeviceSettings, FramesSettings),
        ),
        _NOT_IN_PYTHON,
        _IMAGES,
    ),
    "replay": FunctionSpec(
        (
            *(PromptSettings, InvertSettings, MaskSettings, Img2ImgInput, OutpaintSettings),
            *(MaskTextSettings, InpaintBlend, InpaintDetails, EditSettings, DenoiseSettings, UpscaleSettings),
            *(SamplingSettings, *_VARIATION, CanvasSettings, HiresSettings, PanoramaSettings, SeamlessSettings),
            *(ClassSettings, SeedSettings, BestOfSettings),
            *_MODEL[1:],
        ),
        _NOT_IN_PYTHON,
        {
            "image": Keyword("ImageInput", "Input image, if the file of the original is missing or for another image."),
            "mask": Keyword("ImageInput", "Mask, if the file of the original is missing or for another mask."),
            "offline": Keyword("bool", "Do not use the network.", False),
            **_ONE_IMAGE,
        },
        has_recorded_defaults=True,
    ),
    "variations": FunctionSpec(
        (
            *(PromptSettings, Img2ImgInput, MaskTextSettings, InpaintBlend, InpaintDetails, OutpaintSettings),
            *(SamplingSettings, CanvasSettings, *_MODEL[1:-1]),
        ),
        ("image",),
        {
            "amount": Keyword("float", "How different the images are, 0 to 1. 0 is the image itself. [0.2]", 0.2),
            "seed": Keyword("int | Sequence[int] | None", "Seeds of the variations. -1 is random. [random]"),
            "count": Keyword("int | None", "Number of images. [4, or one for each seed of a list]"),
            "offline": Keyword("bool", "Do not use the network.", False),
            **COMMON_KEYWORDS,
        },
        has_recorded_defaults=True,
    ),
    "morph": FunctionSpec(
        (PromptSettings, SamplingSettings, CanvasSettings, *_MODEL[1:-1]),
        (),
        {
            "frames": Keyword("int", "Number of frames. [24]", 24),
            "loop": Keyword("bool", "Change back to the first image at the end.", False),
            "offline": Keyword("bool", "Do not use the network.", False),
            **COMMON_KEYWORDS,
        },
        has_recorded_defaults=True,
    ),
    "batch": FunctionSpec(
        (
            *(BatchRunSettings, PromptSettings, SamplingSettings, ClassSettings, CanvasSettings, SizeSettings),
            *(HiresSettings, PanoramaSettings, SeamlessSettings),
            *(Img2ImgInput, InvertSettings, MaskSettings, InpaintBlend, InpaintDetails, OutpaintSettings),
            *(MaskTextSettings, EditSettings, DenoiseSettings, UpscaleSettings, *_VARIATION, SeriesSettings),
            BestOfSettings,
            *(CombinationSettings, PresetSettings, FilterSettings, ModelSettings, ControlSettings, ComputeSettings),
            *(OutputSettings, FramesSettings),
        ),
        ("image", "output", "overwrite"),
        {
            "folder": Keyword(
                "str | PathLike[str] | None",
                "Folder of the images, or a template that begins with it: `out/{seed}.png`. [outputs/NAME]",
            ),
            "sweep": Keyword(
                "Mapping[str, object] | Sequence[str] | None",
                'Generate an image for each combination of values: {"steps": [10, 20], "guidance": "3:9:2"}. Also '
                "writes labeled contact sheets to the folder.",
            ),
            **_SERIES,
            **COMMON_KEYWORDS,
        },
    ),
    "train": FunctionSpec(
        (
            *(DatasetSettings, LoraTrainingSettings, OptimizerSettings, LossSettings, CheckpointSettings),
            *(ModelRef, DeviceSettings),
        ),
        ("folder",),
        {
            "output": Keyword(
                "str | PathLike[str] | None",
                "The result: a .safetensors file for a LoRA, otherwise a model folder. Required.",
            ),
            "steps": Keyword("int | None", "Another name of train_steps."),
            "overwrite": Keyword("bool", "Overwrite an existing result, and train from the start. [off]", False),
            "seed": Keyword("int", "Random seed of the training. [0]", 0),
            **COMMON_KEYWORDS,
        },
    ),
    "anomaly": FunctionSpec(
        (AnomalySettings, ModelRef, DeviceSettings),
        (),
        {
            "save_fit": Keyword(
                "str | PathLike[str] | None", "Save the statistics of the normal images to a .safetensors file."
            ),
            "overwrite": Keyword("bool", "Overwrite an existing file of `save_fit`. [off]", False),
            **COMMON_KEYWORDS,
        },
    ),
    "control_map": FunctionSpec(
        (),
        (),
        {
            "device": Keyword("str", "Device of the preprocessor: auto, cpu, mps, cuda or cuda:N. [auto]", "auto"),
            "offline": Keyword("bool", "Use only files on the disk. [off]", False),
            "preprocessor": Keyword(
                "str | PathLike[str] | None",
                "Folder of a model for depth or seg, or two folders DETECTOR+POSE for pose. [the default model]",
            ),
            **COMMON_KEYWORDS,
        },
    ),
    "noise": FunctionSpec(
        (),
        (),
        {
            "steps": Keyword("int", "Number of images, 2 to 50. The first image has no noise. [8]", 8),
            "schedule": Keyword(
                'Literal["linear", "scaled-linear", "cosine", "flow"] | None',
                "Noise schedule. linear: DDPM. scaled-linear: Stable Diffusion. cosine: Improved DDPM. flow: flow "
                "matching. [linear, or the schedule of the model]",
            ),
            "seed": Keyword("int", "Random seed. [0]", 0),
            "space": Keyword(
                'Literal["pixel", "latent"]', "Add noise to pixels, or to the latents of a model. [pixel]", "pixel"
            ),
            "model": Keyword(
                "str | PathLike[str] | None",
                "Use the noise schedule of this model, and its autoencoder for latents.",
            ),
            "cell": Keyword("int", "Maximum width and height of each image in pixels, 32 to 2048. [256]", 256),
            "frames": Keyword("bool", "Also return an animation with 33 noise levels. [off]", False),
            **COMMON_KEYWORDS,
        },
    ),
    "sheet": FunctionSpec(
        (),
        (),
        {
            "columns": Keyword("int", "Images per row, 0 to 100. 0 makes the sheet square. [0]", 0),
            "rows": Keyword("int", "Rows per page, 1 to 100. [12]", 12),
            "cell": Keyword(
                "int | None",
                "Width and height of each cell in pixels, 32 to 2048. [256; with repeat the size of the repeated "
                "image]",
            ),
            "label": Keyword(
                "str",
                "Label of each image: auto (the settings that differ), none, or settings such as `seed,steps`. [auto]",
                "auto",
            ),
            "repeat": Keyword("str | None", "Copies of each image per row and column, as a texture: `3x3`. [one copy]"),
        },
    ),
    "mask": FunctionSpec(
        (MaskModelSettings, DeviceSettings),
        (),
        {"offline": Keyword("bool", "Do not use the network.", False), **COMMON_KEYWORDS},
    ),
    "rank": FunctionSpec((RankSettings, ModelRef, DeviceSettings), ("prompt",), COMMON_KEYWORDS),
    "reconstruct": FunctionSpec((ModelRef, DeviceSettings), (), COMMON_KEYWORDS),
    "explain_prompt": FunctionSpec((PromptSettings, StepsSettings, SeedSettings, LoraSettings), ("prompt",)),
    "pull_model": FunctionSpec(
        (),
        (),
        {
            "force": Keyword("bool", "Verify the existing files, and replace damaged files. [off]", False),
            **COMMON_KEYWORDS,
        },
    ),
    "verify_model": FunctionSpec((), (), COMMON_KEYWORDS),
    "convert_model": FunctionSpec(
        (),
        (),
        {
            "output": Keyword("str | PathLike[str] | None", "File or folder. [FILE with .safetensors]"),
            "overwrite": Keyword("bool", "Replace existing files. [off]", False),
            **COMMON_KEYWORDS,
        },
    ),
}
"""Keywords of the functions, by name of the function."""


def keyword_class(name: str) -> str:
    """Return the name of the class in `artgen.api.keyword_types` with the keywords of a function."""
    return "".join(part.capitalize() for part in name.split("_")).replace("2img", "2Img") + "Keywords"


def keyword_defaults(spec: FunctionSpec) -> dict[str, Any]:
    """Return the keywords of a function and their defaults, in order."""
    defaults: dict[str, Any] = {}
    for group in spec.groups:
        for name, each in options_of(group).items():
            if name not in spec.omitted:
                default = ... if spec.has_recorded_defaults else each.default
                defaults.setdefault(name, None if default is MISSING else default)
    return defaults | {name: keyword.default for name, keyword in spec.extra.items()}
