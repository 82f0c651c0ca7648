"""Groups of settings -> the options that Typer sees.

A command takes groups (`prompt: Prompt, sampling: Sampling`); `flattened` splices their fields into its signature,
and hands the command its groups back, filled.
"""

import functools
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import ArgumentInfo

from artgen.cli.help import Command
from artgen.errors import UsageError
from artgen.spec import settings
from artgen.spec.settings import Setting, describe_limits, options_of, type_of

PER_CALL_SETTINGS = frozenset(
    {"prompt", "image", "mask", "expand", "target_size", "seed", "json", "dry_run", "quiet", "verbose", "overwrite"}
    | {"frames", "fps", "frames_show", "frame_interval", "include_noising"}
    | {"sweep", "task", "limit", "shuffle", "shard", "keep_going", "retry_failed", "folder", "resume"}
    | {"noise_levels", "noise_samples", "fit", "alpha"}
)
"""Settings that belong to one call and are not taken from the environment or a configuration file."""


def flatten_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer wants it: one parameter for each setting of each group it takes.

    A positional setting may also be given by its flag; words fill, in order, those that were not. A command that takes
    words of its own gets them all.
    """
    groups: dict[str, type] = {
        name: hint for name, hint in typing.get_type_hints(command).items() if hint in settings.SETTING_GROUPS
    }
    options, words = _build_parameters(groups.values(), has_positionals=_has_positionals(command))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        _assign_positionals([values.pop(name) for name in words], list(words.values()), values)
        filled = {
            name: group(
                **{
                    setting_name: settings.canonical_value(
                        f.metadata["setting"], _list_to_tuple(values.pop(setting_name))
                    )
                    for setting_name, f in options_of(group).items()
                }
            )
            for name, group in groups.items()
        }
        for group in filled.values():
            settings.validate(group)
        command(**filled, **values)

    own = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command).parameters.values()
        if p.name not in groups
    ]
    signature = inspect.Signature([*own, *options])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run


def _list_to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _has_positionals(command: Callable[..., None]) -> bool:
    hints = typing.get_type_hints(command, include_extras=True).values()
    return any(isinstance(part, ArgumentInfo) for hint in hints for part in typing.get_args(hint))


def _build_parameters(
    groups: typing.Iterable[type], *, has_positionals: bool
) -> tuple[list[inspect.Parameter], dict[str, str]]:
    """The parameters Typer sees, and for each positional word the setting it may fill."""
    arguments, options = [], []
    words: dict[str, str] = {}
    for group in groups:
        for name, f in options_of(group).items():
            spec: Setting = f.metadata["setting"]
            if spec.positional and not has_positionals:
                words[f"{name}_word"] = name
                arguments.append(_argument_parameter(f"{name}_word", name, spec))
            options.append(_option_parameter(group, name, f, spec))
    return [*arguments, *options], words


def _argument_parameter(parameter_name: str, name: str, spec: Setting) -> inspect.Parameter:
    info = typer.Argument(metavar=f"[{name.upper()}]", help=spec.help, show_default=False)
    return _keyword_parameter(parameter_name, None, Annotated[str | None, info])


def _option_parameter(group: type, name: str, field: Field[Any], spec: Setting) -> inspect.Parameter:
    kind, optional = type_of(group, name)
    variable = name not in PER_CALL_SETTINGS and kind is not tuple
    flag = "--" + name.replace("_", "-")
    flags = spec.flags or ((f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,))
    text, default = _help_text(spec), None if field.default is MISSING else field.default
    if kind is tuple:  # may be given several times
        kind, default = list[str], list(default or ())
    info = typer.Option(
        *flags,
        help=text,
        metavar=spec.metavar or ("|".join(spec.choices) if spec.choices else None),
        rich_help_panel=_PANEL_TITLES[group],
        show_default=default not in (None, "", False, True, []) and "[default: " not in text,
        envvar=_environment_variables(name, spec)
        if variable
        else None,  # see `AliasCommand` for settings of several values
        show_envvar=False,
    )
    return _keyword_parameter(name, default, Annotated[kind | None if optional else kind, info])


def _environment_variables(name: str, spec: Setting) -> list[str]:
    """Return the variables that set a setting: the one of its name first, then those of its aliases."""
    flags = [alias for alias in spec.aliases if "=" not in alias]
    return [f"ARTGEN_{word.lstrip('-').replace('-', '_').upper()}" for word in (name, *flags)]


_PANEL_TITLES: dict[type, str] = {
    settings.PromptSettings: "Prompt",
    settings.SeedSettings: "Noise",
    settings.SeriesSettings: "Series",
    settings.SweepSettings: "Sweep",
    settings.BatchRunSettings: "Run",
    settings.StepsSettings: "Noise",
    settings.SamplingSettings: "Sampling",
    settings.CanvasSettings: "Canvas",
    settings.SizeSettings: "Canvas",
    settings.InputImage: "Source",
    settings.Img2ImgInput: "Source",
    settings.DenoiseSettings: "Noise",
    settings.MaskSettings: "Mask",
    settings.InpaintBlend: "Blend",
    settings.OutpaintSettings: "Expansion",
    settings.ModelRef: "Model",
    settings.LoraSettings: "Model",
    settings.ModelSettings: "Model",
    settings.LoraFolder: "LoRA",
    settings.DeviceSettings: "Compute",
    settings.ComputeSettings: "Compute",
    settings.OutputSettings: "Output",
    settings.AnimationSettings: "Frames",
    settings.FramesSettings: "Frames",
    settings.ReportSettings: "Report",
    settings.DatasetSettings: "Dataset",
    settings.LoraTrainingSettings: "Training",
    settings.OptimizerSettings: "Optimizer",
    settings.LossSettings: "Loss",
    settings.CheckpointSettings: "Checkpoints",
    settings.AnomalySettings: "Anomaly",
}
"""Groups that are explained under another's name."""


def _help_text(spec: Setting) -> str:
    """`Quality of JPEG. [95]`, with its limits, becomes `Quality of JPEG (1 to 100). [default: 95]`."""
    text, bracket, default = spec.help.partition(" [")
    limits = describe_limits(spec)
    if limits and limits not in text:
        text = f"{text.removesuffix('.')} ({limits})."
    return f"{text}  [default: {default}" if bracket else text


def _keyword_parameter(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _assign_positionals(
    positionals: Sequence[str | None], setting_names: Sequence[str], values: dict[str, Any]
) -> None:
    """Gives positional words to the settings that no flag filled.

    Raises:
        UsageError: more words than places.
    """
    given = [word for word in positionals if word is not None]
    free = [name for name in setting_names if not values[name]]
    if len(given) > len(free):
        taken = ", ".join(name for name in setting_names if values[name])
        raise UsageError(f"Unexpected {given[len(free)]!r}: {taken} is given already.", "Quote a prompt of many words.")
    for word, name in zip(given, free, strict=False):
        values[name] = Path(word) if name in ("image", "folder") else word


@functools.cache
def _flag_aliases() -> dict[str, str]:
    """Return the option that each hidden spelling means: `--weights` is `--quantize`, `--full` is `--mode=full`."""
    found: dict[str, str] = {}
    for group in settings.SETTING_GROUPS:
        for name, f in options_of(group).items():
            spec: Setting = f.metadata["setting"]
            canonical = spec.flags[-1] if spec.flags else "--" + name.replace("_", "-")
            for alias in spec.aliases:
                flag, separator, value = alias.partition("=")
                found[flag] = f"{canonical}{separator}{value}"
                if type_of(group, name)[0] is bool:
                    found[f"--no-{flag[2:]}"] = f"--no-{canonical[2:]}"
    return found


@functools.cache
def _multi_value_settings() -> dict[str, type]:
    """The settings of several values that the environment may hold, and the group that declares each."""
    return {
        name: group
        for group in settings.SETTING_GROUPS
        for name in options_of(group)
        if name not in PER_CALL_SETTINGS and type_of(group, name)[0] is tuple
    }


class AliasCommand(Command):
    """Understands the names that other tools give to the same options, without listing them in `--help`.

    Reads settings of several values from the environment as the files and tables have them, with commas between: Typer
    would end each at a blank.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, self._without_aliases(args))
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

    def _without_aliases(self, args: Sequence[str]) -> list[str]:
        """Return the arguments with the options' current names; switches such as `--full` become `--mode=full`, last."""
        own = {flag for parameter in self.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        end = args.index("--") if "--" in args else len(args)
        words: list[str] = []
        switches: list[str] = []
        for word in args[:end]:
            flag, separator, value = word.partition("=")
            canonical, fixed, _ = _flag_aliases().get(flag, "").partition("=")
            if flag in own or canonical not in own:
                words.append(word)
            elif fixed:
                switches.append(_flag_aliases()[flag])
            else:
                words.append(f"{canonical}{separator}{value}")
        return [*words, *switches, *args[end:]]


@functools.cache
def _switch_variables() -> dict[str, tuple[str, str]]:
    """Return the variables of aliases that stand for one value (`ARTGEN_FULL`), and the setting and value they mean."""
    return {
        f"ARTGEN_{alias.upper()}": (meant.setting, meant.value)
        for group in settings.SETTING_GROUPS
        for alias, meant in settings.aliases_of(options_of(group)).items()
        if meant.value is not None
    }
