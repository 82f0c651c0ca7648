"""Define the command `artgen cache`."""

import datetime
from typing import Annotated

import typer

from artgen.cli.console import confirm_deletion, print_note, print_result
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.spec.memory_budget import format_gib
from artgen.system.counts import counted, format_bytes

app = App(
    """List and clear artgen's cache: converted models and other data.

    artgen cache list
    artgen cache clear openvino
    """
)


def _declare_entry() -> type:
    from artgen.api.cache import CacheEntry

    return CacheEntry


def _declare_cleared() -> type:
    from artgen.api.cache import ClearedCache

    return ClearedCache


LIST_OUTPUT = JsonOutput(_declare_entry)
CLEAR_OUTPUT = JsonOutput(_declare_cleared, is_list=False)


@app.command("list")
@LIST_OUTPUT
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False) -> None:
    """List the entries of the cache with their sizes. `artgen models list` lists the downloaded models.

    artgen cache list
    artgen cache list --json
    """
    from artgen.api.cache import CONVERTED_MODELS, list_cache
    from artgen.spec import shared_config
    from artgen.system.paths import user_cache_folder

    entries = list_cache()
    if as_json:
        for entry in entries:
            LIST_OUTPUT.print(entry)
        return
    limit = shared_config.cache_limit()
    if not entries:
        print_note(f"The cache '{user_cache_folder()}' is empty.")
        return
    width = max(len(entry.name) for entry in entries)
    print_note(f"{'name':<{width}}  {'size':>8}  {'last used':<16}  contents")
    for entry in entries:
        used = datetime.datetime.fromisoformat(entry.last_used).astimezone()
        line = f"{entry.name:<{width}}  {format_bytes(entry.size_bytes):>8}  {used:%Y-%m-%d %H:%M}  {entry.contents}"
        print_result(line, hanging_indent=4)
    total, converted = (
        format_bytes(sum(entry.size_bytes for entry in entries if kind in (entry.kind, "")))
        for kind in ("", CONVERTED_MODELS)
    )
    print_note(
        f"The cache '{user_cache_folder()}' has {total}. Converted models have {converted} of at most "
        f"{format_gib(limit)} (cache_limit)."
    )


@app.command()
@CLEAR_OUTPUT
def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Names of entries or of converted models. [all entries]"),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Delete entries of the cache. artgen creates them again when it needs them. Asks for confirmation on a terminal.

    `openvino` selects all converted models. The entries configs, combined, headers and inductor are kept while a
    process of artgen uses them.

    artgen cache clear
    artgen cache clear openvino hashes
    """
    from artgen.api.cache import ClearedCache, clear_entries, select_entries

    entries = select_entries(names or ())
    size = format_bytes(sum(entry.size_bytes for entry in entries))
    cleared = ClearedCache((), (), 0)
    question = f"Delete {counted(len(entries), 'entry', 'entries')} of the cache ({size})?"
    is_confirmed = not entries or confirm_deletion(question, yes)
    if entries and is_confirmed:
        cleared = clear_entries(entries)
    if cleared.in_use:
        print_note(
            f"Not deleted, because a running process of artgen uses them: {', '.join(cleared.in_use)}. "
            "`artgen worker stop` ends the worker."
        )
    if as_json:
        CLEAR_OUTPUT.print(cleared)
    elif is_confirmed:
        print_note(f"Freed {format_bytes(cleared.freed_bytes)}.")
