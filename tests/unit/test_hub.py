"""Downloads against a hub that cuts, lies, refuses and goes away; and the cache they leave behind."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_server
import pytest
from hub_server import NEEDED, UNET, safetensors, tiny_files

from artgen import registry
from artgen.errors import ArtgenError, ModelUnavailableError, OutputError, RefusedError
from artgen.registry import hub as downloads
from artgen.registry.hub import cache, client, download
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


def test_pull_takes_what_is_needed_and_nothing_else(hub: hub_server.Hub) -> None:
    heard: list[tuple[str, int, int]] = []
    folder = downloads.pull(hub.repo, on_progress=lambda *progress: heard.append(progress))
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == NEEDED
    assert sorted(hub.downloads()) == sorted(NEEDED)
    assert all((folder / name).read_bytes() == hub.files[name] for name in NEEDED)
    size = len(hub.files[UNET])
    assert (UNET, size, size) in heard
    assert not list(cache.cache_folder().rglob("*.incomplete"))


def test_the_cache_is_the_one_other_tools_read(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    found = try_to_load_from_cache(hub.repo, UNET, cache_dir=cache.cache_folder())
    assert found == str(folder / UNET)
    (repo,) = scan_cache_dir(cache.cache_folder()).repos
    assert repo.repo_id == hub.repo
    assert repo.refs.keys() == {"main"}


def test_huggingface_hub_reads_and_writes_beside_artgen(hub: hub_server.Hub) -> None:
    """Its own download of a file artgen has makes no request for the contents."""
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


def test_a_cut_connection_is_continued_where_it_broke(hub: hub_server.Hub) -> None:
    hub.cut_after[UNET] = 100_000
    folder = downloads.pull(hub.repo)
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == ["", "bytes=100000-"]


def test_a_killed_process_is_continued_by_another(hub: hub_server.Hub) -> None:
    """SIGKILL in the middle of a file: the next run asks for the missing bytes only."""
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
    have = unet_blob(hub).with_name(unet_blob(hub).name + ".incomplete").stat().st_size
    assert 0 < have < len(hub.files[UNET])
    assert cache.snapshot_folder(hub.repo) is None, "a name must not point at half a model"
    hub.requests.clear()
    hub.cut_after.clear()
    folder = downloads.pull(hub.repo)
    assert hub.ranges(UNET) == [f"bytes={have}-"]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_a_server_without_ranges_costs_a_new_start(hub: hub_server.Hub) -> None:
    hub.cut_after[UNET], hub.ignore_range = 100_000, True
    folder = downloads.pull(hub.repo)
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_a_truncated_file_is_named_and_completed_later(hub: hub_server.Hub) -> None:
    hub.instead[UNET] = hub.files[UNET][:50_000]
    with pytest.raises(ModelUnavailableError, match=r"fp16.safetensors of owner/tiny is truncated: 50000 of") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 4
    hub.instead.clear()
    hub.requests.clear()
    folder = downloads.pull(hub.repo)
    assert hub.ranges(UNET) == ["bytes=50000-"]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_wrong_bytes_are_refused_and_thrown_away(hub: hub_server.Hub) -> None:
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


def test_a_spoilt_partial_file_heals_itself(hub: hub_server.Hub) -> None:
    partial = unet_blob(hub).with_name(unet_blob(hub).name + ".incomplete")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"not what the hub sent")
    assert (downloads.pull(hub.repo) / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == ["bytes=21-", ""]


def test_force_replaces_only_what_is_damaged(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    data = bytearray(hub.files[UNET])
    data[1000] ^= 255
    unet_blob(hub).write_bytes(bytes(data))
    hub.requests.clear()
    downloads.pull(hub.repo)
    assert hub.downloads() == [], "without force, the length is enough"
    downloads.pull(hub.repo, force=True)
    assert hub.downloads() == [UNET]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


def test_a_truncated_blob_is_completed(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    with unet_blob(hub).open("r+b") as file:
        file.truncate(1234)
    hub.requests.clear()
    folder = downloads.pull(hub.repo)
    assert hub.ranges(UNET) == ["bytes=1234-"]
    assert (folder / UNET).read_bytes() == hub.files[UNET]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_what_to_do(hub: hub_server.Hub, status: int) -> None:
    hub.gated = status
    with pytest.raises(ModelUnavailableError, match="gated") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 4
    assert f"{hub.url}/owner/tiny" in caught.value.hint
    assert "hf auth login" in caught.value.hint
    hub.gated = 0
    downloads.pull(hub.repo)


def test_an_unknown_model_names_its_neighbours(hub: hub_server.Hub) -> None:
    downloads.pull(hub.repo)
    with pytest.raises(ModelUnavailableError, match="no model owner/tinny") as caught:
        downloads.pull("owner/tinny")
    assert "Did you mean owner/tiny?" in caught.value.hint


def test_an_unknown_revision_names_its_neighbours(hub: hub_server.Hub) -> None:
    with pytest.raises(ModelUnavailableError, match=r"no revision 'v1.1'") as caught:
        downloads.pull(hub.repo, revision="v1.1")
    assert "Did you mean v1.0?" in caught.value.hint


def test_a_hub_that_went_away(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server.serve(hub_server.Hub()) as gone:
        pass
    monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(ModelUnavailableError, match="cannot be reached") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 4
    assert "--offline" in caught.value.hint


def test_it_goes_away_in_the_middle(hub: hub_server.Hub) -> None:
    """Cut at each attempt and never a byte more: an error, and what came is kept."""
    hub.cut_after = {UNET: 0}
    hub.cut_always = True
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        downloads.pull(hub.repo)
    assert len(hub.ranges(UNET)) == client.MAX_ATTEMPTS
    hub.cut_after = {}
    downloads.pull(hub.repo)


def test_a_busy_hub_is_asked_again(hub: hub_server.Hub) -> None:
    hub.status = [503, 429]
    downloads.pull(hub.repo)
    hub.status = [503] * 20
    with pytest.raises(ModelUnavailableError, match="answers 503"):
        downloads.pull(hub.repo)


def test_the_token_is_sent_and_never_shown(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    hub.gated = 403
    with pytest.raises(ModelUnavailableError) as caught:
        downloads.pull(hub.repo)
    assert any(authorization == "Bearer hf_verysecret" for *_, authorization in hub.requests)
    shown = f"{caught.value.message}{caught.value.hint}{''.join(capsys.readouterr())}"
    assert "verysecret" not in shown


def test_large_files_come_from_another_host_without_the_token(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    hub.redirect = True
    hub.cut_after[UNET] = 100_000
    folder = downloads.pull(hub.repo)
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    elsewhere = [request for request in hub.requests if request[1] == f"/cdn/{UNET}"]
    assert [(asked, token) for _, _, asked, token in elsewhere] == [("", ""), ("bytes=100000-", "")]


def test_two_processes_pull_the_same_model(hub: hub_server.Hub) -> None:
    script = f"from artgen.registry import hub; print(hub.pull({hub.repo!r}))"
    root = Path(downloads.__file__).parents[3]
    both = [subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) for _ in "ab"]
    folders = {process.communicate(timeout=100)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (folder,) = folders
    assert (Path(folder) / UNET).read_bytes() == hub.files[UNET]
    assert hub.ranges(UNET) == [""], "one of them waited for the other"


def test_a_disk_too_small_is_found_before_the_download(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(OutputError, match=r"needs 0\.0 GB") as caught:
        downloads.pull(hub.repo)
    assert caught.value.exit_code == 74
    assert hub.downloads() == ["model_index.json"]


def test_a_disk_that_fills_up_keeps_what_came(hub: hub_server.Hub) -> None:
    """RLIMIT_FSIZE stands in for a full disk, in a process of its own."""
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
    (asked,) = hub.ranges(UNET)
    assert asked.startswith("bytes=")
    assert int(asked[6:-1]) > 0


def test_an_unwritable_cache_is_an_output_error(monkeypatch: pytest.MonkeyPatch, hub: hub_server.Hub) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="Read-only"):
        downloads.pull(hub.repo)


def test_offline_asks_nothing(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailableError, match="network is off"):
        registry.resolve_model(hub.repo, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailableError, match="network is off"):
        registry.resolve_model(hub.repo)
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE"):
        downloads.pull(hub.repo)
    assert hub.requests == []


def test_resolve_downloads_once_and_then_asks_nothing(hub: hub_server.Hub) -> None:
    first = registry.resolve_model(hub.repo)
    assert (first.name, first.revision, first.variant, first.native_size) == (hub.repo, hub.commit, "fp16", (64, 64))
    assert first.model_hash() == hub_server.etag(UNET, hub.files[UNET])
    hub.requests.clear()
    assert registry.resolve_model(hub.repo) == first
    assert registry.resolve_model(f"{hub.repo}@{hub.commit}").path == first.path
    assert hub.requests == []


def test_resolve_names_what_is_missing_offline(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo)
    (folder / UNET).unlink()
    with pytest.raises(ModelUnavailableError, match=r"incomplete on this computer \(missing unet/") as caught:
        registry.resolve_model(hub.repo, offline=True)
    assert f"artgen models pull {hub.repo}" in caught.value.hint


def test_a_revision_by_tag(hub: hub_server.Hub) -> None:
    folder = downloads.pull(hub.repo, revision="v1.0")
    assert folder.name == hub.commit
    assert cache.resolve_commit(hub.repo, "v1.0") == hub.commit
    assert cache.resolve_commit(hub.repo, None) is None


def test_fp16_falls_back_with_a_note(hub: hub_server.Hub) -> None:
    del hub.files[UNET]
    notes: list[str] = []
    folder = downloads.pull(hub.repo, on_note=notes.append)
    assert notes == ["owner/tiny has no fp16 safetensors of unet; the full ones are taken."]
    assert (folder / "unet/diffusion_pytorch_model.safetensors").is_file()
    assert registry.resolve_model(hub.repo).variant == "fp16", "the others have fp16 only"


def test_pickles_only_is_refused_and_not_downloaded(hub: hub_server.Hub) -> None:
    for name in [name for name in hub.files if name.startswith("unet/") and name.endswith(".safetensors")]:
        del hub.files[name]
    with pytest.raises(RefusedError, match="only as Python pickles"):
        downloads.pull(hub.repo)
    assert hub.downloads() == ["model_index.json"]


def test_a_repository_of_another_kind(hub: hub_server.Hub) -> None:
    hub.files = {"lora.safetensors": safetensors({"a": (1,)}), "README.md": b""}
    with pytest.raises(ModelUnavailableError, match="not a diffusers model") as caught:
        downloads.pull(hub.repo)
    assert "lora.safetensors" in caught.value.hint


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "unet/../../x.json", "a\\..\\b"])
def test_a_hub_cannot_write_outside_the_cache(hub: hub_server.Hub, name: str) -> None:
    hub.files[name] = b"{}"
    with pytest.raises(ModelUnavailableError, match="is not valid"):
        downloads.pull(hub.repo)


def test_shards_are_taken_whole_or_not_at_all() -> None:
    def files(*names: str) -> list[RemoteFile]:
        return [RemoteFile(f"transformer/{name}", 1, "0" * 64, True) for name in names]

    index = {"transformer": ["diffusers", "SD3Transformer2DModel"]}
    plain = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    half = [f"diffusion_pytorch_model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
    indices = ["diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"]
    chosen = select_files("a/b", files("config.json", *plain, *half, *indices), index).files
    assert {f.name.partition("/")[2] for f in chosen} == {"config.json", *half, indices[1]}
    chosen = select_files("a/b", files("config.json", *plain, half[0], *indices), index).files
    assert {f.name.partition("/")[2] for f in chosen} == {"config.json", *plain, indices[0]}
    with pytest.raises(ArtgenError, match="no weights"):
        select_files("a/b", files("config.json", plain[0]), index)


def test_remove_frees_what_no_other_revision_needs(hub: hub_server.Hub) -> None:
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
