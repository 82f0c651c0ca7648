"""Generate docs/supported-models.md from docs/supported-models.json, the table of pipelines and the catalog.

python docs/generate_supported_models.py
"""

import json
from pathlib import Path
from typing import Any

from artgen.registry.catalog import ModelInfo, builtin_models
from artgen.registry.memory import catalog_peak_bytes
from artgen.registry.pipelines import find_entry, pipeline_entries, refusal_reason
from artgen.spec.memory_budget import format_gib

PAGE = Path(__file__).with_name("supported-models.md")
MATRIX_FILE = Path(__file__).with_name("supported-models.json")
TASKS = ("txt2img", "img2img", "inpaint", "outpaint", "edit", "sample")

HEADER = """# Supported models

`docs/generate_supported_models.py` generates this page. Do not edit it.

## Tasks

Each row is a real pipeline at a tiny size with random weights (`tests/helpers/tiny_zoo/`). **equal**: artgen's image is
byte-identical to the image of plain diffusers with the same arguments, in fp32 on the CPU. **-**: artgen refuses the
task in one sentence before the model loads. `tests/engine/test_model_matrix.py` verifies each cell of the table. The
tasks are those that run a pipeline of diffusers; `artgen denoise` runs none.

"""

REASONS_HEADER = """
## Why tasks are refused

diffusers has no pipeline class for the refused tasks that are not in this list.

"""

FAMILIES_HEADER = """
## Families

The table of pipelines, `artgen/assets/pipelines.json`, has an entry for each family. Guidance: **classifier-free** has
two denoiser calls per step; **embedded** passes the scale to the denoiser; **true-cfg** needs a negative prompt, which
artgen sets if none is given; **none** refuses `--guidance-scale` and `--negative-prompt`.

| family | tasks | size | steps | guidance | scale | negative prompt | LoRA |
|---|---|---|---|---|---|---|---|
"""

CATALOG_HEADER = """
## Catalog

`artgen models list` shows these models, `artgen/assets/models.json`. The sizes of the downloads are approximate. The
GPU memory is computed, not measured: the parameters in 16 bits and the activations of the VAE decoder at the native
size. The first value is without offloading, the second with `--offload model`. `artgen models recommend` selects models
for a machine.

| `--model` | hub id | size | steps | guidance | download | GPU memory | license |
|---|---|---|---|---|---|---|---|
"""


def render() -> str:
    """Return the page."""
    matrix: dict[str, dict[str, Any]] = json.loads(MATRIX_FILE.read_text(encoding="utf-8"))
    lines = [f"| model | {' | '.join(TASKS)} |", f"|---|{'---|' * len(TASKS)}"]
    for name, row in matrix.items():
        cells = ("equal" if row[task] else "-" for task in TASKS)
        lines.append(f"| {name}: {row['description']} | {' | '.join(cells)} |")
    parts = [
        HEADER,
        "\n".join(lines) + "\n",
        REASONS_HEADER,
        *_reasons(matrix),
        FAMILIES_HEADER,
        *_families(),
        CATALOG_HEADER,
        *(_catalog_row(info) for info in builtin_models().values()),
    ]
    return "".join(parts)


def _reasons(matrix: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, row in matrix.items():
        entry = find_entry(row["class"])
        if entry is None:
            lines.append(f"- {name}: the pipeline {row['class']} {refusal_reason(row['class'])}.\n")
            continue
        reasons = [f"{task}: {reason}" for task, reason in entry.refused_tasks.items() if not row[task]]
        lines += [f"- {name}: {'; '.join(reasons)}.\n"] if reasons else []
    return lines


def _families() -> list[str]:
    rows = []
    for entry in pipeline_entries().values():
        values = (
            entry.title,
            ", ".join(entry.tasks),
            str(entry.native_size_px),
            str(entry.steps),
            entry.guidance,
            "-" if entry.guidance == "none" else f"{entry.guidance_scale:g}",
            {"none": "no", "guidance": "yes", "true-cfg": "turns on true CFG"}[entry.negative_prompt],
            "yes" if entry.supports("lora") else "no",
        )
        rows.append(f"| {' | '.join(values)} |\n")
    return rows


def _catalog_row(info: ModelInfo) -> str:
    values = (
        ", ".join(f"`{name}`" for name in (info.name, *info.aliases)),
        info.source if not info.bundled_folder else "bundled",
        f"{info.width}x{info.height}" if info.width else "-",
        str(info.steps or "-"),
        "-" if info.guidance_scale is None else f"{info.guidance_scale:g}",
        f"{info.download_size / 1e9:.1f} GB" if info.download_size else "-",
        _memory(info),
        f"{info.license}{', gated' if info.gated else ''}",
    )
    return f"| {' | '.join(values)} |\n"


def _memory(info: ModelInfo) -> str:
    peaks = [catalog_peak_bytes(info, mode) for mode in ("none", "model")]
    return ", ".join(format_gib(peak) for peak in peaks if peak) or "-"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
