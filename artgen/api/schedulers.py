"""List the schedulers."""

from dataclasses import dataclass

from artgen.spec.schedulers import SCHEDULERS


@dataclass(frozen=True)
class SchedulerInfo:
    """Describe a scheduler.

    Attributes:
        name: name in artgen and in records.
        label: display name in AUTOMATIC1111.
        class_: name of the diffusers class.
        aliases: other accepted names.
        sigmas: whether `karras`, `exponential` or `beta` can follow the name.
        flow: whether the scheduler supports only flow-matching models.
        requires: packages that the scheduler needs and that artgen does not install by default.
        note: description.
    """

    name: str
    label: str
    class_: str
    aliases: tuple[str, ...]
    sigmas: bool
    flow: bool
    requires: tuple[str, ...]
    note: str


def list_schedulers() -> list[SchedulerInfo]:
    """Return the schedulers and their aliases. Names ignore case, spaces and punctuation."""
    return [
        SchedulerInfo(
            name=entry.name,
            label=entry.a1111_name,
            class_=entry.class_name,
            aliases=entry.aliases,
            sigmas=entry.supports_sigmas,
            flow=entry.is_flow_matching,
            requires=entry.required_packages,
            note=entry.note,
        )
        for entry in SCHEDULERS
    ]
