"""Describe a single checkpoint: what it contains, how it is sampled, and which model provides what it lacks."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry import diffusers_folder
from artgen.registry.catalog import ModelInfo
from artgen.registry.checkpoint_content import FileContent, read_content
from artgen.registry.describe import catalog_fields, describe_folder, read_artgen_json, with_defaults
from artgen.registry.file_kinds import FileKind, unsupported_weights
from artgen.registry.gguf_header import LOADABLE_TYPES
from artgen.registry.lora_layers.architecture import architectures_of
from artgen.registry.resolved import ResolvedModel, SingleFile
from artgen.registry.sampling_facts import SamplingFacts, detect_sampling
from artgen.registry.single_file_configs import (
    ConfigFiles,
    build_config_folder,
    folder_config,
    patched,
    shipped_config,
)  # fmt: skip
from artgen.registry.single_file_families import FAMILIES, FOLDER_ONLY, Family, find_family
from artgen.registry.single_file_patches import config_changes, find_t5_tokenizer, t5_files
from artgen.spec.requests import Txt2Img
from artgen.spec.settings import options_of
from artgen.system.counts import counted

FindBase = Callable[[str], tuple[str, Path]]
"""Function that returns the recorded name and the folder of the model that provides missing components."""

SIDECAR_SUFFIX = ".artgen.json"


@dataclass(frozen=True)
class _Source:
    """Store where the configurations and the missing components of a file come from.

    Attributes:
        files: configurations.
        parts: components of the file.
        base: model folder; None if the file is complete.
        base_name: recorded name of the folder.
        notes: sentences for the user.
    """

    files: ConfigFiles
    parts: tuple[str, ...]
    base: Path | None = None
    base_name: str = ""
    notes: tuple[str, ...] = ()


def describe_file(name: str, path: Path, info: ModelInfo | None = None, *, find_base: FindBase) -> ResolvedModel:
    """Describe a single checkpoint from its header.

    Args:
        name: name of the model, as recorded.
        path: safetensors or GGUF file.
        info: known properties of the model.
        find_base: finds, or downloads, a model that provides the components that the file lacks.

    Raises:
        RefusedError: the file is a pickle.
        InputFileError: the file is damaged or truncated.
        ModelUnavailableError: the file is not an image model, artgen does not support it, or its missing components
            are not available.
    """
    content = read_content(path)
    family_name = _require_family(path, content)
    family = FAMILIES[family_name]
    fields = read_artgen_json(path.with_name(path.stem + SIDECAR_SUFFIX))
    sampling = detect_sampling(path, content, fields)
    source = _find_source(path, content, family, fields, find_base)
    changes = config_changes(source.files, content, family, sampling)
    layout = content.denoiser.layout if content.denoiser else "original"
    config = build_config_folder(family_name, patched(source.files, changes))
    notes = (
        *source.notes,
        *sampling.notes,
        *(("The file has only EMA weights, which are used.",) if content.is_ema else ()),
    )
    model = replace(
        describe_folder(name, config),
        path=path,
        source=path.name,
        is_file=True,
        variant=None,
        prediction=sampling.prediction,
        single_file=SingleFile(config, source.parts, source.base, source.base_name, content.format, layout),
        notes=notes,
    )
    fields = {key: value for key, value in fields.items() if key != "prediction"}
    model = with_defaults(_with_sampling(model, family, sampling), catalog_fields(info) | fields)
    if family.config:
        return model
    detected = f"Detected {family.title}: {counted(model.steps, 'step')}, guidance {model.guidance_scale:g}."
    return replace(model, notes=(detected, *model.notes))


def _with_sampling(model: ResolvedModel, family: Family, sampling: SamplingFacts) -> ResolvedModel:
    """Return the model with the default steps, guidance scale and size of its variant."""
    variant = sampling.variant
    if variant is not None:
        native_size = variant.native_size or model.native_size
        return replace(model, steps=variant.steps, guidance_scale=variant.guidance_scale, native_size=native_size)
    if family.sampling:
        return replace(model, steps=family.sampling[0], guidance_scale=family.sampling[1])
    return model


def _require_family(path: Path, content: FileContent) -> str:
    """Return the family of a file, or refuse the file and name its content."""
    denoiser, kind = content.denoiser, content.file_kind
    if denoiser is None:
        raise _kind_error(path, content, kind)
    if method := unsupported_weights(content.shapes):
        raise ModelUnavailableError(
            f"Cannot load '{path.name}': its weights are {method}, which diffusers does not read from a single file.",
            "Use an fp16, bf16 or plain fp8 version of the file, a GGUF file, or the model's folder or hub id.",
        )
    family = find_family(content, path.stem)
    if title := FOLDER_ONLY.get(denoiser.architecture):
        raise ModelUnavailableError(
            f"Cannot load '{path.name}': it is a {title} file, which diffusers does not load from a single file.",
            "Use the model's folder or hub id.",
        )
    if denoiser.edit or family is None:
        what = "a denoiser of an unknown architecture"
        if denoiser.edit:
            family_title = f" ({FAMILIES[family].title})" if family else ""
            what = f"{_article(denoiser.edit)} {denoiser.edit} model{family_title}"
        raise ModelUnavailableError(
            f"Cannot generate with '{path.name}': it is {what}, which artgen does not support.", _OTHER_MODEL_HINT
        )
    _check_channels(path, content, family)
    if content.format == "gguf":
        _check_gguf(path, content)
    return family


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiouAEIOUx" and not noun.startswith("un") else "a"


_OTHER_MODEL_HINT = "Choose another --model (`artgen models list`)."
_PLAIN_CHANNELS = {"sd1": (4, 8, 9), "sd2": (4, 9), "sdxl": (4, 8, 9), "sdxl-refiner": (4,), "flux": (64, 384)}


def _check_channels(path: Path, content: FileContent, family: str) -> None:
    """Reject a denoiser with another number of input channels than models for text, inpainting and instructions."""
    denoiser = content.denoiser
    expected = _PLAIN_CHANNELS.get(denoiser.architecture) if denoiser else None
    if denoiser and expected and denoiser.channels is not None and denoiser.channels not in expected:
        channels = counted(denoiser.channels, "input channel")
        raise ModelUnavailableError(
            f"Cannot generate with '{path.name}': it is a {FAMILIES[family].title} model with {channels}; expected "
            f"{' or '.join(map(str, expected))}.",
            _OTHER_MODEL_HINT,
        )


def check_gguf_package(model: ResolvedModel) -> None:
    """Check that the package is installed that diffusers needs for a GGUF file.

    Raises:
        ModelUnavailableError: the package is missing.
    """
    if model.single_file and model.single_file.format == "gguf" and importlib.util.find_spec("gguf") is None:
        raise ModelUnavailableError(
            f"Cannot load '{model.name}': a GGUF file needs the package gguf.", "pip install 'artgen[gguf]'"
        )


def _check_gguf(path: Path, content: FileContent) -> None:
    types = sorted({dtype for dtype, _ in content.header.tensors.values()} - LOADABLE_TYPES)
    if types:
        raise ModelUnavailableError(
            f"Cannot load '{path.name}': it has tensors of the type {', '.join(types)}, which diffusers does not read.",
            "Use another quantization of the model, such as Q4_K_M or Q8_0.",
        )
    if content.denoiser and content.denoiser.architecture in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        raise ModelUnavailableError(
            f"Cannot load '{path.name}': it is a GGUF file of a UNet, and diffusers reads only GGUF files of "
            "transformers, such as Flux, Stable Diffusion 3, Qwen-Image or Z-Image.",
            "Use a safetensors version of the model.",
        )


def _kind_error(path: Path, content: FileContent, kind: FileKind | None) -> ModelUnavailableError:
    """Return the error to raise for a file that is not an image model."""
    if kind is None:
        return ModelUnavailableError(
            f"Cannot generate with '{path.name}': it is not an image model that artgen supports "
            f"({counted(len(content.shapes), 'tensor')}).",
            "Pass a complete checkpoint, a model folder or a hub id.",
        )
    if kind.setting and kind.setting in options_of(Txt2Img):
        hint = f"Pass it with --{kind.setting.replace('_', '-')}, and a model with --model."
        architecture = next(iter(architectures_of(content.shapes)), "") if kind.kind == "lora" else ""
        description = f"{kind.description} for {architecture}" if architecture else kind.description
        return ModelUnavailableError(f"Cannot generate with '{path.name}': it is {description}, not a model.", hint)
    return ModelUnavailableError(
        f"Cannot generate with '{path.name}': it is {kind.description}, and artgen does not support such files.",
        _OTHER_MODEL_HINT,
    )


def _find_source(
    path: Path, content: FileContent, family: Family, fields: Mapping[str, Any], find_base: FindBase
) -> _Source:
    """Find the configurations and the missing components of a file."""
    named = fields.get("base")
    shipped = shipped_config(family.config) if family.config else None
    if shipped is not None and named is None:
        needed = _weight_components(shipped["model_index.json"])
        parts = _parts(content, shipped["model_index.json"])
        if not needed - set(parts):
            tokenizer = find_t5_tokenizer() if "text_encoder_3" in content.parts else None
            files, notes = _with_t5(shipped, content, tokenizer)
            return _Source(files, _parts(content, files["model_index.json"]), notes=notes)
    base_name, base = _find_base(path, family, named, find_base)
    files = folder_config(base)
    parts = _parts(content, files["model_index.json"])
    missing = sorted(_weight_components(files["model_index.json"]) - set(parts))
    verb = "comes" if len(missing) == 1 else "come"
    note = f"'{path.name}' does not include {_listed(missing)}, which {verb} from '{base_name}'." if missing else ""
    return _Source(files, parts, base, base_name, (note,) if note else ())


def _find_base(path: Path, family: Family, named: str | None, find_base: FindBase) -> tuple[str, Path]:
    relative = path.parent / named if named else None
    target = str(relative) if relative is not None and (relative / "model_index.json").is_file() else named
    try:
        return find_base(target or family.base)
    except ModelUnavailableError as error:
        hint = (
            f'{error.hint} Or name another model: write {{"base": "FOLDER_OR_HUB_ID"}} to '
            f"'{path.stem}{SIDECAR_SUFFIX}' next to the file."
        ).strip()
        raise ModelUnavailableError(
            f"Cannot generate with '{path.name}', a {family.title} file without all of its components: {error.message}",
            hint,
        ) from None


def _with_t5(files: ConfigFiles, content: FileContent, tokenizer: Path | None) -> tuple[ConfigFiles, tuple[str, ...]]:
    """Return the configurations of a Stable Diffusion 3 file with its T5 encoder, if a tokenizer is on the computer."""
    if "text_encoder_3" not in content.parts:
        return files, ()
    if tokenizer is None:
        note = (
            "The file includes a T5 text encoder, which is not used: no T5 tokenizer is on this computer. "
            f"`artgen models pull {FAMILIES['sd35-medium'].base}` downloads one."
        )
        return files, (note,)
    return t5_files(files, tokenizer), (f"The T5 text encoder of the file uses the tokenizer in '{tokenizer}'.",)


def _weight_components(index: Mapping[str, Any]) -> set[str]:
    return {
        name
        for name, _, class_name in diffusers_folder.iter_components(index)
        if diffusers_folder.needs_weights(class_name)
    }


def _parts(content: FileContent, index: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the components of a pipeline whose weights a file contains. Flux's second text encoder is T5."""
    needed = _weight_components(index)
    has_t5_second = str((index.get("text_encoder_2") or ("", ""))[1]).startswith("T5")
    included = ["text_encoder_2" if has_t5_second and name == "text_encoder_3" else name for name in content.parts]
    denoiser = "transformer" if "transformer" in needed else "unet"
    return tuple(name for name in (denoiser, *included) if name in needed)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
