"""Format `--help` as plain text: one section per group of options, in two columns.

Typer's formatter imports rich, which takes longer than the rest of the start of a command.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from artgen.cli.arguments import check_arguments
from artgen.cli.console import print_text, styled
from artgen.cli.json_output import json_output, print_schema
from artgen.system.terminal import printable

MAX_HELP_COLUMNS = 100

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class EagerOption:
    """Define an option that prints a text about a command instead of running the command.

    Attributes:
        flag: name of the option.
        help: help text of the option.
        show: prints the text; its argument is the context of the command. Slow modules are imported in this function.
        applies: returns whether a command has the option; its argument is the command.
        hidden: whether the option is missing in `--help`.
    """

    flag: str
    help: str
    show: Callable[[Any], None]
    applies: Callable[[Any], bool] = lambda _command: True
    hidden: bool = False


def _show_all(context: Any) -> None:
    context.command.get_help(context)


EAGER_OPTIONS = (
    EagerOption("--help-all", "Show all options and exit.", _show_all),
    EagerOption(
        "--json-schema",
        "Print the JSON Schema of the objects of --json and exit.",
        print_schema,
        applies=lambda command: json_output(command) is not None,
    ),
    EagerOption(
        "--json-schema", "Refuse the option.", print_schema, lambda command: json_output(command) is None, hidden=True
    ),
)
"""Options of every command and every command group, besides `--help`. All of them take no value."""


@cache
def _eager_parameter(option: EagerOption) -> TyperOption:
    """Return the parameter of an option. The parser compares parameters by identity."""

    def callback(ctx: Any, param: Any, value: bool) -> None:  # noqa: ARG001
        if value and not ctx.resilient_parsing:
            option.show(ctx)
            ctx.exit()

    return TyperOption(
        param_decls=[option.flag],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=callback,
        help=option.help,
        hidden=option.hidden,
    )


_CLICK_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The class of all usage errors of Typer, which exports only its subclass `BadParameter`."""


@contextlib.contextmanager
def _convert_usage_errors(context: Any, args: list[str]) -> Iterator[None]:
    """Convert the usage errors of Typer to those of artgen.

    Raises:
        UsageError: the arguments do not fit the command.
    """
    try:
        yield
    except _CLICK_USAGE_ERROR as error:
        from artgen.cli.usage_errors import convert_error

        raise convert_error(error, context, args) from None


class PlainHelpMixin:
    """Format the help of a command or a command group."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "rich_markup_mode": None})

    def get_params(self: Any, ctx: Any) -> list[Any]:
        eager = [_eager_parameter(option) for option in EAGER_OPTIONS if option.applies(self)]
        return [*super().get_params(ctx), *eager]  # type: ignore[misc]

    def get_help(self: Any, ctx: Any) -> str:
        # Typer would print the returned text without handling a broken stdout.
        print_text(super().get_help(ctx))  # type: ignore[misc]
        return ""

    def collect_usage_pieces(self: Any, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]  # type: ignore[misc]

    def format_usage(self: Any, ctx: Any, formatter: Any) -> None:
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write_usage(ctx.command_path, pieces, prefix=f"{_heading('Usage:')} ")

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                default_title = "Arguments" if parameter.param_type_name == "argument" else "Options"
                title = getattr(parameter, "rich_help_panel", None) or default_title
                sections.setdefault(title, []).append(record)
        for title, rows in sections.items():
            write_section(formatter, title, rows)


class Command(PlainHelpMixin, TyperCommand):
    """Represent one command. Underscores and dashes are equivalent in the names of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = self._with_dashes(args)
        if ctx.resilient_parsing:  # completion
            return super().parse_args(ctx, args)
        check_arguments(self.get_params(ctx), args)
        ctx.allow_extra_args = True
        with _convert_usage_errors(ctx, args):
            extra = super().parse_args(ctx, list(args))
        if extra:
            from artgen.cli.usage_errors import extra_arguments_error

            raise extra_arguments_error(ctx, extra, args)
        return extra

    def known_flags(self) -> set[str]:
        """Return the names of the options, without `--help`."""
        eager = {option.flag for option in EAGER_OPTIONS if option.applies(self)}
        return eager | {flag for parameter in self.params for flag in (*parameter.opts, *parameter.secondary_opts)}

    def _with_dashes(self, args: list[str]) -> list[str]:
        """Replace the underscores in the names of options, such as `--negative_prompt`."""
        known = self.known_flags()
        end = args.index("--") if "--" in args else len(args)
        arguments = []
        for argument in args[:end]:
            flag, separator, value = argument.partition("=")
            dashed = flag.replace("_", "-")
            is_option = flag.startswith("--") and flag not in known and dashed in known
            arguments.append(f"{dashed}{separator}{value}" if is_option else argument)
        return [*arguments, *args[end:]]


class Group(PlainHelpMixin, TyperGroup):
    """Represent a command group. Without arguments, it prints its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            self.get_help(ctx)
            ctx.exit()
        with _convert_usage_errors(ctx, args):
            return super().parse_args(ctx, list(args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command, and its arguments. `help COMMAND` is `COMMAND --help`."""
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        commands = self.list_commands(ctx)
        if args[0] == "help" and "help" not in commands:
            words = [word for word in args[1:] if word != "help"]
            if not any(not word.startswith("-") for word in words):
                self.get_help(ctx)
                ctx.exit()
            has_option = any(word.startswith("-") for word in words)
            return self.resolve_command(ctx, words if has_option else [*words, "--help"])
        if args[0] not in commands:
            return self.resolve_unknown(ctx, args, commands)
        return super().resolve_command(ctx, args)

    def resolve_unknown(self, ctx: Any, args: list[str], commands: list[str]) -> Any:
        """Refuse a command that the group does not have.

        Raises:
            UsageError: always. The hint has the meaning of the word or similar commands.
        """
        from artgen.cli.usage_errors import unknown_command_error

        raise unknown_command_error(args[0], ctx, commands)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, (command.help or "").partition("\n\n")[0]) for name, command in commands if command]
        write_section(formatter, "Commands", rows)


class App(typer.Typer):
    """Represent a Typer app whose commands use this help format."""

    def __init__(self, help: str, cls: type[Group] = Group, *, add_completion: bool = False) -> None:  # noqa: A002
        super().__init__(
            cls=cls,
            help=help,
            no_args_is_help=True,
            add_completion=add_completion,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_HELP_COLUMNS},
        )

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **kwargs: Any
    ) -> Callable[[Function], Function]:
        return super().command(name, cls=cls, **kwargs)


def write_section(formatter: Any, title: str, rows: list[tuple[str, str]]) -> None:
    """Write a heading, and rows of a name and its help text."""
    with formatter.section(_heading(title)):
        formatter.write_dl([(styled(sys.stdout, name, fg="cyan"), printable(text)) for name, text in rows])


def _heading(text: str) -> str:
    return styled(sys.stdout, text, bold=True)
