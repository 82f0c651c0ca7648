"""Profile the Python calls of a row with cProfile."""

import io
import pstats
import re
import sys
import sysconfig
from pathlib import Path

from harness import Row, Variant, run

import artgen

MAX_LINES = 25


def profile(row: Row, scratch: Path) -> str:
    """Run each variant of a row once with cProfile. Return its longest calls, sorted by cumulative and by own time.

    Child processes are not profiled.
    """
    parts = []
    for number, variant in enumerate(row.variants):
        if variant.command[0] != sys.executable or "-c" in variant.command[:4]:
            parts.append(f"{row.name}, {variant.name}: not a program that cProfile can run")
            continue
        out, stats = scratch / f"profiled-{number}", scratch / f"{number}.prof"
        out.mkdir()
        args = variant.command[1:]
        while args[0] == "-W":
            args = args[2:]
        profiled = (sys.executable, "-W", "ignore", "-m", "cProfile", "-o", str(stats), *args)
        run(Variant(variant.name, profiled, variant.exit), out)
        for order in ("cumulative", "tottime"):
            text = io.StringIO()
            pstats.Stats(str(stats), stream=text).sort_stats(order).print_stats(MAX_LINES)
            parts.append(f"{row.name}, {variant.name}, by {order}:\n{_shorten(text.getvalue())}")
    return "\n\n".join(parts)


def _shorten(text: str) -> str:
    """Remove the date and the common parts of paths. Keep package names: several packages have files of one name."""
    folders = {Path(artgen.__file__).parents[1], *map(Path, sysconfig.get_paths().values()), Path(__file__).parent}
    for folder in sorted(map(str, folders), key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    lines = re.sub(r"\S*/site-packages/", "", text).strip().splitlines()
    return "\n".join(line for line in lines[1:] if line.strip())
