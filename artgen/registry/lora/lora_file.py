"""Read the format, architecture, ranks and layers of a LoRA, DoRA, LoHa or LoKr from its header, and its hashes.

Metadata keys: kohya's sd-scripts (`ss_...`) and Stability AI's ModelSpec (`modelspec....`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.registry import file_hash
from artgen.registry.checkpoint_content import read_content
from artgen.registry.lora.peft_config import read_peft_config
from artgen.registry.lora_layers.architecture import adapter_kind, detect_architectures
from artgen.registry.lora_layers.keys import DENOISER, LayerKey, parse_tensor_key
from artgen.registry.lora_layers.shapes import LayerShape, layer_shape
from artgen.registry.safetensors_header import MAX_NAME_LENGTH, SafetensorsHeader, read_header, reject_pickle
from artgen.registry.training_provenance import provenance_in_metadata
from artgen.system.files import FileIdentity, file_identity

_METADATA_ARCHITECTURES = (
    ("stable-diffusion-xl", "sdxl"), ("sdxl", "sdxl"), ("stable-diffusion-v2", "sd2"), ("sd_v2", "sd2"),
    ("stable-diffusion-v1", "sd1"), ("sd_v1", "sd1"), ("stable-diffusion-3", "sd3"), ("sd3", "sd3"),
    ("flux.2", "flux2"), ("flux2", "flux2"), ("flux-2", "flux2"), ("flux", "flux"), ("chroma", "chroma"),
    ("qwen", "qwen-image"), ("z-image", "z-image"), ("zimage", "z-image"), ("z_image", "z-image"),
    ("lumina", "lumina2"),
)  # fmt: skip
"""Prefix of `modelspec.architecture` or `ss_base_model_version` -> architecture."""

_CONVERT_HINT = "Use a LoRA saved by diffusers or by kohya's sd-scripts."
LORA_COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
"""Components that a LoRA can change in diffusers."""
_UNET_NAMES = re.compile(r"(down|up|mid|input|output|middle)_block|conv_(in|out)$|(time|add)_embedding_|label_emb")
_T5_NAMES = re.compile(r"(encoder_)?block_\d+_layer_\d")
_EMBEDDING_PATTERN = re.compile(r"bundle_emb\.(?P<name>.+?)(?:\.(?:clip_[lg]|string_to_param\..+|emb_params|t5.*))?")
"""Names of tensors of embeddings in files of OneTrainer."""


@dataclass(frozen=True, eq=False)
class LoraFile:
    """Describe a LoRA on the disk.

    Attributes:
        path: the file.
        identity: identity of the file that was hashed.
        format: diffusers, kohya (sd-scripts), onetrainer, lycoris, comfyui (also ai-toolkit), xlabs or peft.
        architectures: architectures that the names and shapes of the layers fit, or the one in the metadata; the most
            probable first; empty if unknown.
        layers: all layers that the LoRA changes, with the names of the file's format.
        embeddings: names of the embeddings in the file, which artgen does not use.
        dtype: dtype of most values, as safetensors names it.
        metadata: free text written by the author.
        peft_config: configuration of peft with the alphas; empty if the file has none.
        sha256: SHA-256 of the file, 64 hexadecimal digits.
        autov3: hash of the tensors' bytes, 12 digits. AUTOMATIC1111 records this hash. Civitai names it AutoV3.
    """

    path: Path
    identity: FileIdentity
    format: str
    architectures: tuple[str, ...]
    layers: Mapping[LayerKey, LayerShape]
    embeddings: tuple[str, ...]
    dtype: str
    metadata: Mapping[str, str]
    peft_config: Mapping[str, Any]
    sha256: str
    autov3: str

    @property
    def name(self) -> str:
        """Return the file's name without its suffix."""
        return self.path.stem

    @property
    def architecture(self) -> str:
        """Return the most probable architecture; other if it is unknown."""
        return self.architectures[0] if self.architectures else "other"

    @property
    def components(self) -> tuple[str, ...]:
        """Return the changed components of the pipeline, by diffusers' names."""
        changed = {layer.component for layer in self.layers}
        is_unet = any(_UNET_NAMES.match(layer.name) for layer in self.layers if layer.component == DENOISER)
        denoiser = "unet" if is_unet else "transformer"
        return tuple(
            component for component in LORA_COMPONENTS
            if component in changed or (component == denoiser and DENOISER in changed)
        )  # fmt: skip

    @property
    def changes_text_encoders(self) -> bool:
        """Return whether the LoRA changes a text encoder."""
        return any(layer.component != DENOISER for layer in self.layers)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of adapters in the file: LoRA, DoRA, LoHa, LoKr, or a DoRA of the last two."""
        kinds = {
            shape.kind if not shape.dora_axis else f"{shape.kind} with DoRA".removeprefix("LoRA with ")
            for shape in self.layers.values()
        }
        return tuple(sorted(kinds))

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks of all layers, without duplicates, ascending. A LoKr can have no rank."""
        return tuple(sorted({shape.rank for shape in self.layers.values() if shape.rank is not None}))


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA's header and hash the file; results are cached until the file changes.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file is unreadable, damaged, not a LoRA, or an unsupported kind of LoRA.
    """
    reject_pickle(path)
    return _read_cached(path, file_identity(path))


@lru_cache(maxsize=256)
def _read_cached(path: Path, identity: FileIdentity) -> LoraFile:
    header = read_header(path)
    layers = _parse_layers(path, header)
    formats = {key.layer.component: key.format for name in header.tensors if (key := parse_tensor_key(name))}
    return LoraFile(
        path=path,
        identity=identity,
        format=formats.get(DENOISER) or next(iter(formats.values())),
        architectures=_select_architectures(detect_architectures(layers), header.metadata),
        layers=layers,
        embeddings=_embeddings(header),
        dtype=header.dtype,
        metadata=header.metadata,
        peft_config=read_peft_config(path, header.metadata),
        sha256=file_hash(path),
        autov3=file_hash(path, tensors_only=True)[:12],
    )


def _select_architectures(detected: tuple[str, ...], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the detected architectures; the architecture in the metadata decides between several or none."""
    if len(detected) == 1:
        return detected
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = str(metadata.get(key, "")).lower()
        for prefix, architecture in _METADATA_ARCHITECTURES:
            if text.startswith(prefix) and (not detected or architecture in detected):
                return (architecture,)
    return detected


def _embeddings(header: SafetensorsHeader) -> tuple[str, ...]:
    found = (_EMBEDDING_PATTERN.fullmatch(name) for name in header.tensors)
    return tuple(dict.fromkeys(match["name"] for match in found if match))


def _parse_layers(path: Path, header: SafetensorsHeader) -> dict[LayerKey, LayerShape]:
    """Return the layers; reject a file of an unsupported kind and a file with tensors of no layer."""
    for name in header.tensors:
        if kind := adapter_kind(name):
            raise InputFileError(
                f"Cannot use '{path.name}': it is {kind}, which artgen does not support.",
                "Use the same adapter as a LoRA, DoRA, LoHa or LoKr, or convert it.",
            )
    factors: dict[LayerKey, dict[str, tuple[int, ...]]] = {}
    unknown = []
    for name, (_, shape) in header.tensors.items():
        tensor = parse_tensor_key(name)
        if tensor is not None:
            factors.setdefault(tensor.layer, {})[tensor.factor] = shape
        elif not _EMBEDDING_PATTERN.fullmatch(name):
            unknown.append(name)
    layers = {layer: shapes for layer, shapes in factors.items() if shapes.keys() != {"alpha"}}
    if not layers:
        raise _not_a_lora(path)
    if any(name.endswith(("query_norm.scale", "key_norm.scale")) for name in unknown):
        raise InputFileError(
            f"Cannot use '{path.name}': it is a control LoRA for Flux.1, which artgen does not support.", _CONVERT_HINT
        )
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputFileError(
            f"Cannot use '{path.name}': it has tensors that are not of a LoRA: {unknown[0][:MAX_NAME_LENGTH]}{more}.",
            _CONVERT_HINT,
        )
    if any(layer.component == "text_encoder_3" or _T5_NAMES.match(layer.name) for layer in layers):
        raise InputFileError(
            f"Cannot use '{path.name}': it is a LoRA of a T5 text encoder, which diffusers does not support.",
            _CONVERT_HINT,
        )
    return {layer: _layer_shape(path, layer, shapes) for layer, shapes in layers.items()}


def _not_a_lora(path: Path) -> InputFileError:
    content = read_content(path)
    if content.denoiser is not None:
        found = "a complete model" if content.parts else "a denoiser"
    else:
        found = content.file_kind.description if content.file_kind else ""
    option = content.file_kind.setting if content.file_kind else ""
    hint = f"Pass it with --{option}." if option in ("embedding", "vae") else _CONVERT_HINT
    if content.denoiser is not None:
        hint = "Pass it with --model."
    return InputFileError(
        f"'{path.name}' is not a LoRA: it {f'is {found}' if found else 'contains unknown layers'}.", hint
    )


def _layer_shape(path: Path, layer: LayerKey, factors: Mapping[str, tuple[int, ...]]) -> LayerShape:
    shape = layer_shape(factors)
    if shape is None:
        raise InputFileError(
            f"'{path.name}' is damaged: the matrices of {layer.name[:MAX_NAME_LENGTH]} are missing or do not match.",
            "Download it again.",
        )
    return shape


def describe_lora(path: Path) -> dict[str, Any]:
    """Return the properties of a LoRA as a JSON object, with the provenance of its training images if it is stated.

    Raises:
        RefusedError, InputFileError: see `read_lora`.
    """
    lora = read_lora(path)
    provenance = provenance_in_metadata(lora.metadata)
    return {
        "kind": "lora",
        "types": list(lora.kinds),
        "format": lora.format,
        "architecture": lora.architecture,
        "rank": lora.ranks[0] if len(lora.ranks) == 1 else list(lora.ranks),
        "components": list(lora.components),
        "layers": len(lora.layers),
        **({"embeddings": list(lora.embeddings)} if lora.embeddings else {}),
        "dtype": lora.dtype,
        "size": path.stat().st_size,
        "sha256": lora.sha256,
        "autov3": lora.autov3,
        **(provenance.fields() if provenance else {}),
        "metadata": dict(lora.metadata),
    }
