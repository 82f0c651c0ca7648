"""The page of results: each script owns a section of `RESULTS.md` and rewrites that alone; its numbers lie beside it.

    <!-- begin NAME --> ... <!-- end NAME -->

stand around the section of the script NAME; `results/NAME.json` holds what it measured.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("torch", "diffusers", "transformers")


def numbers_of(name: str, page: Path = PAGE) -> Path:
    """Where the numbers of a section lie."""
    return page.parent / "results" / f"{name}.json"


def read(name: str, page: Path = PAGE) -> Any:
    """What was measured before for a section; None when nothing was."""
    path = numbers_of(name, page)
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def write(name: str, text: str, numbers: Any, page: Path = PAGE) -> None:
    """Puts `text` (Markdown) in a section of the page, at its end when it is a new one, and `numbers` beside it.

    Raises:
        ValueError: the page has only one of the section's two marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    old = page.read_text("utf-8") if page.exists() else "# Results\n"
    if (begin in old) != (end in old):
        raise ValueError(f"{page} has one mark of the section {name} without the other")
    section = f"{begin}\n\n{text.strip()}\n\n{end}"
    if begin in old:
        before, _, rest = old.partition(begin)
        new = before + section + rest.partition(end)[2]
    else:
        new = f"{old.rstrip()}\n\n{section}\n"
    page.write_text(new, "utf-8")
    path = numbers_of(name, page)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")


def today() -> str:
    """The date, as results record it."""
    return datetime.date.today().isoformat()


def machine(gpu: str | None = None) -> str:
    """What the numbers were measured on: processor, cores, memory, GPU, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{_processor()}, {cores} cores", f"{_memory():.0f} GiB", *([gpu] if gpu else [])]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return ", ".join([*parts, f"Python {platform.python_version()}", *versions])


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _memory() -> float:
    """Main memory in GiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
