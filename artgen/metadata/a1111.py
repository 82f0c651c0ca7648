"""Write and parse generation parameters in the text format of AUTOMATIC1111's web UI (A1111).

    PROMPT
    Negative prompt: NEGATIVE
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512, ...

The format has no escapes in prompts: a prompt line that starts with "Negative prompt:" is ambiguous, and leading and
trailing white space is lost. artgen's own record does not have these limits and has priority when reading.

LoRAs are written to the prompt as `<lora:NAME:SCALE>`, and to the parameters as `Lora hashes: "NAME: 0123456789ab"`:
the first 12 digits of the SHA-256 of the file without its header (`extensions-builtin/Lora/network.py` of the web UI).
"""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath

from artgen.errors import UsageError
from artgen.metadata.external_record import ExternalRecord, RecordedFile, describe_all, valid_fields
from artgen.spec.lora import LoraSpec, parse_lora
from artgen.spec.prompt_tags import PromptTag, parse_lora_tag, remove_tags
from artgen.spec.schedulers import find_scheduler

NEGATIVE_PREFIX = "Negative prompt:"

_SCHEDULE_LABELS = {"karras": "Karras", "exponential": "Exponential", "beta": "Beta", "normal": "Normal"}
# Text from a file is parsed in linear time: each pattern has a bounded number of attempts at each position. `*+` is
# possessive: it does not return characters.
_KEY_PATTERN = re.compile(r"\s*+(\w[\w \-/.]{0,63}?)\s{0,16}:\s*+")
_JSON_DECODER = json.JSONDecoder()
_HASH_PATTERN = re.compile(r"[0-9a-fA-F]{10,64}")
_MAX_INVALID_JSON_VALUES = 100
"""Number of values of a line that start like JSON and are not JSON; an error takes time in proportion to the line."""
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
    lines = [" ".join([_to_text(record.get("prompt")), *loras]).lstrip() if loras else _to_text(record.get("prompt"))]
    negative = _to_text(record.get("negative_prompt"))
    if negative:
        lines.append(f"{NEGATIVE_PREFIX} {negative}")
    lines.append(", ".join(f"{name}: {_quote_if_needed(value)}" for name, value in _parameter_pairs(record)))
    text = "\n".join(lines).replace("\0", "\ufffd")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _record_loras(record: Mapping[str, object]) -> list[LoraSpec]:
    """Return the LoRAs of a record. Replace characters that the text format reserves in their names."""
    texts = record.get("lora")
    loras = []
    for text in texts if isinstance(texts, list | tuple) else ():
        with contextlib.suppress(UsageError):  # for example a record of another version
            lora = parse_lora(str(text))
            name = re.sub(r'[<>:,"\s]', "_", lora.file_name.removesuffix(".safetensors"))
            loras.append(lora._replace(name=name))
    return loras


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
    if record.get("strength") is not None:
        yield "Denoising strength", _to_text(record["strength"])
    digests = record.get("lora_autov3")
    if isinstance(digests, list) and (loras := _record_loras(record)) and len(loras) == len(digests):
        yield "Lora hashes", ", ".join(f"{lora.name}: {digest}" for lora, digest in zip(loras, digests, strict=True))
    yield "RNG", "CPU"
    yield "Version", f"artgen {_to_text(record.get('artgen'))}".strip()


def public_model_name(model: object) -> str:
    """Return the model name without private paths: an alias or hub id unchanged, a local path as its last part."""
    text = _to_text(model)
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        return PureWindowsPath(text).stem or text
    if text.startswith(("/", "~", ".")) or text.endswith(".safetensors"):
        return PurePosixPath(text).name.removesuffix(".safetensors") or text
    return text


def parse_a1111(text: str) -> ExternalRecord:
    """Parse A1111 text of any tool.

    The parameters are the last line that starts with "Steps: ", or the last line if it has three or more `Key: value`
    pairs. LoRAs are removed from the prompt. The function raises no errors: text without parameters gives only a
    prompt.
    """
    lines = text.replace("\r\n", "\n").strip().split("\n")
    parameter_line = _find_parameter_line(lines)
    prompt, negative = _split_prompts(lines[:parameter_line])
    values: dict[str, object] = {"prompt": prompt, "negative_prompt": negative or None}
    other: dict[str, str] = {}
    for name, value in _parse_pairs("\n".join(lines[parameter_line:])):
        _add_field(values, other, name, value)
    _split_schedule(values)
    loras = _extract_loras(values, other)
    fields, rejected = valid_fields(values)
    return ExternalRecord("a1111", fields, loras, other=describe_all(other | rejected))


def _extract_loras(values: dict[str, object], other: Mapping[str, str]) -> tuple[RecordedFile, ...]:
    """Remove the LoRA tags from the prompt and return the LoRAs. Tags with invalid scales stay in the prompt."""
    loras: list[LoraSpec] = []

    def read(tag: PromptTag) -> bool:
        if not tag.is_lora:
            return False
        try:
            loras.append(parse_lora_tag(tag)[0])
        except UsageError:
            return False
        return True

    values["prompt"] = remove_tags(str(values["prompt"]), read)
    parts = (part.rpartition(":") for part in other.get("Lora hashes", "").split(","))
    digests = {name.strip(): digest.strip() for name, _, digest in parts}
    return tuple(RecordedFile(lora.name, digests.get(lora.name, ""), lora.scale, lora.text_scale) for lora in loras)


def _find_parameter_line(lines: list[str]) -> int:
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith("Steps: ") and len(list(_parse_pairs(lines[index]))) >= 3:
            return index
    last = len(lines) - 1
    return last if len(list(_parse_pairs(lines[last]))) >= 3 else len(lines)


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    for index, line in enumerate(lines):
        if line.startswith(NEGATIVE_PREFIX):
            negative = [line[len(NEGATIVE_PREFIX) :], *lines[index + 1 :]]
            return "\n".join(lines[:index]).strip(), "\n".join(negative).strip()
    return "\n".join(lines).strip(), ""


def _parse_pairs(line: str) -> Iterator[tuple[str, str]]:
    """Split `Key: value, Key: "quoted, value", Key: {json}`. A comma inside an unquoted value belongs to the value."""
    match = _KEY_PATTERN.match(line)
    num_invalid = 0
    while match:
        name, position = match[1], match.end()
        value: list[str] = []
        if line[position : position + 1] in ('"', "{", "[") and num_invalid < _MAX_INVALID_JSON_VALUES:
            try:
                decoded, position = _JSON_DECODER.raw_decode(line, position)
                value = [decoded if isinstance(decoded, str) else json.dumps(decoded, ensure_ascii=False)]
            except (ValueError, RecursionError):
                num_invalid += 1
        match = None
        while position < len(line) and not match:
            comma = line.find(",", position)
            end = len(line) if comma < 0 else comma
            value.append(line[position:end])
            position = end + 1
            match = _KEY_PATTERN.match(line, position)
            if not match and position < len(line):
                value.append(",")
        yield name, "".join(value).strip()


def _add_field(fields: dict[str, object], other: dict[str, str], name: str, value: str) -> None:
    if name == "Size" and (size := re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", value)):
        fields["width"], fields["height"] = int(size[1]), int(size[2])
    elif name in ("Steps", "Seed") and re.fullmatch(r"-?[0-9]{1,20}", value):
        fields[name.lower()] = int(value)
    elif name == "CFG scale" and (number := _parse_number(value)) is not None:
        fields["guidance_scale"] = number
    elif name == "Denoising strength" and (number := _parse_number(value)) is not None:
        fields["strength"] = number
    elif name == "Sampler":
        fields["scheduler"] = value
    elif name in ("Model", "Model hash"):
        fields[name.lower().replace(" ", "_")] = value
    elif name == "Schedule type" and value.lower() in _SCHEDULE_LABELS:
        fields["sigmas"] = value.lower()
    else:
        other[name] = value


def _split_schedule(fields: dict[str, object]) -> None:
    """Split the sampler name of older files, such as "DPM++ 2M Karras"."""
    sampler = fields.get("scheduler")
    if not isinstance(sampler, str) or "sigmas" in fields:
        return
    head, _, tail = sampler.rpartition(" ")
    if head and tail.lower() in ("karras", "exponential"):
        fields["scheduler"], fields["sigmas"] = head, tail.lower()


def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _quote_if_needed(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if _NEEDS_QUOTES_PATTERN.search(value) else value


def _to_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value)
