"""Test fit files and checkpoints with damaged JSON."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from artgen.errors import InputFileError
from artgen.jobs.anomaly.fit_file import FIT_FILE_KIND, FIT_FILE_VERSION, read_fit_header
from artgen.jobs.training_layout import STATE_FILE, read_checkpoint_state
from artgen.registry import verify_model_files

LOOK = {"method": "pixel", "model": "tiny", "model_hash": "0" * 64, "prompt": "", "levels": [5.0, 9.0], "draws": 2,
        "seed": 0}  # fmt: skip
KNOWN = {"look": LOOK, "size": [64, 48], "pictures": ["1" * 64] * 20}


def write_fit(known: str) -> Path:
    metadata = {"kind": FIT_FILE_KIND, "version": FIT_FILE_VERSION, "known": known}
    header = json.dumps({"__metadata__": metadata}).encode()
    path = Path("fit.safetensors")
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_fit_header_is_read() -> None:
    header = read_fit_header(write_fit(json.dumps(KNOWN)))
    assert (header.working_size, header.config.noise_levels, len(header.image_hashes)) == ((64, 48), (5.0, 9.0), 20)
    assert read_fit_header(write_fit(json.dumps({**KNOWN, "size": None}))).working_size is None


@pytest.mark.parametrize(
    "known",
    [
        "",
        "[]",
        "5",
        "[" * 100_000,
        json.dumps(KNOWN)[:-1],
        json.dumps({**KNOWN, "look": 5}),
        json.dumps({"look": LOOK}),
    ],
)
def test_fit_without_valid_json_is_refused(known: str) -> None:
    with pytest.raises(InputFileError, match="not a fit file"):
        read_fit_header(write_fit(known))


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "x"), ("method", 5), ("method", None), ("model", 5), ("model_hash", None), ("prompt", [1]),
     ("extra", 1),
     ("levels", []), ("levels", [0]), ("levels", [-1.0]), ("levels", [float("inf")]),
     ("levels", ["x"]), ("levels", 5), ("levels", [1.0] * 10_000), ("draws", None), ("draws", "2"), ("draws", 10**9),
     ("draws", 0), ("draws", True), ("seed", -1), ("seed", 10**30), ("seed", 10**400), ("seed", None), ("seed", 1.5)],
)  # fmt: skip
def test_fit_with_a_setting_of_another_type_or_size_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputFileError, match="not a fit file"):
        read_fit_header(write_fit(json.dumps({**KNOWN, "look": {**LOOK, name: value}})))


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", [64]), ("size", [0, 64]), ("size", [64, -1]), ("size", [10**12, 1]), ("size", [64.5, 64]), 
     ("size", "64"),
     ("size", [float("inf"), 1]),
     ("pictures", 5), ("pictures", [5]), ("pictures", ["0"] * 100_000), ("pictures", None)],
)  # fmt: skip
def test_fit_with_invalid_images_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputFileError, match="not a fit file"):
        read_fit_header(write_fit(json.dumps({**KNOWN, name: value})))


@pytest.mark.parametrize(
    "state",
    ["", "[]", "5", "{}", "[" * 100_000, '{"step": 1e999, "settings": {}}', '{"step": "x", "settings": {}}', "\xff",
     '{"step": null, "settings": {}}', '{"step": 1, "settings": 5}', f'{{"step": {"9" * 5000}, "settings": {{}}}}'],
)  # fmt: skip
def test_damaged_checkpoint_state_is_refused(state: str) -> None:
    Path(STATE_FILE).write_bytes(state.encode("latin-1"))
    with pytest.raises(InputFileError, match="checkpoint"):
        read_checkpoint_state(Path())


def test_endless_checkpoint_state_is_refused() -> None:
    Path(STATE_FILE).symlink_to("/dev/zero")
    with pytest.raises(InputFileError, match="checkpoint"):
        read_checkpoint_state(Path())


def test_verification_does_not_read_a_huge_configuration(models: dict[str, Path]) -> None:
    folder = shutil.copytree(models["sd1"], Path("model"))
    with (folder / "scheduler" / "scheduler_config.json").open("wb") as file:
        file.truncate(2**40)
    failed = {check.file: check.detail for check in verify_model_files("./model") if not check.ok}
    assert "1,099,511,627,776" in failed["scheduler/scheduler_config.json"]
