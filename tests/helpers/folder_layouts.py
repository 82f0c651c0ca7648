"""Build model folders with unusual layouts from `folder_layouts.json`, each with the expected verdict.

An entry of the file changes a valid model: `base` is the name of the model, and the other keys are steps that run in
the order of `STEPS`. `verdict` is `loads`, or the exit code and a part of the message.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

LAYOUTS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text())
UNET_STEM = "diffusion_pytorch_model"


def build(name: str, models: Mapping[str, Path], folder: Path) -> Path:
    """Build a layout from the models by name. Return its folder."""
    layout = LAYOUTS[name]
    shutil.copytree(models[layout["base"]], folder)
    for key, step in STEPS.items():
        if key in layout:
            step(folder, layout[key])
    return folder


def _delete(folder: Path, patterns: list[str]) -> None:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _variant(folder: Path, variants: dict[str, str]) -> None:
    """Rename the weights of components, or of all components, to a variant."""
    for component, variant in variants.items():
        for path in sorted(folder.glob(f"{component}/*.safetensors")):
            path.rename(path.with_name(f"{path.stem}.{variant}.safetensors"))


def _copy(folder: Path, copies: dict[str, str]) -> None:
    for source, target in copies.items():
        if (folder / source).is_dir():
            shutil.copytree(folder / source, folder / target)
        else:
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / source, folder / target)


def _move(folder: Path, moves: dict[str, str]) -> None:
    for pattern, suffix in moves.items():
        for path in sorted(folder.glob(pattern)):
            path.rename(path.with_suffix(suffix))


def _shard(folder: Path, component_and_variant: list[str]) -> None:
    """Split the weights of a component into two shards with an index."""
    component, *variant = component_and_variant
    (path,) = (folder / component).glob("*.safetensors")
    tensors = load_file(path)
    part = f".{variant[0]}" if variant else ""
    names = [f"{UNET_STEM}{part}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weight_map = {key: names[index % 2] for index, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({key: tensors[key] for key in tensors if weight_map[key] == name}, path.with_name(name))
    path.unlink()
    index = {"metadata": {}, "weight_map": weight_map}
    path.with_name(f"{UNET_STEM}.safetensors.index{part}.json").write_text(json.dumps(index))


def _write(folder: Path, files: dict[str, Any]) -> None:
    """Write files: a text as it is, other values as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def _weights(folder: Path, files: dict[str, dict[str, list[int]]]) -> None:
    """Write safetensors files of zeros: file name -> tensor name -> shape."""
    for name, shapes in files.items():
        save_file({key: np.zeros(shape, np.float16) for key, shape in shapes.items()}, folder / name)


def _set(folder: Path, changes: dict[str, dict[str, Any]]) -> None:
    """Change keys of JSON files; the value "<delete>" deletes a key."""
    for name, values in changes.items():
        path = folder / name
        content = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in content.items() if value != "<delete>"}))


def _truncate(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 1)


def _link(folder: Path, kind: str) -> None:
    """Replace all files, or the folders of all components, by symbolic links to a folder beside the model."""
    store = folder.with_name(f"{folder.name}-store")
    store.mkdir()
    paths = [path for path in folder.rglob("*") if path.is_file()] if kind == "files" else list(folder.iterdir())
    for path in paths:
        target = store / re.sub(r"\W", "_", path.relative_to(folder).as_posix())
        path.rename(target)
        path.symlink_to(os.path.relpath(target, path.parent))


STEPS: dict[str, Callable[[Path, Any], None]] = {
    "copy": _copy,
    "delete": _delete,
    "move": _move,
    "shard": _shard,
    "variant": _variant,
    "write": _write,
    "weights": _weights,
    "set": _set,
    "truncate": _truncate,
    "link": _link,
    "remove_after": _delete,
}
