"""Every setting, declared once: default, help, flags and limits stand on its field and nowhere else.

A group is a small frozen dataclass. The command line splices groups into a command's options; a request inherits
them; a record and a prompt file use the same field names. `check` holds the limits wherever a value came from.
"""

from artgen.declarations import Setting, check, describe_limits, parse, setting, settings_of, type_of, unknown
from artgen.settings.anomalies import Surprise
from artgen.settings.drawing import MAX_SEED, MAX_SIDE, Canvas, Prompt, Sampling, Seed, Size, Steps
from artgen.settings.frames import Film, Frames
from artgen.settings.learning import Learning, Loss, Optimisation, Progress
from artgen.settings.models import Adapted, Compute, Model, Place, Shelf, Weights
from artgen.settings.pictures import Blend, Expansion, Mask, Noise, Picture, Source
from artgen.settings.results import Output, Report
from artgen.settings.running import LARGEST_BATCH, TASK_NAMES, Run, Series, Sweep
from artgen.settings.training import Data

__all__ = [
    "GROUPS",
    "LARGEST_BATCH",
    "MAX_SEED",
    "MAX_SIDE",
    "TASK_NAMES",
    "TRAINING",
    "Adapted",
    "Blend",
    "Canvas",
    "Compute",
    "Data",
    "Expansion",
    "Film",
    "Frames",
    "Learning",
    "Loss",
    "Mask",
    "Model",
    "Noise",
    "Optimisation",
    "Output",
    "Picture",
    "Place",
    "Progress",
    "Prompt",
    "Report",
    "Run",
    "Sampling",
    "Seed",
    "Series",
    "Setting",
    "Shelf",
    "Size",
    "Source",
    "Steps",
    "Surprise",
    "Sweep",
    "Weights",
    "check",
    "describe_limits",
    "parse",
    "setting",
    "settings_of",
    "type_of",
    "unknown",
]

GROUPS: tuple[type, ...] = (
    Prompt,
    Seed,
    Series,
    Sweep,
    Run,
    Steps,
    Sampling,
    Canvas,
    Size,
    Picture,
    Source,
    Noise,
    Mask,
    Blend,
    Expansion,
    Weights,
    Adapted,
    Model,
    Shelf,
    Place,
    Compute,
    Output,
    Film,
    Frames,
    Report,
    Data,
    Learning,
    Optimisation,
    Loss,
    Progress,
    Surprise,
)
"""All groups that commands take. A prompt file and a configuration file hold what they name of these."""

TRAINING: tuple[type, ...] = (Data, Learning, Optimisation, Loss, Progress)
"""Groups that only training takes."""
