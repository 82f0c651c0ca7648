"""How much processor time artgen takes to explain itself, to refuse and to read a picture, beside other programs.

    python tests/benchmarks/startup.py [ROUNDS]

Runs every command once a round, so that whatever else the machine does disturbs all of them alike, and prints user and
system time in milliseconds: the median of all rounds, the spread (quartiles), and the median's ratio to
`import typer, typer.rich_utils`, what an empty Typer program pays for one page of help.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from artgen.cli.main import SUMMARIES

PYTHON = [sys.executable]
ARTGEN = [*PYTHON, "-m", "artgen"]
REFERENCE = "import typer, typer.rich_utils"


def commands(picture: Path) -> dict[str, list[str]]:
    """What is measured, by what it is called in the table."""
    found = {
        "python, nothing": [*PYTHON, "-c", "pass"],
        "import typer": [*PYTHON, "-c", "import typer"],
        REFERENCE: [*PYTHON, "-c", REFERENCE],
        "artgen --help": [*ARTGEN, "--help"],
        **{f"artgen {name} --help": [*ARTGEN, name, "--help"] for name in SUMMARIES},
        "artgen --version": [*ARTGEN, "--version"],
        "artgen txt2img x --steps 0": [*ARTGEN, "txt2img", "x", "--steps", "0"],
        "artgen img2img missing.png": [*ARTGEN, "img2img", "missing.png"],
        "artgen info picture.png": [*ARTGEN, "info", str(picture)],
    }
    other = Path(sys.executable).with_name("diffusers-cli")
    if other.exists() or shutil.which("diffusers-cli"):
        found["diffusers-cli --help"] = [str(other) if other.exists() else "diffusers-cli", "--help"]
    return found


def processor_time(command: list[str]) -> float:
    """Milliseconds of user and system time."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0  # waited for already
    return (used.ru_utime + used.ru_stime) * 1000


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        chunks = PngInfo()
        chunks.add_itxt("parameters", "a red fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64")
        Image.new("RGB", (64, 64)).save(picture, pnginfo=chunks)
        measured = commands(picture)
        times: dict[str, list[float]] = {name: [] for name in measured}
        for command in measured.values():
            processor_time(command)  # once for the caches of files and of bytecode
        for _ in range(rounds):
            for name, command in measured.items():
                times[name].append(processor_time(command))
    reference = statistics.median(times[REFERENCE])
    print(f"{rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    print(f"{'':<32} {'median ms':>9} {'spread':>13} {'ratio':>6}")
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:<32} {median:>9.0f} {f'{low:.0f} - {high:.0f}':>13} {median / reference:>6.2f}")


if __name__ == "__main__":
    main()
