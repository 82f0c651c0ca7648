"""Run artgen commands in separate processes and report the heavy modules that they import."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

HEAVY_MODULES = ("torch", "diffusers", "transformers", "numpy", "accelerate", "huggingface_hub", "rich")

DRIVER = """
import json, sys
sys.argv = ["artgen", *json.loads(sys.argv[1])]
code = 0
try:
    from artgen.cli.main import run
    run()
except SystemExit as exit_:
    code = exit_.code
loaded = [name for name in json.loads('{heavy}') if name in sys.modules]
sys.stderr.write("\\n" + json.dumps([code or 0, loaded]))
"""


def modules_after(
    *arguments: str, watched: Sequence[str] = HEAVY_MODULES, **environment: str
) -> tuple[int, list[str], str]:
    """Run `artgen ARGUMENTS` in a separate process. Return its exit code, its `watched` modules and stderr."""
    result = subprocess.run(
        [sys.executable, "-c", DRIVER.replace("{heavy}", json.dumps(list(watched))), json.dumps(arguments)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **environment},
        timeout=600,
    )  # fmt: skip
    message, _, last = result.stderr.rpartition("\n")
    code, loaded = json.loads(last)
    return code, loaded, message
