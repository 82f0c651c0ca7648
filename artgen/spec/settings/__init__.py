"""Declare every setting once: name, default, help, flags and limits.

A group of settings is a frozen dataclass. The command line converts groups to options, and requests inherit groups.
Records and prompt files use the names of the fields. `validate` checks the limits.
"""

from collections.abc import Collection

from artgen.spec.fields import (
    Setting,
    aliases_of,
    canonical_keys,
    canonical_value,
    describe_value,
    option,
    options_of,
    path_settings,
    settings_of,
    type_of,
    unknown_setting_error,
    validate,
)
from artgen.spec.limits import describe_limits
from artgen.spec.parse_values import parse_value, parse_whole_number
from artgen.spec.settings.anomaly import AnomalySettings
from artgen.spec.settings.batch import (
    MAX_BATCH_SIZE,
    TASK_NAMES,
    BatchRunSettings,
    CombinationSettings,
    RunSettings,
    SeriesSettings,
    SweepSettings,
)
from artgen.spec.settings.best_of import (
    IMAGE_SCORES,
    MAX_CANDIDATES,
    BestOfSettings,
    RankRunSettings,
    RankSettings,
    ScoreSettings,
)
from artgen.spec.settings.compute import (
    ComputeSettings,
    DeviceSettings,
    LoraSettings,
    ModelFolders,
    ModelRef,
    ModelSettings,
)
from artgen.spec.settings.control import ControlSettings
from artgen.spec.settings.edit import EditSettings
from artgen.spec.settings.filters import FilterSettings
from artgen.spec.settings.frames import AnimationSettings, FramesSettings
from artgen.spec.settings.hires import HiresSettings, PanoramaSettings, SeamlessSettings
from artgen.spec.settings.image_prompt import ImagePromptSettings
from artgen.spec.settings.inputs import (
    FILL_METHODS,
    DenoiseSettings,
    FeatherSettings,
    Img2ImgInput,
    InpaintBlend,
    InpaintDetails,
    InputImage,
    InvertSettings,
    MaskSettings,
    OpaqueInput,
    OutpaintSettings,
    ScaledInput,
)
from artgen.spec.settings.mask_text import MASK_MODELS, MaskModelSettings, MaskTextSettings
from artgen.spec.settings.output import (
    DisplaySettings,
    GenerationReportSettings,
    OutputSettings,
    ReportSettings,
    ShowSettings,
)
from artgen.spec.settings.preset import PresetSettings
from artgen.spec.settings.prompts import PromptSettings
from artgen.spec.settings.remote import RemoteSettings, RemoteToken
from artgen.spec.settings.sampling import (
    MAX_SEED,
    MAX_SIDE_PX,
    CanvasSettings,
    ClassSettings,
    GuidanceSettings,
    SamplingSettings,
    SchedulerSettings,
    SeedSettings,
    SizeSettings,
    StepsSettings,
)
from artgen.spec.settings.signing import SigningFiles
from artgen.spec.settings.training import (
    CheckpointSettings,
    DatasetSettings,
    LoraTrainingSettings,
    LossSettings,
    OptimizerSettings,
)
from artgen.spec.settings.upscale import BatchMethodSettings, UpscaleMethod, UpscaleSettings
from artgen.spec.settings.variation import MorphSettings, VariationSettings
from artgen.spec.settings.worker import WorkerSettings, parse_keep_alive
from artgen.system.arguments import BOOLEAN_LITERALS

__all__ = [
    "BOOLEAN_LITERALS",
    "CONFIGURED_GROUPS",
    "FILL_METHODS",
    "IMAGE_SCORES",
    "MASK_MODELS",
    "MAX_BATCH_SIZE",
    "MAX_CANDIDATES",
    "MAX_SEED",
    "MAX_SIDE_PX",
    "SETTING_GROUPS",
    "TASK_NAMES",
    "TRAINING_GROUPS",
    "AnimationSettings",
    "AnomalySettings",
    "BatchMethodSettings",
    "BatchRunSettings",
    "BestOfSettings",
    "CanvasSettings",
    "CheckpointSettings",
    "ClassSettings",
    "CombinationSettings",
    "ComputeSettings",
    "ControlSettings",
    "DatasetSettings",
    "DenoiseSettings",
    "DeviceSettings",
    "DisplaySettings",
    "EditSettings",
    "FeatherSettings",
    "FilterSettings",
    "FramesSettings",
    "GenerationReportSettings",
    "GuidanceSettings",
    "HiresSettings",
    "ImagePromptSettings",
    "Img2ImgInput",
    "InpaintBlend",
    "InpaintDetails",
    "InputImage",
    "InvertSettings",
    "LoraSettings",
    "LoraTrainingSettings",
    "LossSettings",
    "MaskModelSettings",
    "MaskSettings",
    "MaskTextSettings",
    "ModelFolders",
    "ModelRef",
    "ModelSettings",
    "MorphSettings",
    "OpaqueInput",
    "OptimizerSettings",
    "OutpaintSettings",
    "OutputSettings",
    "PanoramaSettings",
    "PresetSettings",
    "PromptSettings",
    "RankRunSettings",
    "RankSettings",
    "RemoteSettings",
    "RemoteToken",
    "ReportSettings",
    "RunSettings",
    "SamplingSettings",
    "ScaledInput",
    "SchedulerSettings",
    "ScoreSettings",
    "SeamlessSettings",
    "SeedSettings",
    "SeriesSettings",
    "Setting",
    "ShowSettings",
    "SigningFiles",
    "SizeSettings",
    "StepsSettings",
    "SweepSettings",
    "UpscaleMethod",
    "UpscaleSettings",
    "VariationSettings",
    "WorkerSettings",
    "aliases_of",
    "canonical_keys",
    "canonical_value",
    "describe_limits",
    "describe_value",
    "excluded_settings",
    "option",
    "options_of",
    "parse_keep_alive",
    "parse_value",
    "parse_whole_number",
    "path_settings",
    "settings_of",
    "type_of",
    "unknown_setting_error",
    "validate",
]

SETTING_GROUPS: tuple[type, ...] = (
    PresetSettings,
    FilterSettings,
    PromptSettings,
    SeedSettings,
    SeriesSettings,
    CombinationSettings,
    RunSettings,
    SweepSettings,
    BatchRunSettings,
    StepsSettings,
    GuidanceSettings,
    SchedulerSettings,
    ClassSettings,
    SamplingSettings,
    VariationSettings,
    MorphSettings,
    CanvasSettings,
    SizeSettings,
    ScoreSettings,
    BestOfSettings,
    RankSettings,
    RankRunSettings,
    HiresSettings,
    PanoramaSettings,
    SeamlessSettings,
    InputImage,
    ScaledInput,
    OpaqueInput,
    Img2ImgInput,
    BatchMethodSettings,
    DenoiseSettings,
    InvertSettings,
    MaskSettings,
    FeatherSettings,
    MaskModelSettings,
    MaskTextSettings,
    InpaintBlend,
    InpaintDetails,
    EditSettings,
    OutpaintSettings,
    UpscaleMethod,
    UpscaleSettings,
    ModelRef,
    LoraSettings,
    ModelSettings,
    ControlSettings,
    ModelFolders,
    DeviceSettings,
    ComputeSettings,
    OutputSettings,
    AnimationSettings,
    FramesSettings,
    ShowSettings,
    DisplaySettings,
    ReportSettings,
    GenerationReportSettings,
    DatasetSettings,
    LoraTrainingSettings,
    OptimizerSettings,
    LossSettings,
    CheckpointSettings,
    AnomalySettings,
    WorkerSettings,
    RemoteSettings,
    RemoteToken,
    SigningFiles,
)
"""All groups."""


def excluded_settings(names: Collection[str]) -> set[str]:
    """Return the settings that settings with these names replace: `width` and `height` for `size`."""
    declared = {name: setting for group in SETTING_GROUPS for name, setting in settings_of(group).items()}
    return {each for name in names if name in declared for each in declared[name].excludes}


CONFIGURED_GROUPS: tuple[type, ...] = (ModelFolders, WorkerSettings, RemoteToken, SigningFiles)
"""Groups of settings without an option. Configuration files and the environment set them for all commands."""

TRAINING_GROUPS: tuple[type, ...] = (
    DatasetSettings,
    LoraTrainingSettings,
    OptimizerSettings,
    LossSettings,
    CheckpointSettings,
)
"""Groups that only training uses."""
