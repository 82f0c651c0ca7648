"""The text form of generation parameters that AUTOMATIC1111's web UI made common.

    PROMPT
    Negative prompt: NEGATIVE
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512, ...

The format has no escapes in its prompts: a prompt with a line that begins "Negative prompt:" cannot be told from a
negative prompt, and outer white space is lost. artgen's own record has no such limits and comes first when reading.

LoRAs stand in the prompt as `<lora:NAME:SCALE>`, and as `Lora hashes: "NAME: 0123456789ab"` among the parameters: the
first 12 digits of the SHA-256 of the file without its header (the web UI's `extensions-builtin/Lora/network.py`).
"""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath

from artgen.errors import UsageError
from artgen.loras import Lora, parse_lora
from artgen.schedulers import find

NEGATIVE = "Negative prompt:"

_SCHEDULES = {"karras": "Karras", "exponential": "Exponential", "beta": "Beta", "normal": "Normal"}
_KEY = re.compile(r"\s*(\w[\w \-/.]{0,63}?)\s*:\s*")
_HASH = re.compile(r"[0-9a-fA-F]{10,64}")
_LORA = re.compile(r"[ ,]*<lora:([^:<>]+)(?::([-+]?(?:\d+\.?\d*|\.\d+)))?>")
_QUOTED_BECAUSE = re.compile(r'[,:\n\r\t]|^["{\[\s]|\s$')


def sampler_names(scheduler: str | None, sigmas: str | None) -> tuple[str, str | None]:
    """The names other tools know for a scheduler and its noise levels: ("dpm++2m", "karras") -> ("DPM++ 2M", "Karras").

    The second is None where the model's own spacing is used. A scheduler that is not in the table keeps its name.
    """
    schedule = None if sigmas in (None, "normal") else _SCHEDULES.get(str(sigmas).lower(), sigmas)
    if not scheduler:
        return "Unknown", schedule
    try:
        return find(scheduler).label, schedule
    except UsageError:  # a record of another version, say; a picture is not lost for that
        return scheduler, schedule


def a1111_text(record: Mapping[str, object]) -> str:
    """Write a record as A1111 text; fields it does not know are left out.

    The "Steps: " line always names a sampler. Text values with `,`, `:` or a newline are JSON-quoted. The model hash
    is the first 10 hex digits of the SHA-256. Characters that UTF-8 cannot hold are written as escapes.
    """
    loras = [f"<lora:{name}:{_text(scale)}>" for name, scale in _loras(record)]
    lines = [" ".join([_text(record.get("prompt")), *loras]).lstrip() if loras else _text(record.get("prompt"))]
    negative = _text(record.get("negative_prompt"))
    if negative:
        lines.append(f"{NEGATIVE} {negative}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in _parameters(record)))
    text = "\n".join(lines).replace("\0", "\ufffd")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _loras(record: Mapping[str, object]) -> list[Lora]:
    """The LoRAs of a record, by names that the text can hold."""
    given = record.get("lora")
    found = []
    for text in given if isinstance(given, list | tuple) else ():
        with contextlib.suppress(UsageError):  # a record of another version, say
            lora = parse_lora(str(text))
            found.append(Lora(re.sub(r'[<>:,"\s]', "_", lora.file.removesuffix(".safetensors")), lora.scale))
    return found


def _parameters(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if record.get("steps") is not None:
        yield "Steps", _text(record["steps"])
    sampler, schedule = sampler_names(_text(record.get("scheduler")) or None, _text(record.get("sigmas")) or None)
    yield "Sampler", sampler
    if schedule:
        yield "Schedule type", schedule
    for name, field in (("CFG scale", "guidance_scale"), ("Seed", "seed")):
        if record.get(field) is not None:
            yield name, _text(record[field])
    if record.get("width") and record.get("height"):
        yield "Size", f"{record['width']}x{record['height']}"
    if isinstance(digest := record.get("model_hash"), str) and _HASH.fullmatch(digest):
        yield "Model hash", digest[:10].lower()
    if model := model_label(record.get("model")):
        yield "Model", model
    if record.get("strength") is not None:
        yield "Denoising strength", _text(record["strength"])
    digests = record.get("lora_autov3")
    if isinstance(digests, list) and (loras := _loras(record)) and len(loras) == len(digests):
        yield "Lora hashes", ", ".join(f"{lora.name}: {digest}" for lora, digest in zip(loras, digests, strict=True))
    yield "RNG", "CPU"
    yield "Version", f"artgen {_text(record.get('artgen'))}".strip()


def model_label(model: object) -> str:
    """A model's name for other people: an alias or hub id as it is, a local path as its last part."""
    text = _text(model)
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        return PureWindowsPath(text).stem or text
    if text.startswith(("/", "~", ".")) or text.endswith(".safetensors"):
        return PurePosixPath(text).name.removesuffix(".safetensors") or text
    return text


def parse_a1111(text: str) -> dict[str, object]:
    """Read A1111 text, also that of other tools, into record fields.

    The parameters are the last line that begins "Steps: " (or the last line with three or more `Key: value` pairs).
    Known keys become prompt, negative_prompt, steps, scheduler, sigmas, guidance_scale, seed, width, height,
    model_hash, model and strength, if they have the right type. LoRAs are taken out of the prompt: lora (`NAME:SCALE`)
    and lora_autov3 (their hashes, empty where none is said) are lists of the same length. Every other key is kept as a
    string under its own name, which always begins with a capital or a digit, so that no foreign key passes for a
    record field such as `image`. Nothing is raised: text without parameters gives a prompt only.
    """
    lines = text.replace("\r\n", "\n").strip().split("\n")
    at = _parameter_line(lines)
    prompt, negative = _prompts(lines[:at])
    found: dict[str, object] = {"prompt": prompt}
    if negative:
        found["negative_prompt"] = negative
    for name, value in _pairs("\n".join(lines[at:])):
        _take(found, name, value)
    _split_schedule(found)
    _take_loras(found)
    return found


def _take_loras(found: dict[str, object]) -> None:
    """Moves `<lora:NAME:SCALE>` from the prompt to a field of its own; forms with more numbers stay where they are."""
    prompt = str(found["prompt"])
    named = [(name.strip(), scale or "1") for name, scale in _LORA.findall(prompt)]
    if not named:
        return
    found["prompt"] = _LORA.sub("", prompt).strip()
    parts = (part.rpartition(":") for part in str(found.get("Lora hashes", "")).split(","))
    digests = {name.strip(): digest.strip() for name, _, digest in parts}
    found["lora"] = [f"{name}:{scale}" for name, scale in named]
    found["lora_autov3"] = [digests.get(name, "") for name, _ in named]


def _parameter_line(lines: list[str]) -> int:
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith("Steps: ") and len(list(_pairs(lines[index]))) >= 3:
            return index
    last = len(lines) - 1
    return last if len(list(_pairs(lines[last]))) >= 3 else len(lines)


def _prompts(lines: list[str]) -> tuple[str, str]:
    for index, line in enumerate(lines):
        if line.startswith(NEGATIVE):
            negative = [line[len(NEGATIVE) :], *lines[index + 1 :]]
            return "\n".join(lines[:index]).strip(), "\n".join(negative).strip()
    return "\n".join(lines).strip(), ""


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Split `Key: value, Key: "quoted, value", Key: {json}`; a comma inside an unquoted value stays in it."""
    position = 0
    while match := _KEY.match(line, position):
        name = match[1]
        position = match.end()
        value = ""
        if line[position : position + 1] in ('"', "{", "["):
            try:
                decoded, position = json.JSONDecoder().raw_decode(line, position)
                value = decoded if isinstance(decoded, str) else json.dumps(decoded, ensure_ascii=False)
            except (ValueError, RecursionError):
                value = ""
        while position < len(line):
            comma = line.find(",", position)
            end = len(line) if comma < 0 else comma
            value += line[position:end]
            position = end + 1
            if _KEY.match(line, position) or position >= len(line):
                break
            value += ","
        yield name, value.strip()


def _take(found: dict[str, object], name: str, value: str) -> None:
    if name == "Size" and (size := re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", value)):
        found["width"], found["height"] = int(size[1]), int(size[2])
    elif name in ("Steps", "Seed") and re.fullmatch(r"-?[0-9]{1,20}", value):
        found[name.lower()] = int(value)
    elif name == "CFG scale" and (number := _number(value)) is not None:
        found["guidance_scale"] = number
    elif name == "Denoising strength" and (number := _number(value)) is not None:
        found["strength"] = number
    elif name == "Sampler":
        found["scheduler"] = value
    elif name in ("Model", "Model hash"):
        found[name.lower().replace(" ", "_")] = value
    elif name == "Schedule type" and value.lower() in _SCHEDULES:
        found["sigmas"] = value.lower()
    else:
        found[name[:1].upper() + name[1:] if not name[:1].islower() or name[:1].isascii() else f"X {name}"] = value


def _split_schedule(found: dict[str, object]) -> None:
    """Older files write "DPM++ 2M Karras" as the sampler's name."""
    sampler = found.get("scheduler")
    if not isinstance(sampler, str) or "sigmas" in found:
        return
    head, _, tail = sampler.rpartition(" ")
    if head and tail.lower() in ("karras", "exponential"):
        found["scheduler"], found["sigmas"] = head, tail.lower()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if _QUOTED_BECAUSE.search(value) else value


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value)
