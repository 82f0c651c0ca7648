"""Define command groups in which one command is the default."""

from typing import Any

from artgen.cli.help import Group


class DefaultCommandGroup(Group):
    """Run the default command if the first argument is not a command of the group.

    Attributes:
        default_command: name of the default command.
        takes_arguments: whether the first argument can be an argument of the default command. Otherwise only its
            options can follow the name of the group.
    """

    default_command = "run"
    takes_arguments = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own_flags = {flag for parameter in self.get_params(ctx) for flag in parameter.opts} - {"--json-schema"}
        if self._is_for_default(args, own_flags):
            args.insert(0, self.default_command)
        ctx.default_map = {self.default_command: ctx.default_map or {}}
        return super().parse_args(ctx, args)

    def _is_for_default(self, args: list[str], own_flags: set[str]) -> bool:
        """Return whether the arguments are arguments of the default command."""
        if not args:
            return not self.takes_arguments
        is_option = args[0].startswith("-") and args[0] != "--"
        return args[0] not in self.commands and args[0] not in own_flags and (self.takes_arguments or is_option)
