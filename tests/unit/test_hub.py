"""Test downloads from a hub that disconnects, sends wrong bytes or denies access, and the resulting cache."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import hub_server
import pytest
from hub_server import NEEDED, UNET, tiny_files
from safetensors_files import filled_bytes

from artgen import registry
from artgen.errors import ArtgenError, ModelUnavailableError, OutputError, RefusedError
from artgen.events import Event, Notice
from artgen.registry import hub as downloads
from artgen.registry.hub import cache, client
from artgen.registry.hub.client import RemoteFile
from artgen.registry.hub.select_files import select_files


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub(tiny_files())) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def unet_blob(hub: hub_server.Hub) -> Path:
    return cache.repository_folder(hub.repo) / "blobs" / hub_server.etag(UNET, hub.files[UNET])


def test_pull_downloads_only_the_needed_files(hub: hub_server.Hub) -> None:
    reports: list[tuple[str, int, int]] = []
    folder = downloads.pull(hub.repo, on_progress=lambda *progress: reports.append(progress))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == NEEDED
    assert sorted(hub.downloads()) == sorted(NEEDED)
    assert all((folder / name).read_bytes() == hub.files[name] for name in NEEDED)
    size = len(hub.files[UNET])
    assert (UNET, size, size) in reports
    assert not list(cache.cache_folder().rglob("*.incomplete"))


def test_huggingface_hub_finds_the_downloaded_model(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    found = try_to_load_from_cache(hub.repo, UNET, cache_dir=cache.cache_folder())
    assert found == str(folder / UNET)
    (repo,) = scan_cache_dir(cache.cache_folder()).repos
    assert repo.repo_id == hub.repo
    assert repo.refs.keys() == {"main"}


def test_huggingface_hub_does_not_download_files_of_artgen_again(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    hub.requests.clear()
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(hub.repo, UNET, cache_dir=cache.cache_folder(), endpoint=hub.url)
    assert Path(path).read_bytes() == hub.files[UNET]
    assert not hub.ranges(UNET)


def test_a_second_pull_downloads_nothing(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    hub.requests.clear()
    downloads.pull(hub.repo)
    assert hub.downloads() == []


def test_a_lost_connection_is_resumed(hub: hub_server.Hub) -> None:
    hub.cut_after[UNET] = 100_000
    folder = downloads.pull(hub.repo)
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == ["", "bytes=100000-"]


@pytest.mark.slow
def test_the_download_of_a_killed_process_is_resumed(hub: hub_server.Hub) -> None:
    """Kill a process in the middle of a file; the next one requests only the missing bytes."""
    script = (
        "import os, signal\nfrom artgen.registry import hub\n"
        "def stop(file, done, total):\n"
        f"    if file == {UNET!r} and 0 < done < total: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"hub.pull({hub.repo!r}, on_progress=stop)\n"
    )
    hub.cut_after[UNET] = 150_000
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(downloads.__file__).parents[3], check=False, timeout=600
    )
    assert done.returncode == -9
    received_bytes = unet_blob(hub).with_name(unet_blob(hub).name + ".incomplete").stat().st_size
    assert 0 < received_bytes < len(hub.files[UNET])
    assert cache.snapshot_folder(hub.repo) is None, "a ref points to an incomplete snapshot"
    hub.requests.clear()
    hub.cut_after.clear()
    folder = downloads.pull(hub.repo)
    assert hub.ranges(UNET) == [f"bytes={received_bytes}-"]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_without_range_requests_the_download_starts_again(hub: hub_server.Hub) -> None:
    hub.cut_after[UNET], hub.ignore_range = 100_000, True
    folder = downloads.pull(hub.repo)
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_a_truncated_file_is_reported_and_resumed_later(hub: hub_server.Hub) -> None:
    hub.instead[UNET] = hub.files[UNET][:50_000]
    with pytest.raises(
        ModelUnavailableError, match=r"fp16.safetensors' of 'owner/tiny' is truncated: received 50,000 of"
    ) as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 4
    hub.instead.clear()
    hub.requests.clear()
    folder = downloads.pull(hub.repo)
    assert hub.ranges(UNET) == ["bytes=50000-"]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_a_file_with_a_wrong_hash_is_rejected_and_deleted(hub: hub_server.Hub) -> None:
    data = bytearray(hub.files[UNET])
    data[-1] ^= 1
    hub.instead[UNET] = bytes(data)
    with pytest.raises(RefusedError, match="has the wrong hash") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 5
    assert not unet_blob(hub).exists()
    assert not list(cache.cache_folder().rglob("*.incomplete"))
    hub.instead.clear()
    assert (downloads.pull(hub.repo) / UNET).read_bytes() == hub.files[UNET]


def test_a_damaged_partial_file_is_downloaded_again(hub: hub_server.Hub) -> None:
    partial = unet_blob(hub).with_name(unet_blob(hub).name + ".incomplete")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"not what the hub sent")
    assert (downloads.pull(hub.repo) / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == ["bytes=21-", ""]


def test_force_downloads_only_damaged_files(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    data = bytearray(hub.files[UNET])
    data[1000] ^= 255
    unet_blob(hub).write_bytes(bytes(data))
    hub.requests.clear()
    downloads.pull(hub.repo)
    assert hub.downloads() == [], "without force, only the length is checked"
    downloads.pull(hub.repo, force=True)
    assert hub.downloads() == [UNET]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_a_truncated_blob_is_resumed(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    with unet_blob(hub).open("r+b") as file:
        file.truncate(1234)
    hub.requests.clear()
    folder = downloads.pull(hub.repo)
    assert hub.ranges(UNET) == ["bytes=1234-"]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


@pytest.mark.parametrize("status", [401, 403])
def test_the_hint_for_a_gated_model_names_page_and_login(hub: hub_server.Hub, status: int) -> None:
    hub.gated = status
    with pytest.raises(ModelUnavailableError, match="gated") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 4
    assert f"{hub.url}/owner/tiny" in caught.value.hint
    assert "hf auth login" in caught.value.hint
    hub.gated = 0
    downloads.pull(hub.repo)


def test_the_hint_for_an_unknown_model_has_similar_names(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    with pytest.raises(ModelUnavailableError, match="Cannot find the model 'owner/tinny'") as caught:
        downloads.pull("owner/tinny")
    assert "Did you mean owner/tiny?" in caught.value.hint


def test_the_hint_for_an_unknown_revision_has_similar_names(hub: hub_server.Hub) -> None:
    with pytest.raises(ModelUnavailableError, match=r"no revision 'v1.1'") as caught:
        downloads.pull(hub.repo, revision="v1.1")
    assert "Did you mean v1.0?" in caught.value.hint


def test_an_unreachable_hub_is_reported(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server.serve(hub_server.Hub()) as gone:
        pass
    monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(ModelUnavailableError, match="cannot be reached") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 4
    assert "--offline" in caught.value.hint


def test_attempts_without_progress_are_limited(hub: hub_server.Hub) -> None:
    hub.cut_after = {UNET: 0}
    hub.cut_always = True
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        downloads.pull(hub.repo)
    assert len(hub.ranges(UNET)) == client.MAX_ATTEMPTS
    hub.cut_after = {}
    downloads.pull(hub.repo)


def test_requests_to_a_busy_hub_are_repeated(hub: hub_server.Hub) -> None:
    hub.status = [503, 429]
    downloads.pull(hub.repo)
    hub.status = [503] * 20
    with pytest.raises(ModelUnavailableError, match="returns status 503"):
        downloads.pull(hub.repo)


def test_a_rejected_token_is_reported(hub: hub_server.Hub) -> None:
    hub.status, hub.status_headers = [401], {"X-Error-Message": "Invalid credentials in Authorization header"}
    with pytest.raises(ModelUnavailableError, match="does not accept your access token"):
        downloads.pull(hub.repo)


def test_warnings_of_the_hub_are_not_printed(hub: hub_server.Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.status, hub.status_headers = [503], {"X-HF-Warning": "topic; \x1b[2Jmessage"}
    downloads.pull(hub.repo)
    assert capfd.readouterr() == ("", "")


def test_the_token_is_sent_and_not_printed(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    hub.gated = 403
    with pytest.raises(ModelUnavailableError) as caught:
        downloads.pull(hub.repo)
    assert any(authorization == "Bearer hf_verysecret" for *_, authorization in hub.requests)
    printed = f"{caught.value.message}{caught.value.hint}{''.join(capsys.readouterr())}"
    assert "verysecret" not in printed


def test_the_token_is_not_sent_to_other_hosts(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    hub.redirect = True
    hub.cut_after[UNET] = 100_000
    folder = downloads.pull(hub.repo)
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    requests = [request for request in hub.requests if request[1] == f"/cdn/{UNET}"]
    assert [(asked, token) for _, _, asked, token in requests] == [("", ""), ("bytes=100000-", "")]


def test_two_processes_download_each_file_once(hub: hub_server.Hub) -> None:
    script = f"from artgen.registry import hub; print(hub.pull({hub.repo!r}))"
    root = Path(downloads.__file__).parents[3]
    processes = [
        subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    folders = {process.communicate(timeout=100)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (folder,) = folders
    assert (Path(folder) / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == [""], "both processes downloaded the file"


def test_too_little_disk_space_is_detected_before_the_download(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10, used=9, free=1))
    with pytest.raises(OutputError, match=r"needs 0\.0 GB") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 74
    assert hub.downloads() == ["model_index.json"]


def test_a_download_is_resumed_after_the_disk_was_full(hub: hub_server.Hub) -> None:
    """Simulate a full disk with RLIMIT_FSIZE in another process."""
    script = (
        "import resource, signal, sys\nfrom artgen.registry import hub\nfrom artgen.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n"
        f"    hub.pull({hub.repo!r})\n"
        "except OutputError as error:\n"
        "    print(error.message); sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(downloads.__file__).parents[3],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 74, done.stderr
    assert "full" in done.stdout
    hub.requests.clear()
    downloads.pull(hub.repo)
    (requested_range,) = hub.ranges(UNET)
    assert requested_range.startswith("bytes=")
    assert int(requested_range[6:-1]) > 0


def test_an_unwritable_cache_raises_an_output_error(monkeypatch: pytest.MonkeyPatch, hub: hub_server.Hub) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(OutputError, match="Read-only"):
        downloads.pull(hub.repo)


def test_offline_mode_sends_no_request(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailableError, match="network is disabled"):
        registry.resolve_model(hub.repo, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailableError, match="network is disabled"):
        registry.resolve_model(hub.repo)
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE"):
        downloads.pull(hub.repo)
    assert hub.requests == []


def test_a_complete_model_is_resolved_without_requests(hub: hub_server.Hub) -> None:
    first = registry.resolve_model(hub.repo)
    assert (first.name, first.revision, first.variant, first.native_size) == (hub.repo, hub.commit, "fp16", (64, 64))
    assert first.model_hash() == hub_server.etag(UNET, hub.files[UNET])
    hub.requests.clear()
    assert registry.resolve_model(hub.repo) == first
    assert registry.resolve_model(f"{hub.repo}@{hub.commit}").path == first.path
    assert hub.requests == []


def test_offline_errors_contain_the_missing_file(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    (folder / UNET).unlink()
    with pytest.raises(ModelUnavailableError, match=r"incomplete on this computer \(missing unet/") as caught:
        registry.resolve_model(hub.repo, offline=True)
    assert f"artgen models pull {hub.repo}" in caught.value.hint


def test_a_tag_is_resolved_to_its_commit(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo, revision="v1.0")
    assert folder.name == hub.commit
    assert cache.resolve_commit(hub.repo, "v1.0") == hub.commit
    assert cache.resolve_commit(hub.repo, None) is None


def test_missing_fp16_weights_are_replaced_with_a_note(hub: hub_server.Hub) -> None:
    del hub.files[UNET]
    events: list[Event] = []
    folder = registry.download_model(registry.parse_reference(hub.repo), listener=events.append)
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert notes[0] == "'owner/tiny' has no fp16 safetensors of unet; the default variant is downloaded."
    assert notes[1].startswith("Downloading 'owner/tiny': ")
    assert (folder / "unet/diffusion_pytorch_model.safetensors").is_file()
    assert registry.resolve_model(hub.repo).variant == "fp16", "the other components have only fp16 weights"


def test_pickled_weights_are_rejected_and_not_downloaded(hub: hub_server.Hub) -> None:
    for name in [name for name in hub.files if name.startswith("unet/") and name.endswith(".safetensors")]:
        del hub.files[name]
    with pytest.raises(RefusedError, match="only Python pickles") as caught:
        downloads.pull(hub.repo)
    assert f"hf download {hub.repo}" in caught.value.hint
    assert "artgen models convert" in caught.value.hint
    assert hub.downloads() == ["model_index.json"]


def test_a_repository_without_a_pipeline_is_rejected(hub: hub_server.Hub) -> None:
    hub.files = {"model.safetensors": filled_bytes({"a": (1,)}), "README.md": b""}
    with pytest.raises(ModelUnavailableError, match="not in diffusers' layout") as caught:
        downloads.pull(hub.repo)
    assert "model.safetensors" in caught.value.hint


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "unet/../../x.json", "a\\..\\b"])
def test_file_names_outside_the_repository_are_rejected(hub: hub_server.Hub, name: str) -> None:
    hub.files[name] = b"{}"
    with pytest.raises(ModelUnavailableError, match="is not valid"):
        downloads.pull(hub.repo)


@pytest.mark.parametrize("commit", ["../../evil", "main", "F" * 40])
def test_invalid_commits_are_rejected(hub: hub_server.Hub, commit: str) -> None:
    hub.commit = commit
    with pytest.raises(ModelUnavailableError, match="is not valid"):
        downloads.pull(hub.repo)
    assert not list(cache.cache_folder().rglob("*"))


def test_only_complete_sets_of_shards_are_selected() -> None:
    def files(*names: str) -> list[RemoteFile]:
        return [RemoteFile(f"transformer/{name}", 1, "0" * 64, True) for name in names]

    index = {"transformer": ["diffusers", "SD3Transformer2DModel"]}
    default = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    fp16 = [f"diffusion_pytorch_model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
    indices = ["diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"]
    selected = select_files("a/b", files("config.json", *default, *fp16, *indices), index).files
    assert {f.name.partition("/")[2] for f in selected} == {"config.json", *fp16, indices[1]}
    selected = select_files("a/b", files("config.json", *default, fp16[0], *indices), index).files
    assert {f.name.partition("/")[2] for f in selected} == {"config.json", *default, indices[0]}
    with pytest.raises(ArtgenError, match="1 of 2 shards"):
        select_files("a/b", files("config.json", default[0]), index)


def test_removing_a_revision_keeps_files_of_other_revisions(hub: hub_server.Hub) -> None:
    first = downloads.pull(hub.repo)
    hub.commit = "f" * 40
    hub.files["unet/config.json"] += b" "
    second = downloads.pull(hub.repo)
    assert cache.resolve_commit(hub.repo, None) == "f" * 40
    assert cache.remove_model(hub.repo, first.name) == len(hub.files["unet/config.json"]) - 1
    assert not first.exists()
    assert (second / UNET).read_bytes() == hub.files[UNET]
    assert cache.remove_model(hub.repo) > 400_000
    assert not cache.repository_folder(hub.repo).exists()
    with pytest.raises(ModelUnavailableError):
        cache.remove_model(hub.repo)


def test_models_with_the_same_commit_are_removed_separately(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    copy = cache.repository_folder("owner/copy")
    shutil.copytree(cache.repository_folder(hub.repo), copy, symlinks=True)
    cache.remove_model("owner/copy", hub.commit)
    assert not copy.exists()
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_damaged_models_are_removed(hub: hub_server.Hub) -> None:
    """Remove a model with a broken link, which huggingface_hub does not list."""
    downloads.pull(hub.repo)
    unet_blob(hub).unlink()
    assert cache.remove_model(hub.repo) > 0
    assert not cache.repository_folder(hub.repo).exists()


def test_the_ref_is_readable_for_other_users(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    blob, ref = unet_blob(hub), cache.repository_folder(hub.repo) / "refs" / "main"
    assert ref.stat().st_mode == blob.stat().st_mode
