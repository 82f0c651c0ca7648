"""Write generation parameters in the text format of AUTOMATIC1111's web UI (A1111).

    PROMPT
    Negative prompt: NEGATIVE
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512, ...

The format has no escapes in prompts: a prompt line that starts with "Negative prompt:" is ambiguous, and leading and
trailing white space is lost. artgen's own record does not have these limits and has priority when reading.

LoRAs are written to the prompt as `<lora:NAME:SCALE>`, and to the parameters as `Lora hashes: "NAME: 0123456789ab"`:
the first 12 digits of the SHA-256 of the file without its header (`extensions-builtin/Lora/network.py` of the web UI).
Embeddings are named in the prompt, and written to the parameters as `TI hashes: "NAME: 0123456789ab"`: the first 12
digits of the SHA-256 of the file (`modules/textual_inversion/textual_inversion.py`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import TypeVar

from artgen.errors import UsageError
from artgen.metadata.a1111_text import NEGATIVE_PREFIX
from artgen.spec.embedding import EmbeddingSpec, parse_embedding, replace_tokens
from artgen.spec.hires import parse_hires
from artgen.spec.lora import LoraSpec, parse_lora
from artgen.spec.prompt_syntax import has_syntax
from artgen.spec.schedulers import find_scheduler

Spec = TypeVar("Spec")
_SCHEDULE_LABELS = {"karras": "Karras", "exponential": "Exponential", "beta": "Beta", "normal": "Normal"}
_HASH_PATTERN = re.compile(r"[0-9a-fA-F]{10,64}")
_NEEDS_QUOTES_PATTERN = re.compile(r'[,:\n\r\t]|^["{\[\s]|\s$')


def sampler_names(scheduler: str | None, sigmas: str | None) -> tuple[str, str | None]:
    """Return the A1111 names of a scheduler and its sigmas: ("dpm++2m", "karras") -> ("DPM++ 2M", "Karras").

    The second name is None for the model's own sigmas. An unknown scheduler keeps its name.
    """
    schedule = None if sigmas in (None, "normal") else _SCHEDULE_LABELS.get(str(sigmas).lower(), sigmas)
    if not scheduler:
        return "Unknown", schedule
    try:
        return find_scheduler(scheduler).a1111_name, schedule
    except UsageError:  # for example a record of another version; saving the image must not fail
        return scheduler, schedule


def format_a1111(record: Mapping[str, object]) -> str:
    """Format a record as A1111 text. Omit fields that the format does not define.

    The line "Steps: " always contains a sampler. Text values with `,`, `:` or a newline are JSON-quoted. The model hash
    is the first 10 hex digits of the SHA-256. Characters that UTF-8 cannot encode are written as escapes.
    """
    loras = [_lora_tag(lora) for lora in _record_loras(record)]
    names = {each.token: each.name for each in _record_embeddings(record)}
    prompt, negative = (
        replace_tokens(_to_text(record.get(key)), names, names.__getitem__) for key in ("prompt", "negative_prompt")
    )
    lines = [" ".join([prompt, *loras]).lstrip() if loras else prompt]
    if negative:
        lines.append(f"{NEGATIVE_PREFIX} {negative}")
    lines.append(", ".join(f"{name}: {_quote_if_needed(value)}" for name, value in _parameter_pairs(record)))
    text = "\n".join(lines).replace("\0", "\ufffd")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _record_loras(record: Mapping[str, object]) -> list[LoraSpec]:
    """Return the LoRAs of a record. Replace characters that the text format reserves in their names."""
    loras = _parse_listed(record.get("lora"), parse_lora)
    return [lora._replace(name=_safe_name(lora.file_name)) for lora in loras]


def _record_embeddings(record: Mapping[str, object]) -> list[EmbeddingSpec]:
    """Return the embeddings of a record, with the names by which the text format names them, and their tokens."""
    embeddings = []
    for each in _parse_listed(record.get("embedding"), parse_embedding):
        name = _safe_name(each.file_name)
        embeddings.append(EmbeddingSpec(name, each.token or name))
    return embeddings


def _parse_listed(texts: object, parse: Callable[[str], Spec]) -> Iterator[Spec]:
    """Yield the parsed texts of a list; skip invalid texts, for example of a record of another version."""
    for text in texts if isinstance(texts, list | tuple) else ():
        try:
            parsed = parse(str(text))
        except UsageError:
            continue
        yield parsed


def _safe_name(file_name: str) -> str:
    """Return the name of a file without its suffix and without characters that the text format reserves."""
    return re.sub(r'[<>:,"\s]', "_", file_name.removesuffix(".safetensors"))


def _lora_tag(lora: LoraSpec) -> str:
    """Return `<lora:NAME:SCALE>`, or `<lora:NAME:TEXT:SCALE>` if the scale of the text encoders differs."""
    scales = [lora.scale] if lora.text_scale is None else [lora.text_scale, lora.scale]
    return f"<lora:{':'.join([lora.name, *map(_to_text, scales)])}>"


def _parameter_pairs(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if record.get("steps") is not None:
        yield "Steps", _to_text(record["steps"])
    sampler, schedule = sampler_names(_to_text(record.get("scheduler")) or None, _to_text(record.get("sigmas")) or None)
    yield "Sampler", sampler
    if schedule:
        yield "Schedule type", schedule
    for name, field in (("CFG scale", "guidance_scale"), ("Seed", "seed")):
        if record.get(field) is not None:
            yield name, _to_text(record[field])
    if record.get("width") and record.get("height"):
        yield "Size", f"{record['width']}x{record['height']}"
    if isinstance(digest := record.get("model_hash"), str) and _HASH_PATTERN.fullmatch(digest):
        yield "Model hash", digest[:10].lower()
    if model := public_model_name(record.get("model")):
        yield "Model", model
    if record.get("variation_strength") and record.get("variation_seed") is not None:
        yield "Variation seed", _to_text(record["variation_seed"])
        yield "Variation seed strength", _to_text(record["variation_strength"])
    yield from _hires_pairs(record)
    if record.get("seamless") == "both":
        yield "Tiling", "True"
    if record.get("strength") is not None:
        yield "Denoising strength", _to_text(record["strength"])
    for name, field in (
        ("Clip skip", "clip_skip"),
        ("Guidance rescale", "guidance_rescale"),
        ("PAG scale", "pag_scale"),
    ):
        if record.get(field) not in (None, 0, 1 if field == "clip_skip" else 0):
            yield name, _to_text(record[field])
    digests = record.get("lora_autov3")
    if isinstance(digests, list) and (loras := _record_loras(record)) and len(loras) == len(digests):
        yield "Lora hashes", ", ".join(f"{lora.name}: {digest}" for lora, digest in zip(loras, digests, strict=True))
    digests = record.get("embedding_sha256")
    if isinstance(digests, list) and (found := _record_embeddings(record)) and len(found) == len(digests):
        yield (
            "TI hashes",
            ", ".join(f"{each.name}: {str(sha256)[:12]}" for each, sha256 in zip(found, digests, strict=True)),
        )
    yield from _weight_pairs(record)
    yield "RNG", "CPU"
    yield "Version", f"artgen {_to_text(record.get('artgen'))}".strip()


def _hires_pairs(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the fields of hires fix. A1111 runs all of its hires steps, and artgen a fraction of them."""
    try:
        spec = parse_hires(_to_text(record.get("hires")))
    except UsageError:
        return
    yield "Denoising strength", _to_text(spec.strength)
    steps = record.get("hires_steps") or record.get("steps")
    yield "Hires upscale", _to_text(spec.scale)
    if isinstance(steps, int):
        yield "Hires steps", _to_text(max(1, int(steps * spec.strength)))
    network = public_model_name(record.get("hires_model"))
    yield "Hires upscaler", network or ("Latent" if record.get("hires_in") == "latent" else "Lanczos")


def _weight_pairs(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the rule of the weights in the prompts, unless it is the default of A1111 or the prompts have no weights.

    A1111 has no name for the rule of ComfyUI. For SDXL, artgen uses the rule that A1111 calls "No norm".
    """
    rule = record.get("prompt_weights")
    texts = [_to_text(record.get(name)) for name in ("prompt", "negative_prompt")]
    syntax = "comfy" if rule == "comfy" else "a1111"
    try:
        if not any(has_syntax(text, syntax) for text in texts):
            return
    except UsageError:
        return
    if rule == "comfy":
        yield "Prompt weights", "comfy"
    elif rule == "none":
        yield "Emphasis", "None"
    elif rule == "a1111" and record.get("architecture") == "sdxl":
        yield "Emphasis", "No norm"


def public_model_name(model: object) -> str:
    """Return the model name without private paths: an alias or hub id unchanged, a local path as its last part."""
    text = _to_text(model)
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        return PureWindowsPath(text).stem or text
    if text.startswith(("/", "~", ".")) or text.endswith(".safetensors"):
        return PurePosixPath(text).name.removesuffix(".safetensors") or text
    return text


def _quote_if_needed(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if _NEEDS_QUOTES_PATTERN.search(value) else value


def _to_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value)
