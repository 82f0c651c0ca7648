"""Create configuration folders for single checkpoints, which contain only weights.

`assets/configs/ARCHITECTURE.json` contains the configurations of an architecture (one object, file name -> contents),
and `assets/configs/clip-merges.txt.gz` the CLIP vocabulary of all; `assets/configs/PROVENANCE.json` lists the sources.
`single_file_config` writes them as the folder that diffusers' `from_single_file(..., config=folder)` expects.
"""

import atexit
import functools
import gzip
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, OutputError
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import SafetensorsHeader, read_header
from artgen.system.files import atomic_folder, wrap_write_errors
from artgen.system.paths import user_cache_folder

CONFIGS_FOLDER = ASSETS_FOLDER / "configs"


def single_file_config(model: ResolvedModel) -> Path:
    """Return a folder with the configurations and tokenizers for a single checkpoint.

    The folder is created once in artgen's cache folder. For SD 3, it has no T5 encoder, because artgen does not include
    its tokenizer; the pipeline then uses its two CLIP encoders.

    Raises:
        ModelUnavailableError: artgen has no configuration for this architecture.
        OutputError: the cache folder cannot be written.
    """
    return build_config_folder(config_name(model))


def config_name(model: ResolvedModel) -> str:
    """Return the name of the configuration in `assets/configs` for a single-file model.

    Raises:
        ModelUnavailableError: artgen has no configuration for this model.
    """
    name = model.architecture
    if name == "sd2" and model.prediction == "epsilon" and not model.is_inpainting:
        name = "sd2-base"
    elif name == "sdxl" and model.prediction == "v_prediction" and not model.is_inpainting:
        name = "sdxl-v"
    elif name == "sd3":
        name = _sd3_variant(read_header(model.path))
    if model.is_inpainting:
        name += "-inpaint"
    if not (CONFIGS_FOLDER / f"{name}.json").is_file():
        raise ModelUnavailableError(
            f"Cannot load '{model.path.name}': artgen has no configuration for single {name} files.",
            "Use the model's folder or hub id; they include the configuration.",
        )
    return name


def _sd3_variant(header: SafetensorsHeader) -> str:
    """Detect Stable Diffusion 3 medium, 3.5 medium (has a second attention) or 3.5 large (has 38 blocks)."""
    names = header.tensors
    if any("joint_blocks.37." in name for name in names):
        return "sd35-large"
    return "sd35-medium" if any(".x_block.attn2." in name for name in names) else "sd3-medium"


def build_config_folder(name: str) -> Path:
    """Return the folder of a configuration; create it if it does not exist. Several processes may create it at once.

    Without a writable cache folder, the configuration is in a temporary folder of this process.

    Raises:
        OutputError: neither folder can be written.
    """
    text = (CONFIGS_FOLDER / f"{name}.json").read_text(encoding="utf-8")
    packed = (CONFIGS_FOLDER / "clip-merges.txt.gz").read_bytes()
    digest = hashlib.sha256(text.encode() + packed).hexdigest()[:12]
    try:
        return _create_config_folder(user_cache_folder() / "configs" / f"{name}-{digest}", text, packed)
    except OutputError:
        return _create_config_folder(_temporary_folder() / f"{name}-{digest}", text, packed)


@functools.cache
def _temporary_folder() -> Path:
    """Return a folder that is deleted when the process exits."""
    with wrap_write_errors(Path("TMPDIR")):
        folder = tempfile.TemporaryDirectory(prefix="artgen-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _create_config_folder(folder: Path, text: str, packed: bytes) -> Path:
    if os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises without permission
        return folder
    with wrap_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_folder(folder, overwrite=False) as temporary:
                _write_config_files(temporary, json.loads(text), gzip.decompress(packed).decode("utf-8"))
        except FileExistsError:
            if not folder.is_dir():  # otherwise another process created the folder
                raise
    return folder


def _write_config_files(folder: Path, files: dict[str, Any], merges: str) -> None:
    vocabulary = json.dumps(clip_vocabulary(merges), ensure_ascii=False)
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
        if path.name == "tokenizer_config.json":
            (path.parent / "vocab.json").write_text(vocabulary, encoding="utf-8")
            (path.parent / "merges.txt").write_text(merges, encoding="utf-8")


def clip_vocabulary(merges: str) -> dict[str, int]:
    """Build CLIP's vocabulary from its merges, as `openai/CLIP/clip/simple_tokenizer.py` (MIT) does.

    It has 49,408 entries: 256 byte symbols, the same symbols at the end of a word, one entry per merge, and the start
    and end tokens.
    """
    symbols = list(_byte_symbols())
    pairs = [line.split() for line in merges.splitlines() if line and not line.startswith("#version")]
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in pairs]
    return {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def _byte_symbols() -> list[str]:
    """Return a printable character for each byte, in CLIP's order (`bytes_to_unicode` of GPT-2 and CLIP)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    num_others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(num_others)]
