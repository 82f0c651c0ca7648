"""Write the help pages: `--help` shows the most used options of a command, `--help-all` shows all in groups."""

import contextlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artgen.cli.arguments import command_name
from artgen.cli.help_layout import Page, Row, page_columns
from artgen.errors import ArtgenError

if TYPE_CHECKING:
    from artgen.spec.fields import Setting

MOST_USED_OPTIONS: dict[str, tuple[str, ...]] = {
    "txt2img": (
        "output", "seed", "count", "best_of", "size", "steps", "guidance_scale", "negative_prompt", "model", "lora",
        "scheduler", "preset", "device", "show", "open", "overwrite", "dry_run",
    ),
    "img2img": (
        "output", "strength", "seed", "count", "size", "steps", "guidance_scale", "negative_prompt", "model", "lora",
        "scheduler", "device", "show", "open", "overwrite", "dry_run",
    ),
    "inpaint": (
        "output", "mask", "invert_mask", "strength", "feather", "seed", "count", "steps", "guidance_scale",
        "negative_prompt", "model", "lora", "device", "show", "open", "dry_run",
    ),
    "outpaint": (
        "output", "expand", "target_size", "feather", "seed", "count", "steps", "guidance_scale", "negative_prompt",
        "model", "lora", "device", "show", "open", "overwrite", "dry_run",
    ),
    "edit": (
        "output", "mask", "reference", "image_guidance_scale", "guidance_scale", "seed", "count", "steps",
        "negative_prompt", "model", "lora", "device", "show", "open", "overwrite", "dry_run",
    ),
    "denoise": (
        "output", "sigma", "method", "steps", "self_ensemble", "fidelity", "max_side", "model", "device", "reference",
        "compare", "format", "overwrite", "dry_run",
    ),
    "upscale": (
        "output", "by", "target_size", "method", "strength", "upscale_model", "prompt", "model", "steps", "seed",
        "tile_size", "tile_overlap", "sharpen", "device", "overwrite", "dry_run",
    ),
    "sample": (
        "output", "seed", "count", "steps", "model", "class_label", "guidance_scale", "scheduler", "device", "sweep",
        "frames", "overwrite", "dry_run",
    ),
    "control": ("output", "device", "offline", "overwrite", "json", "dry_run"),
    "noise": (
        "output", "steps", "schedule", "space", "model", "seed", "cell", "frames", "fps", "overwrite", "json",
        "dry_run",
    ),
    "anomaly": (
        "fit", "fit_path", "heatmap_path", "csv_path", "alpha", "method", "prompt", "model", "device", "overwrite",
        "json", "dry_run",
    ),
    "batch run": (
        "output", "task", "seed", "count", "size", "steps", "guidance_scale", "model", "keep_going", "retry_failed",
        "device", "dry_run",
    ),
    "train": (
        "output", "trigger", "caption_template", "resolution", "train_steps", "learning_rate", "train_batch_size",
        "rank", "mode", "model", "resume", "seed", "device", "overwrite", "dry_run",
    ),
    "variations": (
        "output", "amount", "count", "seed", "prompt", "set_", "overwrite", "offline", "show", "open", "dry_run",
    ),
    "morph": ("output", "frames", "loop", "fps", "quality", "set_", "workers", "overwrite", "show", "open", "dry_run"),
    "replay": ("output", "set_", "format", "frames", "overwrite", "offline", "json", "dry_run", "quiet"),
    "history search": (
        "model", "task", "lora", "size", "rating", "since", "until", "tags", "limit", "show", "paths", "as_json",
        "quiet",
    ),
    "history show": ("show", "open", "as_json"),
    "mask": (
        "output", "grow", "mask_threshold", "mask_model", "device", "overwrite", "offline", "dry_run", "as_json",
        "quiet",
    ),
    "rank": (
        "prompt", "score", "score_model", "csv_file", "sheet_file", "model", "device", "overwrite", "json", "dry_run",
    ),
    "serve": (
        "host", "port", "token_file", "model", "device", "output", "max_queue", "max_per_client", "allow_origin",
        "allow_downloads", "verbose",
    ),
    "reconstruct": ("output", "model", "device", "overwrite", "as_json", "quiet"),
    "preset save": (
        "steps", "guidance_scale", "negative_prompt", "model", "lora", "scheduler", "width", "height", "style",
        "count", "device", "overwrite",
    ),
    "prompt": (
        "negative_prompt", "style", "embedding", "prompt_weights", "long_prompt", "model", "lora", "steps", "seed",
        "as_json",
    ),
}  # fmt: skip
"""Options on the page of `--help`, in order, of each command with many options. Other commands show all options."""

MAX_BRIEF_ALIASES = 2
"""Limit of the aliases on the page of `--help`."""

MAX_DEFAULT_CHARS = 40
"""Limit of a default of the user on a page."""

_SENTENCE_END = re.compile(r"(?<=\.) ")
_METAVARS = {
    "int": "N", "int range": "N", "float": "NUMBER", "float range": "NUMBER", "str": "TEXT", "path": "FILE"
}  # fmt: skip
"""Placeholder of a value for each type of Typer."""


def description_and_examples(command: Any) -> tuple[list[str], list[str]]:
    """Return the paragraphs of a command's help, and its examples: the lines of the paragraph of commands."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    examples = [line for each in paragraphs if each.startswith("artgen ") for line in each.splitlines()]
    return [" ".join(each.split()) for each in paragraphs if each and not each.startswith("artgen ")], examples


def format_page(command: Any, context: Any, *, full: bool, program: str = "", commands: Sequence[Row] = ()) -> str:
    """Return the page of `--help`, or of `--help-all` if `full`.

    Args:
        command: the command.
        context: its context.
        full: whether to show all options.
        program: name of the command with the program; empty for the name in the context.
        commands: names and summaries of other commands.
    """
    program = program or context.command_path
    page = Page(page_columns())
    page.add_usage(program, " ".join(command.collect_usage_pieces(context)))
    paragraphs, examples = description_and_examples(command)
    most_used = None if full else MOST_USED_OPTIONS.get(command_name(context))
    for paragraph in paragraphs if most_used is None else paragraphs[:1]:
        page.add_paragraph(paragraph)
    page.add_examples(examples)
    parameters = {parameter.name: parameter for parameter in command.get_params(context) if not parameter.hidden}
    arguments = [name for name, each in parameters.items() if each.param_type_name == "argument"]
    names = parameters if most_used is None else [name for name in (*arguments, *most_used) if name in parameters]
    sections: dict[str, list[Row]] = {}
    for name in names:
        title = section_title(parameters[name])
        if most_used is not None and name not in arguments:
            title = "Most used options"
        sections.setdefault(title, []).append(parameter_row(command, parameters[name], context, full=most_used is None))
    if commands:
        sections["Other commands"] = [*commands]
    page.add_sections(sections)
    if most_used is not None:
        number = len(parameters) - len(arguments)
        page.add_paragraph(f"`{program} --help-all` shows all {number} options.")
    return str(page)


def section_title(parameter: Any) -> str:
    """Return the heading of a parameter on a page with all options."""
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"


def parameter_row(command: Any, parameter: Any, context: Any, *, full: bool) -> Row:
    """Return the row of a parameter: its names and its text, with aliases and the default.

    Args:
        command: the command.
        parameter: one of its arguments or options.
        context: context of the command.
        full: whether the text is complete. Otherwise it is one sentence.
    """
    setting = getattr(command.callback, "settings", {}).get(parameter.name)
    text, default = text_and_default(setting.help if setting else parameter.help or "")
    limits = _limits(parameter, setting)
    if not full:
        text, brief_default = text_and_default((setting.brief if setting else "") or _SENTENCE_END.split(text)[0])
        default = brief_default or default
    elif limits and limits not in text:
        text += f" Range: {limits}."
    if setting and (aliases := _shown_aliases(setting)) and parameter.param_type_name != "argument":
        text += f" Also {', '.join(aliases if full else aliases[:MAX_BRIEF_ALIASES])}."
    command_path = command_name(context)
    if setting and command_path in setting.defaults:
        default = setting.defaults[command_path]
    elif setting and full and command_path in ("", "batch run"):  # no command, or jobs of several tasks
        default = defaults_of_all_tasks(setting)
    default = default or _declared_default(parameter)
    if setting and command_path and (configured := _configured_default(parameter, setting, context)):
        default = configured
    if command_path == "preset save":  # a preset contains only the given options
        default = ""
    return _names(parameter, context, full=full), f"{text} [default: {default}]" if default else text


def defaults_of_all_tasks(setting: "Setting") -> str:
    """Return the default of a setting, and the defaults that differ from task to task: `2; inpaint, outpaint: 1`."""
    _, default = text_and_default(setting.help)
    names_of: dict[str, list[str]] = {}
    for name, value in setting.defaults.items():
        names_of.setdefault(value, []).append(name)
    texts = [f"{', '.join(names)}: {value}" for value, names in names_of.items()]
    return "; ".join([*([default] if default else []), *texts])


def text_and_default(text: str) -> tuple[str, str]:
    """Split `Quality. [95]` into the text and the default."""
    if not text.endswith("]"):
        return text, ""
    text, _, default = text.removesuffix("]").rpartition(" [")
    return text.rstrip(), default.removeprefix("default: ")


def _limits(parameter: Any, setting: "Setting | None") -> str:
    if setting is not None:
        from artgen.spec.limits import describe_limits

        return describe_limits(setting)
    minimum, maximum = getattr(parameter.type, "min", None), getattr(parameter.type, "max", None)
    return "" if minimum is None or maximum is None else f"{minimum:,} to {maximum:,}"


def _shown_aliases(setting: "Setting") -> list[str]:
    return [alias for alias in setting.aliases if alias not in (*setting.unlisted_aliases, *setting.flags)]


def _declared_default(parameter: Any) -> str:
    default = parameter.default
    is_empty = default in (None, "", (), []) or isinstance(default, bool) or callable(default)
    return "" if is_empty else _format_value(default)


def _configured_default(parameter: Any, setting: "Setting", context: Any) -> str:
    """Return the user's default of an option and its source; empty if the user has not set it."""
    from artgen.cli import user_defaults

    found = None
    with contextlib.suppress(ArtgenError):  # The program prints a note about an invalid configuration.
        found = user_defaults.find_default(parameter.name, setting, command_name(context))
    return f"{_format_value(found.value)}, from {found.source}" if found else ""


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= MAX_DEFAULT_CHARS else f"{text[:MAX_DEFAULT_CHARS]}..."


def _names(parameter: Any, context: Any, *, full: bool) -> str:
    """Return `-g, --guidance-scale NUMBER`. Names without a short form are indented."""
    if parameter.param_type_name == "argument":
        argument: str = parameter.make_metavar(ctx=context)
        return argument.upper()
    metavar = parameter.metavar or _METAVARS.get(parameter.type.name, parameter.type.name.upper())
    flags = sorted(parameter.opts, key=lambda flag: flag.startswith("--"))
    if not full and parameter.secondary_opts and parameter.default is not None:  # a switch: the flag that changes it
        flags = parameter.secondary_opts if parameter.default else flags
    elif parameter.secondary_opts:
        flags = [*flags[:-1], f"{flags[-1]} / {', '.join(parameter.secondary_opts)}"]
    names = ", ".join(flags) if flags[0][1] != "-" else f"    {', '.join(flags)}"
    return names if parameter.is_flag else f"{names} {metavar}"


def format_group_page(command: Any, context: Any, sections: Mapping[str, list[Row]], *, full: bool) -> str:
    """Return the page of a command group or of the program.

    Args:
        command: the group.
        context: its context.
        sections: names and summaries of its commands, by heading.
        full: whether to show the options.
    """
    page = Page(page_columns())
    page.add_usage(context.command_path, " ".join(command.collect_usage_pieces(context)))
    paragraphs, examples = description_and_examples(command)
    for paragraph in paragraphs:
        page.add_paragraph(paragraph)
    page.add_examples(examples)
    parameters = [parameter for parameter in command.get_params(context) if not parameter.hidden]
    options = [parameter_row(command, parameter, context, full=True) for parameter in parameters]
    page.add_sections({**sections, **({"Options": options} if full else {})}, align=True)
    page.add_paragraph(f"`{context.command_path} COMMAND --help` shows the options of a command.")
    return str(page)
