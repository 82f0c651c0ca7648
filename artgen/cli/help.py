"""Define the classes of commands and groups, and the options of every command, such as `--help`.

Typer's help imports rich, which takes longer than the rest of the start of a command. `help_pages` writes plain text.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from artgen.cli.arguments import check_arguments, set_command_line
from artgen.cli.console import print_text
from artgen.cli.json_output import json_output, print_schema

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class EagerOption:
    """Define an option that prints a text about a command instead of running the command.

    Attributes:
        flags: names of the option.
        help: help text of the option.
        show: prints the text; its argument is the context of the command. Slow modules are imported in this function.
        applies: returns whether a command has the option; its argument is the command.
        hidden: whether the option is missing in `--help`.
    """

    flags: tuple[str, ...]
    help: str
    show: Callable[[Any], None]
    applies: Callable[[Any], bool] = lambda _command: True
    hidden: bool = False


EAGER_OPTIONS = (
    EagerOption(
        ("-h", "--help"), "Show the most used options and exit.", lambda context: context.command.get_help(context)
    ),
    EagerOption(
        ("--help-all",), "Show all options and exit.", lambda context: context.command.print_page(context, full=True)
    ),
    EagerOption(
        ("--json-schema",),
        "Print the JSON Schema of the objects of --json and exit.",
        print_schema,
        applies=lambda command: json_output(command) is not None,
    ),
    EagerOption(
        ("--json-schema",),
        "Refuse the option.",
        print_schema,
        lambda command: json_output(command) is None,
        hidden=True,
    ),
)
"""Options of every command and every command group. All of them take no value."""


def has_eager_option(args: Sequence[str]) -> bool:
    """Return whether the arguments of a command contain one of these options."""
    flags = {flag for option in EAGER_OPTIONS for flag in option.flags}
    return any(argument in flags for argument in itertools.takewhile(lambda argument: argument != "--", args))


@cache
def _eager_parameter(option: EagerOption) -> TyperOption:
    """Return the parameter of an option. The parser compares parameters by identity."""

    def callback(ctx: Any, param: Any, value: bool) -> None:  # noqa: ARG001
        if value and not ctx.resilient_parsing:
            option.show(ctx)
            ctx.exit()

    return TyperOption(
        param_decls=[*option.flags],
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
    """Convert the usage errors of Typer to errors of artgen.

    Raises:
        UsageError: the arguments do not fit the command.
    """
    try:
        yield
    except _CLICK_USAGE_ERROR as error:
        from artgen.cli.usage_errors import convert_error

        raise convert_error(error, context, args) from None


class PlainHelpMixin:
    """Print the help of a command or a command group."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "rich_markup_mode": None, "add_help_option": False})

    def get_params(self: Any, ctx: Any) -> list[Any]:
        eager = [_eager_parameter(option) for option in EAGER_OPTIONS if option.applies(self)]
        return [*super().get_params(ctx), *eager]  # type: ignore[misc]

    def get_help(self: Any, ctx: Any) -> str:
        # Typer would print the returned text without handling a broken stdout.
        self.print_page(ctx, full=False)
        return ""

    def print_page(self, ctx: Any, *, full: bool) -> None:
        """Print the page of `--help`, or of `--help-all` if `full`."""
        from artgen.cli.help_pages import format_page

        print_text(format_page(self, ctx, full=full))

    def collect_usage_pieces(self: Any, ctx: Any) -> list[str]:
        return [piece.strip("{}").upper() for piece in super().collect_usage_pieces(ctx)]  # type: ignore[misc]


def reads_history(command: Function) -> Function:
    """Mark a command that reads `history:ID` itself. Use it as a decorator of the command."""
    command.reads_history = True  # type: ignore[attr-defined]
    return command


class Command(PlainHelpMixin, TyperCommand):
    """Represent one command. Underscores and dashes are equivalent in the names of its options.

    `history:ID` in an argument is replaced by the path of the image file, see `reads_history`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = self._with_dashes(args)
        if ctx.resilient_parsing:  # completion
            return super().parse_args(ctx, args)
        if args == ["help"] and not os.path.lexists("help"):
            self.get_help(ctx)
            ctx.exit()
        if any("history:" in argument for argument in args) and not getattr(self.callback, "reads_history", False):
            from artgen.cli.history_arguments import replace_entries

            args = replace_entries(args)
        check_arguments(self.get_params(ctx), args)
        set_command_line(ctx, args)
        ctx.allow_extra_args = True
        with _convert_usage_errors(ctx, args):
            extra = super().parse_args(ctx, list(args))
        if extra:
            from artgen.cli.usage_errors import extra_arguments_error

            raise extra_arguments_error(ctx, extra, args)
        return extra

    def known_flags(self) -> set[str]:
        """Return the names of the options."""
        eager = {flag for option in EAGER_OPTIONS if option.applies(self) for flag in option.flags}
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
            rest = super().parse_args(ctx, list(args))
        if set(args) == {"--"} and not ctx.resilient_parsing:
            self.get_help(ctx)
            ctx.exit()
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command, and its arguments. `help COMMAND` is `COMMAND --help`."""
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        commands = self.list_commands(ctx)
        if args[0] == "help" and "help" not in commands:
            words = [word for word in args[1:] if word != "help"]
            if not any(not word.startswith("-") for word in words):
                if words:  # options, such as --help-all
                    self.make_context(ctx.info_name, words, ctx.parent)
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

        raise unknown_command_error(args, ctx, commands)

    def command_sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Return the names and summaries of the commands, by heading."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return {
            "Commands": [
                (name, (command.help or "").partition("\n\n")[0])
                for name, command in commands
                if command and not command.hidden
            ]
        }

    def print_page(self, ctx: Any, *, full: bool) -> None:
        from artgen.cli.help_pages import format_group_page

        print_text(format_group_page(self, ctx, self.command_sections(ctx), full=full))


class App(typer.Typer):
    """Represent a Typer app whose commands use this help format."""

    def __init__(self, help: str, cls: type[Group] = Group, *, add_completion: bool = False) -> None:  # noqa: A002
        super().__init__(
            cls=cls,
            help=help,
            no_args_is_help=True,
            add_completion=add_completion,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **kwargs: Any
    ) -> Callable[[Function], Function]:
        return super().command(name, cls=cls, **kwargs)
