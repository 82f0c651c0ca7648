"""Where the time of a row goes: what Python calls, by cProfile."""

import io
import pstats
import sys
from pathlib import Path

from measuring import Row, Way, run

LINES = 25


def profile(row: Row, scratch: Path) -> str:
    """Runs every way of a row once under cProfile: its longest calls with and without what they call."""
    parts = []
    for number, way in enumerate(row.ways):
        if way.command[0] != sys.executable or "-c" in way.command[:4]:
            continue
        out, stats = scratch / f"profiled-{number}", scratch / f"{number}.prof"
        out.mkdir()
        words = way.command[1:]
        while words[0] == "-W":
            words = words[2:]
        run(Way(way.name, (sys.executable, "-W", "ignore", "-m", "cProfile", "-o", str(stats), *words), way.exit), out)
        for order in ("cumulative", "tottime"):
            text = io.StringIO()
            pstats.Stats(str(stats), stream=text).strip_dirs().sort_stats(order).print_stats(LINES)
            parts.append(f"{row.name}, {way.name}, by {order}:\n{text.getvalue().strip()}")
    return "\n\n".join(parts)
