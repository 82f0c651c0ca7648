"""Run the scripts of a training recipe on synthetic icons, each in a process without network."""

import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
ICONS = {"fox": "🦊", "cat": "🐈", "frog": "🐸", "pizza": "🍕", "sun": "☀", "banana": "🍌", "blob": "🟠"}
STYLES = {"fluent-emoji-flat": 0, "fluent-emoji": 4, "noto": 8}
NO_NETWORK = """
import socket


def reject(self, address):
    raise OSError(f"the recipe tried to reach {address}")


socket.socket.connect = reject
"""


class Recipe:
    """Run the scripts of the recipe `examples/NAME` in one work folder, each in a process without network."""

    def __init__(self, folder: Path, name: str) -> None:
        self.scripts = EXAMPLES / name
        self.raw, self.work, guard = folder / "raw", folder / "work", folder / "guard"
        guard.mkdir(parents=True)
        (guard / "sitecustomize.py").write_text(NO_NETWORK)
        self.environment = {**os.environ, "PYTHONPATH": str(guard), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(self, script: str, *arguments: object, work: Path | None = None) -> str:
        """Run a script and return its output; fail if the script fails."""
        command = [sys.executable, self.scripts / script, "--work", work or self.work, *arguments]
        completed = subprocess.run(
            [*map(str, command)], env=self.environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert completed.returncode == 0, f"{script}:\n{completed.stderr[-3000:]}"
        return completed.stdout


def write_packs(raw: Path) -> None:
    """Write three packs of seven icons and two keyword lists, in the layout of the unpacked archives."""
    for style, inset in STYLES.items():
        pack = raw / f"iconify-json-{style}-1.0.0"
        pack.mkdir(parents=True)
        icons = {}
        for at, name in enumerate(ICONS):
            size = f'width="{20 + at}" height="{28 - 2 * at}"'
            icons[name] = {"body": f'<rect x="{inset}" y="2" {size} rx="{at}" fill="hsl({50 * at},90%,50%)"/>'}
        (pack / "icons.json").write_text(json.dumps({"width": 32, "height": 32, "icons": icons}))
        (pack / "chars.json").write_text(json.dumps({f"{ord(emoji):x}": name for name, emoji in ICONS.items()}))
    library = raw / "emojilib-1.0.0" / "dist"
    library.mkdir(parents=True)
    (library / "emoji-en-US.json").write_text(json.dumps({ICONS["fox"]: ["fox_face", "vixen"]}))
    base = raw / "emojibase-data-1.0.0" / "en"
    base.mkdir(parents=True)
    entries = [{"label": name, "emoji": emoji, "tags": [f"{name} thing"]} for name, emoji in ICONS.items()]
    (base / "data.json").write_text(json.dumps(entries))
