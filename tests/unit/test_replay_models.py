"""Test how replay finds recorded models: by hash in the index of locations, or on the hub, and never by a path."""

import contextlib
import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors_files import zero_file

from artgen import Txt2Img, registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError
from artgen.events import Notice
from artgen.jobs import replay_checks
from artgen.jobs.anomaly import Anomaly
from artgen.jobs.anomaly import prepare as anomaly
from artgen.jobs.anomaly.fit_file import AnomalyConfig
from artgen.jobs.job import Job
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay import ReplaySpec, read_replay_spec
from artgen.queue import prompt_files
from artgen.queue.plan import BatchPlan
from artgen.queue.planner import Planner
from artgen.registry import hashes, location_index
from artgen.registry.hub import cache
from artgen.spec.records import WRITER_FIELDS, to_record

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RECORD: dict[str, Any] = {**WRITER_FIELDS, "task": "txt2img", "prompt": "x", "seed": 1, "steps": 2}


def replay_record(record: dict[str, Any], **changes: str) -> ReplaySpec:
    path = Path("record.json")
    path.write_text(json.dumps(record))
    return read_replay_spec(path, changes)


def prepare(model: str) -> Job:
    return prepare_jobs([Txt2Img(prompt="x", seed=1, model=model)])[0]


def record_of(job: Job) -> dict[str, Any]:
    return {**RECORD, **to_record(job.request, job.provenance)}


@pytest.fixture
def model(models: dict[str, Path]) -> Path:
    """Return a copy of a tiny model, so that a test can change it."""
    return Path(shutil.copytree(models["sd1"], "folder @v1"))


def test_a_local_model_is_found_by_its_recorded_hash(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    record = record_of(prepare(str(model)))
    assert (record["model"], record["model_source"]) == ("folder @v1", "local")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = replay_record(record)
    assert "has the recorded SHA-256" in spec.notes[0]
    job = prepare_jobs([spec.request])[0]
    spec.check_job(job)
    assert record_of(job) == record


def test_a_single_file_is_found_by_its_recorded_hash() -> None:
    unet = "model.diffusion_model."
    shapes = {
        f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{unet}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    }
    path = zero_file(Path("my model.safetensors"), shapes).absolute()
    record = record_of(prepare("my model.safetensors"))
    assert (record["model"], record["model_source"]) == ("my model", "local")
    assert replay_record(record).request.model == str(path)
    (found,) = registry.find_models_by_hash(record["model_hash"])
    assert (found.path, found.is_file, found.is_local) == (path, True, True)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert registry.find_models_by_hash(record["model_hash"]) == []


def test_a_model_with_the_recorded_name_is_preferred(model: Path) -> None:
    record = record_of(prepare(str(model)))
    prepare(str(shutil.copytree(model, "copy")))
    assert replay_record(record).request.model == str(model.absolute())
    assert replay_record({**record, "model": "copy"}).request.model == str(Path("copy").absolute())


def test_moved_and_changed_models_are_reported_with_their_hash(model: Path) -> None:
    record = record_of(prepare(str(model)))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError, match=record["model_hash"]) as caught:
            replay_record(record)
        assert "--set model=PATH" in caught.value.hint
        shutil.rmtree(model, ignore_errors=True)
    assert replay_record(record, model="sd15").request.model == "sd15"


def test_a_model_behind_a_removed_alias_is_found_by_its_hash(model: Path) -> None:
    registry.set_alias("mine", str(model))
    record = record_of(prepare("mine"))
    assert replay_record(record).request.model == "mine"
    registry.remove_alias("mine")
    assert replay_record(record).request.model == str(model.absolute())


HOSTILE_NAMES = (
    "", ".", "..", "here", "./here", "../other/here", "~/here", "here/", "/tmp", "file.safetensors",
    "./file.safetensors", "own/file.safetensors",
    "own/x.ckpt", "own/er", "own/er@v1", "own\\er", "file:///etc/passwd", "a\nb", "x" * 5000,
    "own/../own/er", "\x1b[2J",
)  # fmt: skip


@pytest.mark.parametrize("source", [None, "", "here", "../here", "own/er", "local", "bundled:../here"])
@pytest.mark.parametrize("revision", [None, "v1", "../../here", "a@b", COMMIT])
def test_recorded_paths_are_never_used(models: dict[str, Path], source: str | None, revision: str | None) -> None:
    for folder in ("here", "own/er", "own/er@v1", "own/er@a@b", f"own/er@{COMMIT}"):
        Path(folder).parent.mkdir(exist_ok=True)
        Path(folder).symlink_to(models["sd1"])
    for file in ("file.safetensors", "own/file.safetensors"):
        Path(file).write_bytes(b"")
    (Path("~").expanduser() / "here").symlink_to(models["sd1"])
    for name in HOSTILE_NAMES:
        record = {**RECORD, "model": name, "model_source": source, "model_revision": revision}
        try:
            model = replay_record(record).request.model
        except ArtgenError as caught:
            error = caught
        else:  # A hub id may end with a suffix of a file.
            assert registry.parse_reference(model or "").kind == "hub", name
            assert name.startswith("own/"), name
            continue
        assert error.exit_code in (3, 4, 5), name
        assert len(error.message) < 2100, name


def plan_record(record: dict[str, Any]) -> BatchPlan:
    Path("p.jsonl").write_text(json.dumps(record))
    return Planner(Path("out")).build_plan(prompt_files.read_prompt_file(Path("p.jsonl")))


def test_the_model_of_a_record_in_a_prompt_file_is_found_as_in_replay(model: Path, models: dict[str, Path]) -> None:
    record = record_of(prepare(str(model)))
    plan = plan_record(record)
    assert not plan.line_errors, plan.line_errors[0].error
    (job,) = plan.jobs
    assert record_of(prepare_jobs([job.request])[0]) == record
    Path("own").mkdir()
    Path("own/er").symlink_to(models["sd1"])
    record["model_hash"] = None
    for name in ("../x", "./folder @v1", "own/er", "no-such-alias"):
        (error,) = plan_record({**record, "model": name, "model_source": None}).line_errors
        assert "aths from metadata are not opened" in error.error.message
        assert "remove the key 'artgen'" in error.error.hint
    typed = {"prompt": "x", "model": "./folder @v1"}
    assert not plan_record(typed).line_errors
    Path("p.yaml").write_text("defaults: {artgen: '1', model: './folder @v1'}\njobs: [x]")
    plan = Planner(Path("out")).build_plan(prompt_files.read_prompt_file(Path("p.yaml")))
    assert not plan.line_errors


def test_a_revision_of_a_record_is_not_appended_to_the_path_of_an_alias(models: dict[str, Path]) -> None:
    shutil.copytree(models["sd1"], "mine")
    Path("mine@v1").symlink_to(models["pixel"] if "pixel" in models else models["sd1"])
    registry.set_alias("alias", "mine")
    spec = replay_record({**RECORD, "model": "alias", "model_revision": "v1"})
    assert spec.request.model == "alias"
    with pytest.raises(ArtgenError, match="no revision 'v1'"):
        registry.parse_reference("alias@v1")


def test_an_alias_of_a_hub_model_is_never_a_local_folder(models: dict[str, Path]) -> None:
    registry.set_alias("plain", "own/er")
    registry.set_alias("pinned", "own/er@v1")
    Path("own").mkdir()
    for folder in ("own/er", "own/er@v1", "own/er@v2"):
        Path(folder).symlink_to(models["sd1"])
    for name, revision in (("plain", None), ("pinned", "v1"), ("plain@v1", "v1"), ("pinned@v2", "v2")):
        found = registry.parse_reference(name)
        assert (found.kind, found.target, found.revision) == ("hub", "own/er", revision)
    assert replay_record({**RECORD, "model": "plain", "model_revision": "v1"}).request.model == "plain@v1"


def test_an_alias_of_the_user_does_not_replace_a_recorded_hub_model(models: dict[str, Path]) -> None:
    source = registry.known_models()["sd15"].source
    record = {**RECORD, "model": "sd15", "model_source": source, "model_revision": COMMIT}
    assert replay_record(record).request.model == f"sd15@{COMMIT}"
    registry.set_alias("sd15", str(models["sd1"]))
    assert replay_record(record).request.model == f"{source}@{COMMIT}"
    record = {**RECORD, "model": "removed-alias", "model_source": "own/er", "model_revision": COMMIT}
    assert replay_record(record).request.model == f"own/er@{COMMIT}"


def cached_model(models: dict[str, Path], commit: str, revision: str) -> None:
    root = cache.repository_folder("own/er")
    shutil.copytree(models["sd1"], root / "snapshots" / commit)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / revision).write_text(commit)


def test_a_complete_request_keeps_the_revision_and_the_record_the_name(models: dict[str, Path]) -> None:
    """Prepare a complete request again, as a batch does in another process."""
    cached_model(models, COMMIT, "v1")
    cached_model(models, COMMIT[::-1], "main")
    job = prepare("own/er@v1")
    for _ in range(2):
        record = record_of(job)
        assert (record["model"], record["model_source"], record["model_revision"]) == ("own/er", "own/er", COMMIT)
        job = prepare_jobs([job.request])[0]
    assert replay_record(record).request.model == f"own/er@{COMMIT}"
    shutil.copytree(models["sd1"], "own/er")
    assert record_of(prepare_jobs([job.request])[0]) == record
    assert record_of(prepare("./own/er"))["model_source"] == "local"


DIGEST = "ab" * 32
DAMAGED = [
    b"", b"\xff", b"[]", b"{", b'{"locations": []}', b'{"locations": {"%s": "/x"}}' % DIGEST.encode(),
    b'{"locations": {"%s": [7, "relative"]}}' % DIGEST.encode(), b'{"locations": {"x": ["/x"]}}',
    b'{"locations": ' + b"[" * 100_000, b'{"schema": 1e999}', b" " * (location_index.MAX_INDEX_BYTES + 1),
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:30]))
def test_a_damaged_index_is_ignored_with_a_note_and_replaced(content: bytes, model: Path) -> None:
    path = location_index.index_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert location_index.locations(DIGEST) == []
    note = location_index.damage_note()
    assert note
    assert str(path) in note
    record = {**RECORD, "model": "x", "model_source": "local", "model_hash": DIGEST}
    with pytest.raises(ModelUnavailableError, match="index of models"):
        replay_record(record)
    events: list[object] = []
    prepare_jobs([Txt2Img(prompt="x", seed=1, model=str(model))], events.append)
    assert events == [Notice(note)]
    assert location_index.damage_note() is None
    assert location_index.locations(hashes.model_hash([model / "unet" / "diffusion_pytorch_model.safetensors"]))


def test_an_index_that_cannot_be_read_or_written_is_ignored(model: Path) -> None:
    location_index.index_path().mkdir(parents=True)
    prepare(str(model))
    assert "cannot be read" in str(location_index.damage_note())
    shutil.rmtree(location_index.index_path().parent)
    location_index.index_path().parent.write_text("a file, not a folder")
    prepare(str(model))
    assert location_index.locations(DIGEST) == []


def test_an_index_of_a_newer_schema_keeps_its_other_keys() -> None:
    path = location_index.index_path()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 9, "new": {"a": 1}, "locations": {DIGEST: ["/old"]}}))
    location_index.save_location("cd" * 32, Path("new"))
    assert location_index.locations(DIGEST) == [Path("/old")]
    assert json.loads(path.read_text()) | {"locations": 0} == {"schema": 9, "new": {"a": 1}, "locations": 0}


def test_concurrent_writers_lose_no_location() -> None:
    def save(number: int) -> None:
        location_index.save_location(f"{number:064x}", Path(f"model-{number}"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(save, range(64)))
    for number in range(64):
        assert location_index.locations(f"{number:064x}") == [Path(f"model-{number}").absolute()]


def test_the_index_is_bounded_and_keeps_the_newest_locations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location_index, "MAX_HASHES", 5)
    for number in range(9):
        location_index.save_location(f"{number:064x}", Path("a"))
    assert [bool(location_index.locations(f"{number:064x}")) for number in range(9)] == [False] * 4 + [True] * 5
    for name in "abcdefa":
        location_index.save_location(DIGEST, Path(name))
    assert [path.name for path in location_index.locations(DIGEST)] == ["a", "f", "e", "d"]


def test_locations_keep_names_that_are_not_utf8() -> None:
    path = Path("/x/\udcff \u202e\n")
    location_index.save_location(DIGEST, path)
    assert location_index.locations(DIGEST) == [path]


def test_a_link_to_a_file_named_like_a_hash_has_the_hash_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    target = tmp_path / "blobs" / ("0" * 64)
    target.write_bytes(b"content")
    link = tmp_path / "model.safetensors"
    link.symlink_to(target)
    assert registry.file_hash(link) == hashes.compute_sha256(target)


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b'{"a": 7}', b"[" * 100_000])
def test_a_damaged_cache_of_hashes_is_ignored(content: bytes, tmp_path: Path) -> None:
    from artgen.system.paths import user_cache_folder

    user_cache_folder().mkdir(parents=True)
    (user_cache_folder() / "hashes.json").write_bytes(content)
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"a")
    assert registry.file_hash(file) == registry.file_hash(file) == hashes.compute_sha256(file)


def test_a_lora_is_found_by_its_recorded_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {f"{key}.lora_down.weight": (4, 32), f"{key}.lora_up.weight": (32, 4)}
    path = zero_file(tmp_path / "style.safetensors", shapes)
    digest = registry.file_hash(path)
    record = {**RECORD, "model": "tiny", "lora": ["style.safetensors:0.5"], "lora_sha256": [digest]}
    with pytest.raises(InputFileError, match="its LoRA 'style"):
        replay_record(record)
    with contextlib.suppress(ModelUnavailableError):  # The bundled model has other layers.
        prepare_jobs([Txt2Img(prompt="x", model="tiny", lora=(f"{path}:0.5",))])
    assert replay_record(record).request.loras[0].name == str(path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputFileError, match="its LoRA 'style"):
        replay_record(record)


@pytest.mark.parametrize("name", ["../x", "./folder @v1", "own/er", "~/x", "no-such-alias", ""])
def test_the_model_of_a_fit_file_is_found_by_its_hash(name: str, model: Path, models: dict[str, Path]) -> None:
    Path("own").mkdir()
    Path("own/er").symlink_to(models["sd1"])
    request = Anomaly(fit=Path("fit.safetensors"))
    digest = hashes.model_hash([model / "unet" / "diffusion_pytorch_model.safetensors"])
    config = AnomalyConfig("latent", name, digest, "", (0.5,), 1, 0)
    with pytest.raises(ModelUnavailableError, match=digest):
        anomaly._fitted_model(request, config)
    prepare(str(model))
    assert anomaly._fitted_model(request, config) == str(model.absolute())
    assert anomaly._fitted_model(request, dataclasses.replace(config, model="denoiser")) == "denoiser"


def test_paths_are_refused_and_unknown_names_are_unavailable() -> None:
    for name in ("../x", "own/../er", "~x", "a\\b", "/x"):
        with pytest.raises(RefusedError, match="paths from metadata are not opened"):
            replay_record({**RECORD, "model": name})
    with pytest.raises(ModelUnavailableError, match="'no-such-alias' is not on this computer"):
        replay_record({**RECORD, "model": "no-such-alias"})


@pytest.mark.parametrize(
    ("record", "is_noted"),
    [
        ({"model": "fox", "model_base": "owner/base@abc"}, True),
        ({"model": "fox", "model_base": "owner/base@def"}, False),
        ({"model_base": "owner/base@abc"}, False),
        ({"model": "fox"}, False),
    ],
)
def test_another_base_of_a_single_file_is_noted(record: dict[str, str], is_noted: bool) -> None:
    assert any(replay_checks.single_file_notes({"model_base": "owner/base@def"}, record)) == is_noted
