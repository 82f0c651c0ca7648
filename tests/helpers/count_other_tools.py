"""Count the prompts that artgen reads from files in the formats of other tools, now and with another checkout.

    python -m tests.helpers.count_other_tools [--before CHECKOUT]

The script prints the table of docs/other-tools.md. The files are written by the helpers of the tests.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from artgen.metadata.external_record import TOOL_NAMES
from tests.helpers import other_tools
from tests.helpers.comfy_graphs import Out, Parts, start
from tests.unit import test_comfy_prompts as comfy
from tests.unit.test_other_tools import BASE, WRITERS

ROOT = Path(__file__).parents[2]

READER = """
import json, sys
from pathlib import Path
from artgen.metadata import read_metadata
from artgen.queue import prompt_files
for line in sys.stdin:
    path, kind = json.loads(line)
    found = []
    try:
        if kind == "image":
            fields = read_metadata(Path(path)).fields
            if "prompt" in fields:
                found.append([fields["prompt"], fields.get("negative_prompt") or ""])
        else:
            for item in prompt_files.read_prompt_file(Path(path)):
                values = item.setting_values  # an error has no values: the file is not read
                found.append([values.get("prompt"), values.get("negative_prompt") or ""])
    except Exception:
        found = []
    print(json.dumps(found))
"""
"""Program that reads the files with either checkout: one list of prompt and negative prompt per line of stdin."""

PARAMETERS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model: fox"
A1111_TEXTS = {
    "usual": f"a red fox\nNegative prompt: a house\n{PARAMETERS}",
    "several lines": f"a red fox,\nsnow\nNegative prompt: a house,\nblur\n{PARAMETERS}",
    "template": f"a red fox\nNegative prompt: a house\n{PARAMETERS}\nTemplate: {{a|b}} fox\nNegative Template: a house",
    "indented": f"  a red fox\n  Negative prompt: a house\n  {PARAMETERS}",
    "one line": f"a red fox Negative prompt: a house {PARAMETERS}",
    "forge": f"a red fox\nNegative prompt: a house\n{PARAMETERS}, Version: f2.0.1v1.10.1",
}
NOT_PROMPTS = ("Created with GIMP", "Screenshot", '{"name": "package", "version": "1.0"}', "", "OLYMPUS DIGITAL CAMERA")
FOX, BOTH = ("a red fox", ""), ("a red fox", "a house")


def prompts_of_text(name: str) -> tuple[str, str]:
    """Return the prompts of a text of `A1111_TEXTS`."""
    return ("a red fox,\nsnow", "a house,\nblur") if name == "several lines" else BOTH


PROMPT_FILES: dict[str, list[tuple[str, str, list[tuple[str, str]]]]] = {
    "prompt file of AUTOMATIC1111": [
        ("txt", '--prompt "a red fox" --negative_prompt "a house" --sampler_name "DPM++ 2M" --cfg_scale 7', [BOTH]),
        ("txt", "--prompt a red fox --negative_prompt a house --steps 20", [BOTH]),
        ("txt", '--prompt "a red fox" --n_iter 4 --batch_size 2 --restore_faces true', [FOX]),
        ("txt", '--steps 20 --outpath_samples "C:\\\\my images" --prompt "a red fox"', [FOX]),
        *(("txt", text, [prompts_of_text(name)]) for name, text in A1111_TEXTS.items()),
        ("txt", f"{A1111_TEXTS['usual']}\n\n{A1111_TEXTS['usual']}\n", [BOTH, BOTH]),
        ("csv", "prompt,seed,cfgs,steps,filename,negative_prompt\na red fox,5,7,20,1.png,a house\n", [BOTH]),
        ("jsonl", '{"prompt": "a red fox", "negative_prompt": "a house", "n_iter": 1, "sampler_name": "LMS"}', [BOTH]),
        ("json", '[{"prompt": "a red fox", "negative_prompt": "a house", "override_settings": {}}]', [BOTH]),
    ],
    "prompt file of InvokeAI": [
        ("txt", "a red fox -C 7.5 -S 42 -A k_euler_a -s 20 -n 2", [FOX]),
        ("txt", '"a red fox" -s50 -W512 -H512 -C7.5 -Ak_lms -S1234', [FOX]),
        ("txt", "a red fox [a house] -S 42 -U 2 0.75 -G 0.8", [BOTH]),
        ("txt", other_tools.DREAM, [BOTH]),
    ],
    "prompt file of Midjourney": [
        ("txt", "a red fox --ar 16:9 --v 6", [FOX]),
        ("txt", "a red fox \u2014ar 16:9 \u2014v 6", [FOX]),
        ("txt", "a red fox --no a house --niji 6 --style raw", [BOTH]),
    ],
    "lists, tables and JSON": [
        ("txt", "- a red fox\n- a cat", [FOX, ("a cat", "")]),
        ("txt", "1. a red fox\n2. a cat", [FOX, ("a cat", "")]),
        ("txt", '[\n  "a red fox",\n  "a cat"\n]', [FOX, ("a cat", "")]),
        ("txt", "positive: a red fox\nnegative: a house\n---\n", [BOTH]),
        ("txt", "a red fox\nNegative prompt: a house\n", [BOTH]),
        ("csv", "Prompt,Negative Prompt,CFG scale\na red fox,a house,7\n", [BOTH]),
        ("csv", "prompt;negative_prompt\na red fox;a house\n", [BOTH]),
        ("tsv", "prompt\tnegative prompt\na red fox\ta house\n", [BOTH]),
        ("json", '["a red fox", "a cat"]', [FOX, ("a cat", "")]),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Represent a file: its group in the table, its kind (image or prompts) and its prompts and negative prompts."""

    group: str
    path: Path
    kind: str
    expected: list[tuple[str, str]]


def comfy_graphs() -> Iterator[tuple[Parts, tuple[str, str]]]:
    """Yield graphs of ComfyUI with ControlNets, areas, several encoders and linked texts, and their prompts."""
    fox = ("a red fox", "blurry")
    for negative_first in (False, True):
        yield start(negative_first=negative_first), fox
        for wrap in comfy.WRAPPERS:
            parts = start(negative_first=negative_first)
            wrap(parts)
            yield parts, fox
    for make in comfy.TEXTS:
        parts = start()
        for name, text in (("positive", "a red fox"), ("negative", "blurry")):
            setattr(parts, name, parts.graph.encode(make(parts.graph, text), parts.clip))
        yield parts, fox
    for kind, inputs, prompt, _ in comfy.ENCODERS:
        parts = start()
        for name, text in (("positive", "a blue cat"), ("negative", "ugly")):
            filled = {key: text if value == "TEXT" else value for key, value in inputs.items()}
            setattr(parts, name, parts.graph.add(kind, clip=parts.clip, **filled))
        yield parts, (prompt.replace("TEXT", "a blue cat"), prompt.replace("TEXT", "ugly"))
    parts = start()
    parts.negative = parts.graph.add("ConditioningZeroOut", conditioning=parts.positive)
    yield parts, ("a red fox", "")


def flux_graph() -> tuple[Any, tuple[str, str]]:
    """Return a graph of Flux, whose sampler gets the prompt from a guider."""
    parts = start()
    graph = parts.graph
    guidance = graph.add("FluxGuidance", conditioning=parts.positive, guidance=3.5)
    sampler = graph.add(
        "SamplerCustomAdvanced", noise=graph.add("RandomNoise", noise_seed=42),
        guider=graph.add("BasicGuider", model=parts.model, conditioning=guidance),
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=parts.model, scheduler="karras", steps=25, denoise=1.0),
        latent_image=parts.latent,
    )  # fmt: skip
    graph.save(Out(sampler.node, 1), parts.vae)
    return graph, ("a red fox", "")


def write_parameters(path: Path, text: str) -> None:
    """Write a PNG image with a text `parameters`."""
    other_tools.write_png(path, {"parameters": text})


def write_cases(folder: Path) -> list[Case]:
    """Write all files into a folder and return them."""
    cases: list[Case] = []

    def add_image(group: str, name: str, expected: list[tuple[str, str]], write: Callable[[Path], object]) -> None:
        path = folder / f"{len(cases):03}-{name}"
        write(path)
        cases.append(Case(group, path, "image", expected))

    graphs = [(parts.finish(), expected) for parts, expected in comfy_graphs()] + [flux_graph()]
    for graph, expected in graphs:
        forms = {"prompt": graph.api(), "new": graph.workflow(lists_widgets=True), "workflow": graph.workflow()}
        # Older editors do not have linked widgets of these nodes.
        if any(kind in node.kind for kind in ("|", "Impact", "StringConcatenate") for node in graph.nodes.values()):
            del forms["workflow"]
        for form, data in forms.items():
            texts = {"prompt" if form == "prompt" else "workflow": data}
            add_image("ComfyUI", f"{form}.png", [expected], partial(other_tools.write_png, texts=texts))
    for name, text in A1111_TEXTS.items():
        expected = [prompts_of_text(name)]
        add_image("AUTOMATIC1111, Forge", "a.png", expected, partial(write_parameters, text=text))
        add_image("AUTOMATIC1111, Forge", "a.jpg", expected, partial(other_tools.write_with_comment, comment=text))
    for name, (write_file, tool, changes) in WRITERS.items():
        fields = {**BASE, **changes}
        group = "AUTOMATIC1111, Forge" if tool == "a1111" else TOOL_NAMES[tool]
        add_image(group, name, [(str(fields["prompt"]), str(fields["negative_prompt"] or ""))], write_file)
    for text in NOT_PROMPTS:
        add_image("texts that are not prompts", "t.png", [], partial(write_parameters, text=text))
        add_image("texts that are not prompts", "t.jpg", [], partial(other_tools.write_with_comment, comment=text))
    for group, files in PROMPT_FILES.items():
        for suffix, text, prompts in files:
            path = folder / f"{len(cases):03}.{suffix}"
            path.write_text(text, "utf-8")
            cases.append(Case(group, path, "prompts", prompts))
    return cases


def read_cases(cases: list[Case], checkout: Path) -> list[str]:
    """Return `right`, `wrong` or `not read` for each file, as the code of a checkout reads it."""
    lines = "\n".join(json.dumps([str(case.path), case.kind]) for case in cases)
    completed = subprocess.run(
        [sys.executable, "-c", READER], input=lines, capture_output=True, text=True, cwd=cases[0].path.parent,
        env={**os.environ, "PYTHONPATH": str(checkout)}, check=True, timeout=600,
    )  # fmt: skip
    results = []
    for case, line in zip(cases, completed.stdout.splitlines(), strict=True):
        found = [tuple(pair) for pair in json.loads(line)]
        results.append("right" if found == case.expected else "wrong" if found else "not read")
    return results


def count(cases: list[Case], results: list[str]) -> dict[str, Counter[str]]:
    """Return the number of results of each group."""
    counts: dict[str, Counter[str]] = {}
    for case, result in zip(cases, results, strict=True):
        counts.setdefault(case.group, Counter())[result] += 1
    return counts


def main() -> None:
    """Print the table. A prompt is wrong if another text is read; a text that is not a prompt must not be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    before_checkout = parser.parse_args().before
    with tempfile.TemporaryDirectory() as folder:
        cases = write_cases(Path(folder))
        now = read_cases(cases, ROOT)
        before = read_cases(cases, before_checkout.resolve()) if before_checkout else now
    print("| files in the format of | files | right before | wrong before | not read before | right now | wrong now |")
    print("|---|---|---|---|---|---|---|")
    counts_before, counts_now = count(cases, before), count(cases, now)
    rows = [(group, counts_before[group], counts_now[group]) for group in counts_now]
    rows.append(("all", sum(counts_before.values(), Counter()), sum(counts_now.values(), Counter())))
    for group, old, new in rows:
        cells = [new.total(), old["right"], old["wrong"], old["not read"], new["right"], new["wrong"] + new["not read"]]
        print(f"| {group} | {' | '.join(map(str, cells))} |")
    for case, result in zip(cases, now, strict=True):
        if result != "right":
            print(f"{result}: {case.path.name} ({case.group})", file=sys.stderr)


if __name__ == "__main__":
    main()
