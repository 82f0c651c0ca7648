"""Generate the table of control nets in docs/control.md from `artgen/assets/control_nets.json`.

python docs/generate_control_nets.py
"""

from pathlib import Path

from artgen.registry.control_nets import NetEntry, net_entries
from artgen.registry.pipelines import base_entry
from artgen.system.counts import format_bytes

PAGE = Path(__file__).parent / "control.md"
START, END = "<!-- start of the generated table -->\n", "<!-- end of the generated table -->\n"
HEADER = (
    "| name | family | kinds; default in bold | repository | license | download |\n"
    "|---|---|---|---|---|---|\n"
)  # fmt: skip


def render() -> str:
    """Return the table."""
    return HEADER + "".join(map(_row, net_entries().values()))


def replaced(page: str) -> str:
    """Return the content of the page with the current table."""
    before, _, rest = page.partition(START)
    return f"{before}{START}{render()}{END}{rest.partition(END)[2]}"


def _row(entry: NetEntry) -> str:
    kinds = ", ".join(f"**{kind}**" if kind in entry.default_for else kind for kind in entry.kinds)
    cells = (
        f"`{entry.name}`",
        base_entry(entry.architecture).title,
        kinds or "masked input image",
        entry.source,
        entry.license,
        "with artgen" if entry.bundled_folder else _size(entry),
    )
    return f"| {' | '.join(cells)} |\n"


def _size(entry: NetEntry) -> str:
    return "unknown" if entry.download_size is None else format_bytes(entry.download_size)


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text("utf-8")), "utf-8")
