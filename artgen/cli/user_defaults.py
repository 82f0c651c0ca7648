"""Distinguish the settings of the command line from the defaults of the user.

The defaults come from the environment and from configuration files. A default that does not fit the other settings is
ignored with a note; a typed setting is refused.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from artgen.cli.console import print_note
from artgen.errors import ArtgenError, UsageError
from artgen.spec import settings
from artgen.spec.settings import options_of

if TYPE_CHECKING:
    from artgen.queue.plan import BatchPlan

_TYPED_SETTINGS: ContextVar[frozenset[str]] = ContextVar("typed settings", default=frozenset())


def set_typed(context: Any) -> None:
    """Remember the settings that were typed; `context` is the context of the command."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    _TYPED_SETTINGS.set(frozenset(name for name, source in sources.items() if source.name == "COMMANDLINE"))


def is_typed(name: str) -> bool:
    """Return whether a setting of the command was typed. Otherwise it is a default, also of a configuration file."""
    return name in _TYPED_SETTINGS.get()


def without_default(groups: Mapping[str, Any], error: ArtgenError, *, quiet: bool = False) -> dict[str, Any]:
    """Return the groups without the user's default that causes an error, and print a note.

    Args:
        groups: groups of settings by parameter.
        error: error of the command.
        quiet: do not print the note. The setting `quiet` has the same effect.

    Raises:
        ArtgenError: the error, if no default of the environment or of a configuration file causes it.
    """
    for setting in error.settings:
        for key, group in groups.items():
            field = options_of(type(group)).get(setting)
            if field is None or is_typed(setting) or getattr(group, setting) == field.default:
                continue
            report = next((each for each in groups.values() if isinstance(each, settings.ReportSettings)), None)
            if not quiet and (report is None or not report.quiet):
                print_note(
                    f"The default of {setting} from the environment or a configuration file is ignored: {error.message}"
                )
            return {**groups, key: replace(group, **{setting: field.default})}
    raise error


def check_unused_settings(plan: "BatchPlan", defaults: Mapping[str, Any]) -> list[str]:
    """Return a note for each default of the user that no job of a batch takes.

    Args:
        plan: plan of the batch.
        defaults: settings of the command, and defaults of the user.

    Raises:
        UsageError: no job takes a typed setting.
    """
    unused = plan.unused(name for name in defaults if name not in options_of(settings.FramesSettings))
    flags = [_flag(name, defaults[name]) for name in unused if is_typed(name)]
    if flags:
        tasks = ", ".join(sorted({job.request.task for job in plan.jobs}))
        raise UsageError(
            f"No job of the batch takes {' or '.join(flags)}: the tasks are {tasks}.",
            f"Remove {' and '.join(flags)}, or set the task of a line or --task.",
        )
    return plan.unused_default_notes(unused)


def _flag(name: str, value: Any) -> str:
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
