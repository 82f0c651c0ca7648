"""Find the control nets and image prompt adapters that other tools name: in the catalog, or in the user's folders.

`assets/net_names.json` maps file names, presets and preprocessors of other tools to names of artgen, and lists the
sources. Names in metadata are untrusted: they are only compared with the names of existing files.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from artgen.errors import ArtgenError
from artgen.registry import model_folders
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.control_nets import NetEntry, net_entries
from artgen.registry.image_prompts.adapter import adapter_entries

HASHED_BYTES = (0x100000, 0x10000)
"""Offset and size of the bytes of a file whose SHA-256 is its short hash in AUTOMATIC1111's `model_hash`."""
SHORT_HASH_CHARS = 8
_SUFFIXES = (".safetensors", ".sft", ".pth", ".pt", ".bin", ".ckpt")
_HASH = re.compile(r"\s*\[([0-9a-f]{8,64})\]$", re.IGNORECASE)
_PRECISION = re.compile(r"[._-]fp16$")
_FOLDERS: Mapping[str, tuple[model_folders.Kind, ...]] = MappingProxyType(
    {"control": ("controlnet",), "image_prompt": ("image_prompt", "controlnet")}
)
"""Kinds of folders with the files of a setting. AUTOMATIC1111 has IP-Adapters in its folder of ControlNets."""


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    content: dict[str, Any] = json.loads((ASSETS_FOLDER / "net_names.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: values for name, values in content.items() if name != "sources"})


def split_hash(name: str) -> tuple[str, str]:
    """Return a name such as `canny [d14c016b]` without its short hash, and the hash; empty without one."""
    match = _HASH.search(name.strip())
    return (name.strip()[: match.start()], match[1].lower()) if match else (name.strip(), "")


def known_net(name: str) -> NetEntry | None:
    """Return the net of the catalog with a file name of another tool; None if the name is unknown."""
    key = _key(name)
    if entry := _table()["control"].get(key):
        return net_entries()[entry]
    return next((entry for entry in net_entries().values() if entry.file and _key(entry.file) == key), None)


def known_adapter(name: str) -> str | None:
    """Return the adapter of the catalog with a file name or a preset of another tool.

    Returns:
        A value of `model=`; empty for the default adapter of the model; None if the name is unknown.
    """
    key = _key(name)
    if entry := _table()["image_prompt"].get(key):
        return entry
    presets = _table()["presets"]
    preset = key.partition(" (")[0].strip()  # as in "PLUS (high strength)"
    if preset in presets:
        return presets[preset]
    return next((name for name, entry in adapter_entries().items() if _key(entry.file) == key), None)


def module_kind(module: str) -> str:
    """Return the kind of control maps that a preprocessor of another tool computes; empty if it is unknown."""
    lowered = module.lower()
    return next((kind for pattern, kind in _table()["modules"].items() if re.search(pattern, lowered)), "")


def find_net_file(setting: str, name: str, short_hash: str = "") -> tuple[Path, bool] | None:
    """Find the .safetensors file of a net in the user's folders by its short hash, else by its name.

    Args:
        setting: `control` or `image_prompt`.
        name: file name in the other tool; the suffix is optional.
        short_hash: first 8 digits of AUTOMATIC1111's hash; empty if it is unknown.

    Returns:
        The file, and whether it has the short hash. None if no file has the hash or the name.
    """
    stem = PurePosixPath(_key(name, keep_precision=True)).name
    named = None
    try:
        files = [file.path for kind in _FOLDERS[setting] for file in model_folders.iter_files(kind)]
    except ArtgenError:
        return None
    for path in files:
        if path.suffix.lower() != model_folders.WEIGHTS_SUFFIX or not os.path.isfile(path):  # noqa: PTH113
            continue
        if short_hash and _short_hash(path) == short_hash[:SHORT_HASH_CHARS]:
            return path, True
        if named is None and stem and path.stem.casefold() == stem:
            named = path
    return (named, False) if named is not None else None


def _key(name: str, *, keep_precision: bool = False) -> str:
    """Return a file name in lower case without suffix, hash and precision; with the folder of a common name."""
    path = PurePosixPath(split_hash(name)[0].replace("\\", "/").casefold())
    stem = path.name
    stem = next((stem.removesuffix(suffix) for suffix in _SUFFIXES if stem.endswith(suffix)), stem)
    stem = stem if keep_precision else _PRECISION.sub("", stem)
    return f"{path.parent.name}/{stem}" if stem == "diffusion_pytorch_model" and path.parent.name else stem


def _short_hash(path: Path) -> str:
    offset, size = HASHED_BYTES
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return hashlib.sha256(file.read(size)).hexdigest()[:SHORT_HASH_CHARS]
    except OSError:
        return ""
