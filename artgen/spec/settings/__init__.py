"""Declare every setting once: name, default, help, flags and limits.

A group of settings is a frozen dataclass. The command line converts groups to options, and requests inherit groups.
Records and prompt files use the names of the fields. `validate` checks the limits.
"""

from artgen.spec.fields import (
    BOOLEAN_LITERALS,
    Setting,
    aliases_of,
    canonical_keys,
    canonical_value,
    describe_limits,
    option,
    options_of,
    parse_value,
    path_settings,
    settings_of,
    type_of,
    unknown_setting_error,
    validate,
)
from artgen.spec.settings.anomaly import AnomalySettings
from artgen.spec.settings.batch import MAX_BATCH_SIZE, TASK_NAMES, BatchRunSettings, SeriesSettings, SweepSettings
from artgen.spec.settings.compute import (
    ComputeSettings,
    DeviceSettings,
    LoraFolder,
    LoraSettings,
    ModelRef,
    ModelSettings,
)
from artgen.spec.settings.frames import AnimationSettings, FramesSettings
from artgen.spec.settings.inputs import (
    DenoiseSettings,
    Img2ImgInput,
    InpaintBlend,
    InputImage,
    MaskSettings,
    OutpaintSettings,
)
from artgen.spec.settings.output import OutputSettings, ReportSettings
from artgen.spec.settings.sampling import (
    MAX_SEED,
    MAX_SIDE_PX,
    CanvasSettings,
    PromptSettings,
    SamplingSettings,
    SeedSettings,
    SizeSettings,
    StepsSettings,
)
from artgen.spec.settings.training import (
    CheckpointSettings,
    DatasetSettings,
    LoraTrainingSettings,
    LossSettings,
    OptimizerSettings,
)

__all__ = [
    "BOOLEAN_LITERALS",
    "MAX_BATCH_SIZE",
    "MAX_SEED",
    "MAX_SIDE_PX",
    "SETTING_GROUPS",
    "TASK_NAMES",
    "TRAINING_GROUPS",
    "AnimationSettings",
    "AnomalySettings",
    "BatchRunSettings",
    "CanvasSettings",
    "CheckpointSettings",
    "ComputeSettings",
    "DatasetSettings",
    "DenoiseSettings",
    "DeviceSettings",
    "FramesSettings",
    "Img2ImgInput",
    "InpaintBlend",
    "InputImage",
    "LoraFolder",
    "LoraSettings",
    "LoraTrainingSettings",
    "LossSettings",
    "MaskSettings",
    "ModelRef",
    "ModelSettings",
    "OptimizerSettings",
    "OutpaintSettings",
    "OutputSettings",
    "PromptSettings",
    "ReportSettings",
    "SamplingSettings",
    "SeedSettings",
    "SeriesSettings",
    "Setting",
    "SizeSettings",
    "StepsSettings",
    "SweepSettings",
    "aliases_of",
    "canonical_keys",
    "canonical_value",
    "describe_limits",
    "option",
    "options_of",
    "parse_value",
    "path_settings",
    "settings_of",
    "type_of",
    "unknown_setting_error",
    "validate",
]

SETTING_GROUPS: tuple[type, ...] = (
    PromptSettings,
    SeedSettings,
    SeriesSettings,
    SweepSettings,
    BatchRunSettings,
    StepsSettings,
    SamplingSettings,
    CanvasSettings,
    SizeSettings,
    InputImage,
    Img2ImgInput,
    DenoiseSettings,
    MaskSettings,
    InpaintBlend,
    OutpaintSettings,
    ModelRef,
    LoraSettings,
    ModelSettings,
    LoraFolder,
    DeviceSettings,
    ComputeSettings,
    OutputSettings,
    AnimationSettings,
    FramesSettings,
    ReportSettings,
    DatasetSettings,
    LoraTrainingSettings,
    OptimizerSettings,
    LossSettings,
    CheckpointSettings,
    AnomalySettings,
)
"""All groups."""

TRAINING_GROUPS: tuple[type, ...] = (
    DatasetSettings,
    LoraTrainingSettings,
    OptimizerSettings,
    LossSettings,
    CheckpointSettings,
)
"""Groups that only training uses."""
