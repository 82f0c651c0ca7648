"""Replace `history:ID` in the arguments of a command by the path of the image file.

Import this module only if an argument contains `history:`.
"""

import re
from collections.abc import Sequence

_ENTRY = re.compile(r"(?P<before>(?:[^\s=]+=)*)(?P<name>history:[0-9A-Za-z]+)(?P<after>(?:[,:].*)?)", re.DOTALL)
"""Value of an argument: `history:12`, `--mask=history:12`, `canny=history:12,scale=0.5` or `history:12:0.6`."""


def replace_entries(args: Sequence[str]) -> list[str]:
    """Return arguments in which each name of an entry is the path of its image file. Other texts are unchanged.

    Raises:
        UsageError: the history has no such entry.
        InputFileError: the image file is missing, or the history is damaged.
        OutputError: the history is locked.
    """
    end = args.index("--") if "--" in args else len(args)
    return [*map(_replace_entry, args[:end]), *args[end:]]


def _replace_entry(argument: str) -> str:
    from artgen.image_history.find_entry import is_entry_name

    match = _ENTRY.fullmatch(argument)
    if match is None or not is_entry_name(match["name"]):
        return argument
    from artgen.api.history_functions import history_file

    return f"{match['before']}{history_file(match['name'])}{match['after']}"
