"""Convert setting groups to Typer options.

A command function takes groups (`prompt: PromptSettings, sampling: SamplingSettings`). `flatten_settings` replaces each
group in the signature with one option per setting, and calls the function with the groups.
"""

import functools
import inspect
import os
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import ArgumentInfo

from artgen.cli import user_defaults
from artgen.cli.help import Command
from artgen.cli.help_sections import SECTION_TITLES
from artgen.errors import ArtgenError, UsageError
from artgen.spec import settings
from artgen.spec.settings import Setting, options_of, type_of


def flatten_settings(command: Callable[..., None], hidden: Collection[str] = ()) -> Callable[..., None]:
    """Return a function that Typer can run as a command: one parameter per setting of each group.

    A positional setting is also an option. Positional arguments are assigned, in order, to the settings whose option is
    not used. If the command defines its own arguments, settings are only options.

    Args:
        command: function with groups as parameters.
        hidden: settings that `--help` does not contain.
    """
    groups: dict[str, type] = {
        name: hint for name, hint in typing.get_type_hints(command).items() if hint in settings.SETTING_GROUPS
    }
    has_positionals = _has_positionals(command)
    parameters, positionals = _build_parameters(groups.values(), hidden, has_positionals=has_positionals)

    @functools.wraps(command)
    def run(_context: typer.Context, **values: Any) -> None:
        user_defaults.apply_priorities(_context, values)
        _assign_positionals([values.pop(name) for name in positionals], list(positionals.values()), values)
        filled_groups = {name: _create_group(group, values) for name, group in groups.items()}
        filled_groups = _validate(filled_groups, quiet=bool(values.get("quiet")))
        while True:  # each repetition has one default less
            try:
                return command(**filled_groups, **values)
            except ArtgenError as error:
                quiet = bool(values.get("quiet"))
                filled_groups = user_defaults.without_default(filled_groups, error, quiet=quiet)

    own = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command).parameters.values()
        if p.name not in groups
    ]
    # Arguments of the command, groups, options of the command: the order of the sections of `--help`.
    arguments = [p for p in own if _is_argument(p.annotation)]
    context = _keyword_parameter("_context", inspect.Parameter.empty, typer.Context)
    signature = inspect.Signature([context, *arguments, *parameters, *(p for p in own if p not in arguments)])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    # For `--help`: the setting of each parameter.
    spec_of = {name: f.metadata["setting"] for group in groups.values() for name, f in options_of(group).items()}
    run.settings = spec_of | {argument: spec_of[name] for argument, name in positionals.items()}  # type: ignore[attr-defined]
    return run


def _validate(groups: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return validated groups of settings by parameter.

    A preset or a configuration file can contain the value of a setting that has the same name in other commands, such
    as `method`. If the value is not valid for this command, it is removed with a note.

    Raises:
        UsageError: another value is invalid.
    """
    for group in groups.values():
        try:
            settings.validate(group)
        except UsageError as error:
            declared = settings.settings_of(type(group))
            if all(declared[name].in_config and name != "method" for name in error.settings if name in declared):
                raise
            return _validate(user_defaults.without_default(groups, error, quiet=quiet), quiet=quiet)
    return groups


def _create_group(group: type, values: dict[str, Any]) -> Any:
    """Return the group with its settings, which are removed from `values`."""
    group_values = {}
    for name, field in options_of(group).items():
        value = values.pop(name)
        value = tuple(value) if isinstance(value, list) else value
        group_values[name] = settings.canonical_value(field.metadata["setting"], value)
    return group(**group_values)


def _has_positionals(command: Callable[..., None]) -> bool:
    return any(_is_argument(hint) for hint in typing.get_type_hints(command, include_extras=True).values())


def _is_argument(annotation: Any) -> bool:
    return any(isinstance(part, ArgumentInfo) for part in typing.get_args(annotation))


def _build_parameters(
    groups: typing.Iterable[type], hidden: Collection[str], *, has_positionals: bool
) -> tuple[list[inspect.Parameter], dict[str, str]]:
    """Return the parameters for Typer, and the setting of each positional parameter."""
    arguments, options = [], []
    positionals: dict[str, str] = {}
    for group in groups:
        for name, f in options_of(group).items():
            spec: Setting = f.metadata["setting"]
            if spec.positional and not has_positionals:
                positionals[f"{name}_positional"] = name
                arguments.append(_argument_parameter(f"{name}_positional", name, spec))
            options.append(_option_parameter(group, name, f, spec, is_hidden=name in hidden))
    return [*arguments, *options], positionals


def _argument_parameter(parameter_name: str, name: str, spec: Setting) -> inspect.Parameter:
    info = typer.Argument(metavar=f"[{name.upper()}]", help=spec.help, show_default=False)
    return _keyword_parameter(parameter_name, None, Annotated[str | None, info])


def _option_parameter(
    group: type, name: str, field: Field[Any], spec: Setting, *, is_hidden: bool
) -> inspect.Parameter:
    kind, optional = type_of(group, name)
    # `AliasCommand` reads the variables of settings with several values.
    # The variables of settings that `UpscaleMethod` declares again belong to the other commands.
    has_variable = not spec.per_call and kind is not tuple and group is not settings.UpscaleMethod
    flag = "--" + name.replace("_", "-")
    flags = spec.flags or ((f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,))
    default = None if field.default is MISSING else field.default
    if kind is tuple:  # the option can be repeated
        kind, default = list[str], list(default or ())
    info = typer.Option(
        *flags,
        help=spec.help,
        metavar=spec.metavar or ("|".join(spec.choices) if spec.choices else None),
        rich_help_panel=SECTION_TITLES[group],
        show_default=False,
        envvar=_environment_variables(name, spec) if has_variable else None,
        show_envvar=False,
        hidden=is_hidden,
    )
    return _keyword_parameter(name, default, Annotated[kind | None if optional else kind, info])


def _environment_variables(name: str, spec: Setting) -> list[str]:
    """Return the environment variables of a setting: of its name first, then of its aliases."""
    aliases = [alias for alias in spec.aliases if "=" not in alias]
    return [f"ARTGEN_{flag.lstrip('-').replace('-', '_').upper()}" for flag in (name, *aliases)]


def _keyword_parameter(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _assign_positionals(
    positionals: Sequence[str | None], setting_names: Sequence[str], values: dict[str, Any]
) -> None:
    """Assign positional arguments to the settings whose option is not used.

    Raises:
        UsageError: there are more arguments than settings.
    """
    arguments = [argument for argument in positionals if argument is not None]
    unset_names = [name for name in setting_names if not values[name]]
    if len(arguments) > len(unset_names):
        set_names = " and ".join(name for name in setting_names if values[name])
        reason = f"{set_names} is already set" if set_names else f"the command takes {len(setting_names)}"
        raise UsageError(
            f"Unexpected argument '{arguments[len(unset_names)]}': {reason}.", "Quote a prompt that contains spaces."
        )
    for argument, name in zip(arguments, unset_names, strict=False):
        values[name] = Path(argument) if name in ("image", "folder") else argument


@functools.cache
def _flag_aliases() -> dict[str, str]:
    """Return the option of each hidden alias: `--quantize` for `--weights`, `--mode=full` for `--full`."""
    options: dict[str, str] = {}
    for group in settings.SETTING_GROUPS:
        for name, f in options_of(group).items():
            spec: Setting = f.metadata["setting"]
            canonical = spec.flags[-1] if spec.flags else "--" + name.replace("_", "-")
            for alias in spec.aliases:
                flag, separator, value = alias.partition("=")
                options[flag] = f"{canonical}{separator}{value}"
                if type_of(group, name)[0] is bool:
                    options[f"--no-{flag[2:]}"] = f"--no-{canonical[2:]}"
    return options


@functools.cache
def _multi_value_settings() -> dict[str, type]:
    """Return the settings with several values that environment variables can set, and the group of each setting."""
    return {
        name: group
        for group in settings.SETTING_GROUPS
        for name in options_of(group)
        if not settings.settings_of(group)[name].per_call and type_of(group, name)[0] is tuple
    }


class AliasCommand(Command):
    """Accept hidden aliases of options: former names, and the names of other tools.

    Environment variables of settings with several values are separated by commas, as in configuration files. Typer
    would split them at spaces.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, _with_bare_values(self._without_aliases(self._with_dashes(args))))
        for name, group in _multi_value_settings().items():
            text = os.environ.get(f"ARTGEN_{name.upper()}")
            if text and name in ctx.params and ctx.get_parameter_source(name).name != "COMMANDLINE":
                ctx.params[name] = list(settings.parse_value(group, name, text))
        for variable, (name, value) in _switch_variables().items():
            is_on = settings.BOOLEAN_LITERALS.get(os.environ.get(variable, "").casefold(), False)
            if (
                is_on
                and name in ctx.params
                and ctx.get_parameter_source(name).name not in ("COMMANDLINE", "ENVIRONMENT")
            ):
                ctx.params[name] = value
        return rest

    def known_flags(self) -> set[str]:
        return super().known_flags() | _flag_aliases().keys()

    def flag_aliases(self) -> dict[str, str]:
        """Return the option of each hidden alias, also of aliases of other commands."""
        return _flag_aliases()

    def _without_aliases(self, args: Sequence[str]) -> list[str]:
        """Replace aliases with the current names. Switches such as `--full` become `--mode=full`, at the end."""
        own = super().known_flags()
        end = args.index("--") if "--" in args else len(args)
        arguments: list[str] = []
        switches: list[str] = []
        for argument in args[:end]:
            flag, separator, value = argument.partition("=")
            canonical, fixed, _ = _flag_aliases().get(flag, "").partition("=")
            if flag in own or canonical not in own:
                arguments.append(argument)
            elif fixed:
                switches.append(_flag_aliases()[flag])
            else:
                arguments.append(f"{canonical}{separator}{value}")
        return [*arguments, *switches, *args[end:]]


def _with_bare_values(args: Sequence[str]) -> list[str]:
    """Add the value to each option whose value is omitted: `--only-masked` becomes `--only-masked=32`.

    Such an option takes a number, so the next argument is its value if it is a number.
    """
    end = args.index("--") if "--" in args else len(args)
    following = [*args[1:end], ""][:end]
    found = [
        f"{argument}={_bare_values()[argument]}" if argument in _bare_values() and not _is_number(after) else argument
        for argument, after in zip(args[:end], following, strict=True)
    ]
    return [*found, *args[end:]]


def _is_number(argument: str) -> bool:
    return argument.removeprefix("-").isdecimal()


@functools.cache
def _bare_values() -> dict[str, str]:
    """Return the value of each option whose value can be omitted: `{"--only-masked": "32"}`."""
    return {
        f"--{name.replace('_', '-')}": spec.bare_value
        for group in settings.SETTING_GROUPS
        for name, spec in settings.settings_of(group).items()
        if spec.bare_value
    }


@functools.cache
def _switch_variables() -> dict[str, tuple[str, str]]:
    """Return the environment variables of switches such as `ARTGEN_FULL`, and the setting and value of each switch."""
    return {
        f"ARTGEN_{alias.upper()}": (target.setting, target.value)
        for group in settings.SETTING_GROUPS
        for alias, target in settings.aliases_of(options_of(group)).items()
        if target.value is not None
    }
