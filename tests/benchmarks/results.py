"""Read and write `RESULTS.md` and the measurements. Each script owns one section of the page and rewrites only that.

The section of the script NAME is between `<!-- begin NAME -->` and `<!-- end NAME -->`. `results/NAME.json` contains
its measurements.
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


def data_file(name: str, page: Path = PAGE) -> Path:
    """Return the path of the measurements of a section."""
    return page.parent / "results" / f"{name}.json"


def read(name: str, page: Path = PAGE) -> Any:
    """Return the earlier measurements of a section; None if there are none."""
    path = data_file(name, page)
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def write(name: str, text: str, data: Any, page: Path = PAGE) -> None:
    """Replace a section of the page by `text` (Markdown), or append the section, and write `data` to its JSON file.

    Raises:
        ValueError: the page has only one of the two marks of the section.
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
    path = data_file(name, page)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def today() -> str:
    """Return the date in ISO format."""
    return datetime.date.today().isoformat()


def machine(gpu: str | None = None) -> str:
    """Describe the machine: CPU, cores, memory, GPU and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{_cpu_name()}, {cores} cores", f"{_memory_gib():.0f} GiB", *([gpu] if gpu else [])]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return ", ".join([*parts, f"Python {platform.python_version()}", *versions])


def _cpu_name() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
