"""Convert the metadata of an image to the request that generates the image again.

Metadata is untrusted. File names in it are resolved only next to the image, in the current folder and, for LoRAs, in
the user's `lora_folder`; a file is used only if it has the recorded SHA-256. A recorded model is used only if it is an
alias or a hub id, never as a path. Local models and LoRAs are also found by their recorded hash in the index of the
files that were used on this machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import ArtgenError, InputFileError, shorten
from artgen.events import Listener, Notice
from artgen.jobs import (
    replay_checks,
    replay_files,
    replay_nets,
    replay_other_tools,
    replay_prompts,
    replay_remote,
    replay_weights,
)
from artgen.jobs.control import replay as control_replay
from artgen.jobs.image_prompts import replay as image_prompt_replay
from artgen.jobs.job import Job
from artgen.jobs.prepare import PrepareJobs
from artgen.jobs.replay_comparison import Original, read_original
from artgen.jobs.replay_request import apply_changes, build_request, check_task, use_available_device
from artgen.jobs.upscaling import replay as upscaling_replay
from artgen.spec import settings
from artgen.spec.base_requests import Request
from artgen.spec.best_of import remove_selection
from artgen.spec.record_notes import record_notes
from artgen.spec.requests import TASKS
from artgen.spec.settings import (
    options_of,
)

IGNORED_SETTINGS = ("guidance_scale", "negative_prompt", "long_prompt", "clip_skip", "guidance_rescale")
"""Settings that earlier versions of artgen, or other tools, recorded for models on which they have no effect."""

_PART_FINDERS = {"control": control_replay.find_controls, "image_prompt": image_prompt_replay.find_image_prompts}


@dataclass(frozen=True)
class ReplaySpec:
    """Represent an image to generate again.

    Attributes:
        request: request of the image.
        expected_hashes: values that the provenance of the job must have (`model_hash`, `fast_parts`).
        notes: reasons why the pixels may differ.
        batch_size: batch size of the original pipeline call. Another batch size rounds differently.
        recorded: values of the record that no `--set` changed.
        optional_settings: recorded settings that are ignored, with a note, if the model does not support them.
        original: the original image; None if the changes affect the pixels, or if it is not available.
        with_typed_images: settings of recorded nets whose images the user set.
    """

    request: Request
    expected_hashes: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    batch_size: int = 1
    recorded: Mapping[str, Any] = field(default_factory=dict)
    optional_settings: tuple[str, ...] = IGNORED_SETTINGS
    original: Original | None = None
    with_typed_images: tuple[str, ...] = ()

    def prepare(self, request: Request, prepare_jobs: PrepareJobs, listener: Listener) -> Job:
        """Return the job of a request of the image, without recorded settings that had no effect.

        Args:
            request: `self.request`, or a copy with another value of `offline`.
            prepare_jobs: `prepare.prepare_jobs` with its other arguments.
            listener: receives notes.

        Raises:
            ArtgenError: see `prepare_jobs`.
        """
        return self.supported_request(request, prepare_jobs, listener)[1]

    def supported_request(self, request: Request, prepare_jobs: PrepareJobs, listener: Listener) -> tuple[Request, Job]:
        """Return a request of the image without recorded settings that had no effect, and its job. See `prepare`."""
        while True:
            try:
                job = prepare_jobs([request])[0]
            except ArtgenError as error:
                names = [name for name in error.settings if name in self.optional_settings and name in self.recorded]
                if not names or getattr(request, names[0], None) in (None, "", ()):
                    if "acceleration" in error.settings and "acceleration" in self.recorded:
                        error.hint = (
                            f"{error.hint.rstrip('.')}. To replay without OpenVINO, add --set acceleration=none."
                        )
                    raise
                changes: dict[str, Any] = {names[0]: options_of(type(request))[names[0]].default}
                used = ""
                if names[0] in replay_nets.SETTINGS:
                    changes[names[0]], used = replay_other_tools.other_nets(names[0], getattr(request, names[0]))
                    if not changes[names[0]] and names[0] in self.with_typed_images:
                        raise
                elif names[0] == "hires":
                    changes = dict.fromkeys(options_of(settings.HiresSettings))
                elif names[0] == "scheduler":
                    changes, used = replay_other_tools.other_scheduler(str(getattr(request, "scheduler", "")))
                verb = "changed" if names[0] in replay_nets.SETTINGS and changes[names[0]] else "ignored"
                listener(Notice(f"The recorded {names[0]} is {verb}: {error.message}{used}"))
                request = request.replace(**changes)
                continue
            for note in replay_checks.single_file_notes(job.provenance, self.recorded):
                listener(Notice(note))
            former = replay_checks.former_guidance(job, self.recorded)
            if not former:
                return request, job
            listener(Notice(replay_checks.FORMER_GUIDANCE_NOTE))
            request = request.replace(**former)
            return request, prepare_jobs([request])[0]

    def check_job(self, job: Job) -> None:
        """Compare a prepared job with the expected hashes.

        Raises:
            ModelUnavailableError: see `replay_weights.check_hashes`.
        """
        replay_weights.check_hashes(job, self.expected_hashes)


def read_replay_spec(
    path: Path,
    changes: Mapping[str, Any],
    known_inputs: Mapping[str, Path] | None = None,
    known_controls: Sequence[Path] = (),
    *,
    is_remote: bool = False,
) -> ReplaySpec:
    """Read the metadata of an image and apply the changes of `--set`.

    Args:
        path: PNG, JPEG, WebP, a `.json` record or a text file in A1111 format.
        changes: setting name -> text as typed, or value of the type of the setting; an empty text unsets the setting.
        known_inputs: input files that have the recorded hashes, by setting.
        known_controls: files of control images that have the recorded hashes.
        is_remote: a server generates the image. The models, LoRAs and embeddings keep their names, and the values that
            depend on this machine are not compared.

    Raises:
        InputFileError: the metadata has no record or an invalid one, or an input image, a control image or a LoRA is
            missing.
        UsageError: a change has an unknown setting or an invalid value.
        ModelUnavailableError: the local model of the image is not on this machine.
        RefusedError: the recorded model is a path.
    """
    found = metadata.read_metadata(path)
    record, conversion_notes, changes, paths = _to_record(path, found, changes)
    notes = [*found.notes, *conversion_notes]
    check_task(path, record)
    known = options_of(TASKS[record["task"]].request_class)
    record, changes = settings.canonical_keys(record, known), settings.canonical_keys(changes, known)
    if "fast" not in changes:
        replay_checks.reject_removed_approximations(path, record)
    if "feather" not in changes:
        replay_checks.reject_former_feather(path, record)
    recorded_values = dict(record)
    changes_pixels = apply_changes(record, changes)
    replay_prompts.prepare_record(record, changes)
    if "mask_model" not in changes:
        replay_files.reject_mask_model_path(path, record)
    notes += remove_selection(record, changes)
    build_request(path, record)
    notes += record_notes(record)
    record |= replay_files.find_inputs(path, record, changes, known_inputs or {})
    find = replay_remote.find_images if is_remote else _find_files
    if found.record:
        find(path, record, changes, known_inputs or {}, known_controls)
    if is_remote:
        expected_hashes = replay_remote.pin_weights(path, record, changes)
    else:
        expected_hashes, model_notes = replay_weights.pin_weights(path, record, changes)
        notes += model_notes
    has_device = is_remote or replay_checks.is_device_available(record)
    if not has_device:
        notes.append(use_available_device(record))
    batch_size = 1
    if not changes_pixels:
        notes += () if is_remote else replay_checks.difference_notes(record)
        batch_size = replay_checks.recorded_batch_size(record) if has_device else 1
    if batch_size > 1 and is_remote:
        notes.append(
            f"The image was generated with batch size {batch_size}, and a server generates one image at a time. The "
            "pixels may differ slightly."
        )
    elif batch_size > 1:
        notes.append(
            f"The image was generated with batch size {batch_size}. For identical pixels, replay uses the same batch "
            "size and takes as long as the whole batch."
        )
    recorded = {name: value for name, value in record.items() if name not in changes}
    request = replay_prompts.expand_typed(build_request(path, record), changes, notes)
    optional = IGNORED_SETTINGS if found.record else replay_other_tools.OPTIONAL_FIELDS
    texts = tuple(map(shorten, notes))
    original = read_original(path, recorded_values) if found.record and not changes_pixels else None
    return ReplaySpec(request, expected_hashes, texts, batch_size, recorded, optional, original, tuple(paths))


def _find_files(
    path: Path,
    record: dict[str, Any],
    changes: Mapping[str, Any],
    known_inputs: Mapping[str, Path],
    known_controls: Sequence[Path],
) -> None:
    """Replace the recorded names of files by paths and hub ids, in place. See `read_replay_spec` for the errors."""
    if record.get("reference") and "reference" not in changes:
        record["reference"] = replay_files.find_references(path, record, known_inputs)
    if "lora" not in changes:
        record["lora"] = replay_files.find_loras(path, record)
    for name, find in _PART_FINDERS.items():
        if record.get(name) and name not in changes:
            record[name] = find(path, record, known_controls)
    for name in upscaling_replay.SETTINGS:
        if record.get(name) and name not in changes:
            record[name] = upscaling_replay.find_network(path, record, name)
    if record.get("embedding") and "embedding" not in changes:
        record["embedding"] = replay_files.find_embeddings(path, record)


def _to_record(
    path: Path, found: metadata.ImageMetadata, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[str], Mapping[str, Any], Mapping[str, Any]]:
    """Return the record of an image, or the metadata of another tool as a record.

    Returns:
        The record, notes about the conversion, the changes without the images of recorded nets, and these images.

    Raises:
        InputFileError: the metadata contains no record and no prompt.
        UsageError: an image of the user cannot be used with a recorded net.
    """
    if found.record:
        return dict(found.record), (), changes, {}
    if found.external is not None and found.external.has_prompt:
        changes = settings.canonical_keys(changes, options_of(TASKS["txt2img"].request_class))
        paths = replay_nets.typed_paths(found.external, changes)
        changes = {name: value for name, value in changes.items() if name not in paths}
        return (*replay_other_tools.to_record(path, found.external, changes, paths), changes, paths)
    raise InputFileError(
        f"Cannot replay '{path}': its metadata contains no prompt."
        + (f" It is of {found.external.tool_name}." if found.external else ""),
        "`artgen info` shows the metadata. Other programs may have removed it.",
    )
