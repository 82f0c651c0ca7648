"""Configuration folders for single checkpoints, which bring weights and nothing else.

The numbers of every architecture ship in `assets/configs/ARCHITECTURE.json` (one object, file name -> contents), the
CLIP vocabulary once in `assets/configs/clip-merges.txt.gz`; `assets/configs/PROVENANCE.json` says where they are from.
`single_file_config` lays them out as the folder that diffusers' `from_single_file(..., config=folder)` expects.
"""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import SafetensorsHeader, read_header
from artgen.system.files import atomic_folder, wrap_write_errors
from artgen.system.paths import user_cache_folder

CONFIGS_FOLDER = ASSETS_FOLDER / "configs"


def single_file_config(model: ResolvedModel) -> Path:
    """A folder with the configurations and tokenizers that a single checkpoint of this kind needs.

    Made once in artgen's cache folder and kept; a SD 3 checkpoint is set up without its T5 encoder, whose tokenizer
    artgen does not have (the pipeline then works with its two CLIP encoders).

    Raises:
        ModelUnavailableError: no configuration for this architecture.
        OutputError: the cache folder cannot be written.
    """
    return build_config_folder(config_name(model))


def config_name(model: ResolvedModel) -> str:
    """Which of `assets/configs` describes a single-file model.

    Raises:
        ModelUnavailableError: none does.
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
            f"artgen has no configuration for single {name} files like {model.path.name}.",
            "Use the model's folder or hub id, which bring their own.",
        )
    return name


def _sd3_variant(header: SafetensorsHeader) -> str:
    """Stable Diffusion 3 medium, 3.5 medium (a second attention) or 3.5 large (38 blocks)."""
    names = header.tensors
    if any("joint_blocks.37." in name for name in names):
        return "sd35-large"
    return "sd35-medium" if any(".x_block.attn2." in name for name in names) else "sd3-medium"


def build_config_folder(name: str) -> Path:
    """The folder of one configuration, made when it is not there yet; concurrent makers are harmless.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    text = (CONFIGS_FOLDER / f"{name}.json").read_text(encoding="utf-8")
    packed = (CONFIGS_FOLDER / "clip-merges.txt.gz").read_bytes()
    digest = hashlib.sha256(text.encode() + packed).hexdigest()[:12]
    folder = user_cache_folder() / "configs" / f"{name}-{digest}"
    if folder.is_dir():
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
    """CLIP's vocabulary from its merges, as `openai/CLIP/clip/simple_tokenizer.py` (MIT) builds it.

    256 byte symbols, the same at the end of a word, one entry a merge, and the two marks: 49,408 in all.
    """
    symbols = list(_byte_symbols())
    pairs = [line.split() for line in merges.splitlines() if line and not line.startswith("#version")]
    words = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in pairs]
    return {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def _byte_symbols() -> list[str]:
    """A printable character for each byte, in CLIP's order (`bytes_to_unicode` of GPT-2 and CLIP)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(len(others))]
