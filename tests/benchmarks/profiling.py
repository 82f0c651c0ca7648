"""Where the time of a row goes: what Python calls, by cProfile."""

import io
import pstats
import re
import sys
import sysconfig
from pathlib import Path

from measuring import Row, Way, run

import artgen

LINES = 25


def profile(row: Row, scratch: Path) -> str:
    """Runs every way of a row once under cProfile: its longest calls with and without what they call.

    Processes that a way starts itself are not looked into.
    """
    parts = []
    for number, way in enumerate(row.ways):
        if way.command[0] != sys.executable or "-c" in way.command[:4]:
            parts.append(f"{row.name}, {way.name}: no program that cProfile runs")
            continue
        out, stats = scratch / f"profiled-{number}", scratch / f"{number}.prof"
        out.mkdir()
        words = way.command[1:]
        while words[0] == "-W":
            words = words[2:]
        run(Way(way.name, (sys.executable, "-W", "ignore", "-m", "cProfile", "-o", str(stats), *words), way.exit), out)
        for order in ("cumulative", "tottime"):
            text = io.StringIO()
            pstats.Stats(str(stats), stream=text).sort_stats(order).print_stats(LINES)
            parts.append(f"{row.name}, {way.name}, by {order}:\n{_short(text.getvalue())}")
    return "\n\n".join(parts)


def _short(text: str) -> str:
    """Without the date and where the numbers lay, and with paths from the package on: one name may be many files'."""
    places = {Path(artgen.__file__).parents[1], *map(Path, sysconfig.get_paths().values()), Path(__file__).parent}
    for place in sorted(map(str, places), key=len, reverse=True):
        text = text.replace(f"{place}/", "")
    lines = re.sub(r"\S*/site-packages/", "", text).strip().splitlines()
    return "\n".join(line for line in lines[1:] if line.strip())
