"""Define the state that consecutive calls of a process share. This module does not import torch."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artgen.jobs.job import Job

if TYPE_CHECKING:
    from artgen.engine.memory_policy import OomHistory


@dataclass(frozen=True)
class GenerationContext:
    """Store the state shared by consecutive `generate_jobs` calls of a process.

    Attributes:
        upcoming: Jobs of later calls, in order. Iterated only to encode their prompts in advance.
        remaining_seconds: Estimated duration of the later calls in seconds. 0: unknown.
        oom_history: Results of out-of-memory errors. The calls share and update this dictionary.
        previews: Whether the listener receives previews.
    """

    upcoming: Iterable[Job] = ()
    remaining_seconds: float = 0.0
    oom_history: "OomHistory" = field(default_factory=dict)
    previews: bool = False
