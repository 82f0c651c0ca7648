"""Convert ControlNets and image prompts in the metadata of other tools to values of `control` and `image_prompt`.

The metadata of ComfyUI contains the file names of the images, without hashes. AUTOMATIC1111 records neither the image
nor its name: `replay` then needs its path, and uses the recorded preprocessor, net, weight and steps.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.jobs.replay_net_images import find_named_image
from artgen.metadata import ExternalRecord
from artgen.metadata.external_record import RecordedNet
from artgen.registry import net_names
from artgen.registry.control_nets import NetEntry, net_entries
from artgen.spec.control import CONTROL_KINDS, ControlSpec, parse_control
from artgen.spec.image_prompt import ImagePromptSpec, parse_image_prompt
from artgen.system.counts import counted
from artgen.system.input_files import STDIN
from artgen.system.memory_file import MemoryFile

SETTINGS = ("control", "image_prompt")
FEATURES: Mapping[str, str] = {
    "ControlNet": "control", "T2I-Adapter": "control", "IP-Adapter": "image_prompt", "style model": "image_prompt"
}  # fmt: skip
"""Setting of each feature that `ExternalRecord.nets` contains."""
MAX_NAME_CHARS = 80
_TITLES = {"control": "ControlNet", "image_prompt": "image prompt"}
_UNION_KINDS = {"hed/pidi/scribble/ted": "scribble", "canny/lineart/anime_lineart/mlsd": "canny"}
"""Kinds of the types of ComfyUI's `SetUnionControlNetType`. `module_kind` knows the other types."""


@dataclass(frozen=True)
class NetValues:
    """Store the values of a record, and notes.

    Attributes:
        values: texts of `control` and `image_prompt`.
        notes: what is used, what is missing and how it is set, one sentence each.
    """

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def typed_paths(external: ExternalRecord, changes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the changes of `control` and `image_prompt` that are only paths of images, such as `control=edges.png`.

    Raises:
        UsageError: the number of paths is wrong.
    """
    found = {}
    for setting in SETTINGS:
        nets = [net for net in external.nets if net.setting == setting]
        if not nets or not changes.get(setting):
            continue
        paths = _only_paths(setting, changes[setting], len(nets))
        if paths is None:
            continue
        if len(paths) > len(nets):
            expected = counted(len(nets), _TITLES[setting])
            raise UsageError(
                f"--set {setting} has {counted(len(paths), 'image')}, and the metadata has {expected}.",
                f"--set {setting}={','.join(['PATH'] * len(nets))}",
            )
        found[setting] = paths
    return found


def _only_paths(setting: str, given: Any, num_nets: int) -> tuple[str, ...] | None:
    """Return a typed value as paths; None if it contains a kind, a scale or another key."""
    if isinstance(given, list | tuple):
        texts = [str(each) for each in given]
    elif num_nets == 1:
        texts = [str(given)]
    else:
        texts = next(csv.reader([str(given)], skipinitialspace=True), [])
    return tuple(texts) if texts and all(_is_path(setting, text) for text in texts) else None


def _is_path(setting: str, text: str) -> bool:
    if setting == "control":
        return bool(text) and not re.match(r"\w+\s*=", text)
    try:
        return str(parse_image_prompt(text).image) == text
    except UsageError:
        return False


def find_nets(
    path: Path, external: ExternalRecord, changes: Mapping[str, Any], paths: Mapping[str, Sequence[str]], task: str
) -> NetValues:
    """Return the values of `control` and `image_prompt` that have an image and a net, and notes about all nets.

    Args:
        path: image with the metadata; images are searched next to it.
        external: metadata.
        changes: settings that the user sets; they replace the recorded nets.
        paths: images of the user for each setting; see `typed_paths`.
        task: task of the record.

    Raises:
        UsageError: an image of the user cannot be used with the recorded net.
    """
    result = NetValues()
    default = _default_image(external, changes, task)
    for setting in SETTINGS:
        nets = [net for net in external.nets if net.setting == setting]
        if nets and setting not in changes:
            given = paths.get(setting) or ((default,) * len(nets) if default else ())
            found = _find(path, setting, nets, given, task, is_typed=setting in paths)
            if default and found.values and setting not in paths:
                note = (
                    f"The metadata does not contain the images of {setting}: the input image is used, as AUTOMATIC1111 "
                    f"does without another image. To use other images, add --set {setting}=PATH."
                )
                found = NetValues(found.values, (*found.notes, note))
            result = NetValues({**result.values, **found.values}, (*result.notes, *found.notes))
    return result


def _default_image(external: ExternalRecord, changes: Mapping[str, Any], task: str) -> str:
    """Return the input image if AUTOMATIC1111 uses it for nets without an image of their own, else an empty text.

    Source: pull request 1956 of sd-webui-controlnet.
    """
    image = changes.get("image")
    is_file = isinstance(image, str | Path) and not isinstance(image, MemoryFile) and str(image) != STDIN
    return str(image) if image and is_file and task != "txt2img" and external.tool != "comfyui" else ""


def _find(
    path: Path, setting: str, nets: Sequence[RecordedNet], paths: Sequence[str], task: str, *, is_typed: bool
) -> NetValues:
    images = [str(found) if (found := find_named_image(path, net.image)) else "" for net in nets]
    missing = [i for i, image in enumerate(images) if not image]
    for i, image in zip(missing if len(paths) == len(missing) else range(len(nets)), paths, strict=False):
        images[i] = image
    texts, notes, unused, without_image = [], [], [], []
    for net, image in zip(nets, images, strict=True):
        text, reason = _text(net, image or "PATH", task)
        if text and image:
            texts.append(text)
            notes.append(_used_note(net, text))
        elif text:
            without_image.append(net)
        elif is_typed and image in paths:
            raise UsageError(
                f"Cannot use '{image}' with the recorded {_title(net)}: {reason}.",
                f"--set {setting}={_example(net, image)}",
            )
        else:
            unused.append((net, reason, _example(net, image or "PATH")))
    for net, reason, example in unused:
        value = _join(setting, [*texts, example])
        notes.append(f"Not used: {_title(net)}: {reason}. To use it, add --set {setting}={value}.")
    if without_image:
        notes.append(_missing_note(setting, without_image))
    return NetValues({setting: tuple(texts)} if texts else {}, tuple(notes))


def _join(setting: str, texts: Sequence[str]) -> str:
    """Return several texts of a setting as one value of `--set`."""
    if setting == "control" or len(texts) == 1:
        return ",".join(texts)
    return "'" + ",".join(f'"{text}"' for text in texts) + "'"


def _text(net: RecordedNet, image: str, task: str) -> tuple[str, str]:
    """Return the value of the setting, or an empty text and the reason that the net cannot be used."""
    if net.start >= net.end:
        return "", "it is active in no step"
    return _control_text(net, image, task) if net.setting == "control" else _image_prompt_text(net, image)


def _control_text(net: RecordedNet, image: str, task: str) -> tuple[str, str]:
    entry, model = _find_net(net)
    if not model:
        return "", "its net is neither in the catalog of artgen nor in your model_folders"
    name_kind = net_names.module_kind(net.name)
    kinds = entry.kinds if entry is not None else ()
    union_kind = _UNION_KINDS.get(net.kind) or net_names.module_kind(net.kind)
    kind = union_kind or (kinds[0] if len(kinds) == 1 else net_names.module_kind(net.module) or name_kind)
    if (entry is not None and entry.is_inpaint) or "inpaint" in net.name.lower():
        if task not in ("inpaint", "outpaint"):
            return "", "its net reads the masked input image, so that it needs --set image=PATH --set mask=PATH"
        kind, is_map = "raw", True
    else:
        is_map = not net.module
    if kinds and kind not in (*kinds, "raw"):
        return "", f"its net reads {', '.join(kinds)} maps, and the kind of its image is unknown"
    if is_map:
        # A union net must know the kind of its map: the kind takes the place of the net.
        spec = ControlSpec("raw", Path(image), model=kind if entry is not None and len(kinds) > 1 else model)
    elif kind in CONTROL_KINDS:
        spec = ControlSpec(kind, Path(image), model=model)
    else:
        return "", f"artgen has no preprocessor {net.module[:MAX_NAME_CHARS]!r}"
    spec = spec._replace(scale=net.scale, start=net.start, end=net.end)
    return _checked(str(spec), parse_control, spec)


def _checked(text: str, parse: Callable[[str], object], spec: object) -> tuple[str, str]:
    """Return a text if the same value is parsed from it, else an empty text and the reason."""
    try:
        is_same = parse(text) == spec
    except UsageError as error:
        return "", error.message.rstrip(".")
    return (text, "") if is_same else ("", "the name of its image contains a key of the setting")


def _find_net(net: RecordedNet) -> tuple[NetEntry | None, str]:
    """Return the entry of the catalog, and the value of `model=`; empty if the net is unknown."""
    name, digest = net_names.split_hash(net.name)
    file = net_names.find_net_file(net.setting, name, digest) if name else None
    if file is not None and file[1]:
        return None, str(file[0])
    if name and (entry := net_names.known_net(name)) is not None:
        return entry, entry.name
    return None, str(file[0]) if file is not None else ""


def _image_prompt_text(net: RecordedNet, image: str) -> tuple[str, str]:
    name, digest = net_names.split_hash(net.name)
    if re.search(r"face.?id|instantid|pulid", f"{name} {net.module}", re.IGNORECASE):
        return "", "it needs insightface, which artgen does not support"
    file = net_names.find_net_file(net.setting, name, digest) if name else None
    model = net_names.known_adapter(name) if name else None
    if file is not None and (file[1] or model is None):
        model = str(file[0])
    if model is None:
        return "", "its adapter is neither in the catalog of artgen nor in your model_folders"
    spec = ImagePromptSpec(Path(image), net.scale, model=model or None)
    return _checked(str(spec), parse_image_prompt, spec)


def _used_note(net: RecordedNet, text: str) -> str:
    differences = list(net.notes)
    if net.setting == "control" and net.module and not text.startswith("raw="):
        differences.append(f"artgen's preprocessor computes the control map, not {net.module[:MAX_NAME_CHARS]!r}")
    if net.setting == "image_prompt" and (net.start, net.end) != (0.0, 1.0):
        differences.append(f"it is active in all steps, not from {net.start:g} to {net.end:g}")
    difference = f" The image will differ: {'; '.join(differences)}." if differences else ""
    return f"Used for the {_title(net)}: {net.setting}={text}.{difference}"


def _missing_note(setting: str, nets: Sequence[RecordedNet]) -> str:
    titles = " and ".join(map(_title, nets))
    example = ",".join(["PATH"] * len(nets))
    images = [net.image for net in nets if net.image]
    reason = f"{' and '.join(map(repr, images))} not found" if images else "not in the metadata"
    one = len(nets) == 1
    return (
        f"Not used: {titles}: the image{'' if one else 's'} {'is' if one else 'are'} {reason}. To use "
        f"{'it' if one else 'them'} with the recorded settings, add --set {setting}={example}."
    )


def _title(net: RecordedNet) -> str:
    name = net.name or net.module
    return f"{_TITLES[net.setting]} {name[:MAX_NAME_CHARS]!r}" if name else _TITLES[net.setting]


def _example(net: RecordedNet, image: str) -> str:
    """Return a text of the setting for a net that cannot be used as it is."""
    if net.setting == "image_prompt":
        return f"{image}:{net.scale:g}"
    kind = net_names.module_kind(net.module) or net_names.module_kind(net.name)
    if net.module and kind:
        return f"{kind}={image},scale={net.scale:g}"
    return f"raw={image},scale={net.scale:g},model={kind or 'NET'}"


def with_default_nets(setting: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts of `control` or `image_prompt` with the default nets of the model.

    A control map without a known kind has no default net and is omitted.
    """
    changed = []
    for text in texts:
        if setting == "image_prompt":
            changed.append(str(parse_image_prompt(text)._replace(model=None)))
            continue
        spec = parse_control(text)
        entry = net_entries().get(spec.model or "")
        if spec.kind != "raw":
            changed.append(str(spec._replace(model=None)))
        elif spec.model in CONTROL_KINDS or (entry is not None and entry.kinds):
            changed.append(str(spec._replace(model=spec.model if entry is None else entry.kinds[0])))
    return tuple(changed)
