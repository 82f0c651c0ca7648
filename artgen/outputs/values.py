"""What stands for the fields of a file name."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePath

from artgen.outputs.names import Template
from artgen.outputs.writing import TEMPORARY_PREFIX


def template_values(record: Mapping[str, object], stem: str | None) -> dict[str, str]:
    """Raw values of all fields but the index; `hash` is of the record, `date` and `time` are now, here."""
    now = datetime.now().astimezone()
    text = {key: "" if value is None else str(value) for key, value in record.items()}
    canonical = json.dumps(dict(record), sort_keys=True, default=str)
    return {
        **{
            name: text.get(name, "") for name in ("seed", "prompt", "scheduler", "steps", "strength", "width", "height")
        },
        "stem": stem or PurePath(text.get("image", "")).stem or "picture",
        "model": re.sub(r"\.safetensors$", "", re.split(r"[\\/]", text.get("model", "").rstrip("\\/"))[-1]),
        "guidance": text.get("guidance_scale", ""),
        "date": now.strftime("%Y-%m-%d"),
        "time": now.strftime("%H%M%S"),
        "hash": hashlib.sha256(canonical.encode()).hexdigest()[:10],
    }


def next_index(folder: Path, template: Template) -> int:
    """One more than the highest index among the folder's files that the template could have named; 1 if none."""
    pattern = template.index_pattern()
    highest = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(TEMPORARY_PREFIX) and (match := pattern.fullmatch(entry.name)):
                    highest = max(highest, int(match["index"]))
    except OSError:
        return 1
    return highest + 1
