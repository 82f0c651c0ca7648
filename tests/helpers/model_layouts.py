"""Write folders of tiny models without torch: the same configurations and tensor shapes as in `tiny_models`, but zeros.

`model_layouts.json` contains the layouts. Write it again after a change of `tiny_models` with
`PYTHONPATH=. python tests/helpers/model_layouts.py`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from safetensors_files import zero_file

LAYOUTS_FILE = Path(__file__).with_suffix(".json")

Layout = dict[str, Any]
"""File name -> content of a JSON file, or tensor name -> shape as text ("8x4x3x3") of a safetensors file."""


def read_layout(folder: Path) -> Layout:
    """Return the layout of a model folder. The files of the tokenizers are omitted, except their configurations."""
    from artgen.registry.safetensors_header import read_header

    layout: Layout = {}
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = read_header(path).tensors
        layout[path.relative_to(folder).as_posix()] = {
            name: "x".join(map(str, tensors[name][1])) for name in sorted(tensors)
        }
    for path in sorted([folder / "model_index.json", *folder.glob("*/*config.json")]):
        config = json.loads(path.read_text())
        versions = ("_diffusers_version", "transformers_version", "_name_or_path")
        layout[path.relative_to(folder).as_posix()] = {
            key: value for key, value in config.items() if key not in versions
        }
    return layout


def write_folder(folder: Path, layout: Layout) -> Path:
    """Write a model folder. The weights are zeros, and the vocabularies are empty."""
    for name, content in layout.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            shapes = {key: tuple(map(int, shape.split("x"))) if shape else () for key, shape in content.items()}
            zero_file(path, shapes, {"format": "pt"}, dtype="F32")
        else:
            path.write_text(json.dumps(content))
            if path.name == "tokenizer_config.json":
                path.with_name("vocab.json").write_text("{}")
                path.with_name("merges.txt").write_text("#version: 0.2\n")
    return folder


def write_all(root: Path) -> dict[str, Path]:
    """Write all models. Return their folders by name."""
    layouts: dict[str, Layout] = json.loads(LAYOUTS_FILE.read_text())
    return {name: write_folder(root / name, layout) for name, layout in layouts.items()}


def record_layouts() -> None:
    """Build the models with torch, and write their layouts to `model_layouts.json`."""
    import tiny_models

    with tempfile.TemporaryDirectory() as folder:
        layouts = {name: read_layout(path) for name, path in tiny_models.all_models(Path(folder)).items()}
    LAYOUTS_FILE.write_text(json.dumps(layouts, indent=1) + "\n")


if __name__ == "__main__":
    record_layouts()
