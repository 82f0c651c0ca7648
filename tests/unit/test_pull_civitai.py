"""Test downloads from Civitai and other web servers: addresses, tokens, damaged answers, resuming, descriptions."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import pytest
import web_server
from command_line import run
from safetensors_files import filled_bytes
from web_server import TOKEN, Reply, WebServer, civitai_file, civitai_model, civitai_version, json_reply

from artgen import registry
from artgen.errors import RefusedError, UsageError
from artgen.registry.hub import cache, client, transfer
from artgen.registry.model_folders import own_folder
from artgen.registry.web.addresses import CivitaiSource, HubSource, WebSource, parse_source
from artgen.spec import config

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
LORA = filled_bytes({f"{LAYER}.lora_down.weight": (64, 768), f"{LAYER}.lora_up.weight": (1280, 64)})
VAE = filled_bytes({"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)})
UNKNOWN = filled_bytes({"something": (3, 3)})


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Run a server that is Civitai and a server of files. It has the model 12 with the versions 34 and 33."""
    monkeypatch.setattr(client, "sleep", lambda _: None)
    for name in ("CIVITAI_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with web_server.serve(WebServer()) as running:
        monkeypatch.setenv("CIVITAI_ENDPOINT", running.url)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        set_model(running)
        yield running


def set_model(
    web: WebServer,
    data: bytes = LORA,
    name: str = "fox.safetensors",
    *,
    model: dict[str, Any] | None = None,
    version: dict[str, Any] | None = None,
    **file: Any,
) -> None:
    """Set the answers for the model 12."""
    files = [civitai_file(f"{web.url}/api/download/models/34", name, data, **file)]
    versions = [civitai_version(34, files, **(version or {})), civitai_version(33, files)]
    web.replies["/api/v1/models/12"] = json_reply(civitai_model(12, versions, **(model or {})))
    web.replies["/api/v1/model-versions/33"] = json_reply({"id": 33, "modelId": 12})
    web.replies["/api/download/models/34"] = Reply(data)


def pull(name: str, code: int | None = 0, *options: str) -> Any:
    return run("models", "pull", name, *options, code=code)


def stored(kind: Any = "lora", name: str = "fox") -> tuple[Path, dict[str, Any]]:
    path = own_folder(kind) / f"{name}.safetensors"
    return path, json.loads(path.with_suffix(".artgen.json").read_text("utf-8"))


def test_a_lora_is_stored_with_license_and_trigger_words(web: WebServer) -> None:
    result = pull("civitai:12")
    path, description = stored()
    assert result.stdout == f"{path}\n"
    assert path.read_bytes() == LORA
    assert description["trigger_words"] == ["foxstyle", "red fur"]
    assert description["license"].startswith("Civitai (commercial use: Image; credit required")
    assert description["base_model"] == "SDXL 1.0"
    assert description["source"] == "civitai:12@34"
    assert "trigger_words: foxstyle, red fur" in run("info", str(path)).stdout
    for text in ("foxstyle, red fur", "commercial use: Image", "--lora fox`", "v34", "SDXL 1.0"):
        assert text in result.stderr
    assert not list(own_folder("lora").parent.rglob("*.incomplete"))


@pytest.mark.parametrize(
    "name", ["civitai:12@33", "civitai:12@V33", "urn:air:sdxl:lora:civitai:12@33", "CivitAI:12@33"]
)
def test_versions_are_selected_by_number_and_name(web: WebServer, name: str) -> None:
    pull(name)
    assert stored()[1]["source"] == "civitai:12@33"


@pytest.mark.parametrize(
    "path", ["/models/12", "/models/12/fox", "/models/12/fox?modelVersionId=33", "/de/models/12?modelVersionId=33",
             "/api/download/models/33", "/api/download/models/33?type=Model&format=SafeTensor"]
)  # fmt: skip
def test_addresses_of_pages_and_downloads(web: WebServer, path: str) -> None:
    pull(web.url + path)
    assert stored()[1]["source"] == ("civitai:12@33" if "33" in path else "civitai:12@34")


def test_a_second_pull_downloads_nothing(web: WebServer) -> None:
    pull("civitai:12")
    web.requests.clear()
    assert "downloaded already" in pull("civitai:12").stderr
    assert [path for _, path, _, _ in web.requests] == ["/api/v1/models/12"]


def test_force_replaces_a_damaged_file(web: WebServer) -> None:
    pull("civitai:12")
    path, _ = stored()
    path.write_bytes(LORA[:-1] + b"x")
    assert "is damaged" in pull("civitai:12", 0, "--force").stderr
    assert path.read_bytes() == LORA
    assert "downloaded already" in pull("civitai:12", 0, "--force").stderr


def test_verify_compares_with_the_hash_of_the_download(web: WebServer) -> None:
    pull("civitai:12")
    run("models", "verify", "fox")
    path, _ = stored()
    path.write_bytes(LORA[:-1] + b"x")
    assert "fox" in run("models", "verify", "fox", code=5).stdout


def test_list_show_path_and_remove_take_stored_files(web: WebServer) -> None:
    pull("civitai:12")
    path, _ = stored()
    assert any(line.startswith("fox ") for line in run("models", "list").stdout.splitlines())
    rows = [json.loads(line) for line in run("models", "list", "--json").stdout.splitlines()]
    assert next(row for row in rows if row["name"] == "fox")["license"].startswith("Civitai (")
    shown = run("models", "show", "fox").stdout
    assert "trigger words: foxstyle, red fur" in shown
    assert run("models", "path", "fox").stdout == f"{path}\n"
    run("models", "remove", "fox", "--yes")
    assert not path.exists()
    assert not path.with_suffix(".artgen.json").exists()


def test_the_token_is_sent_to_civitai_only(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    web.replies["/api/download/models/34"] = Reply(status=307, headers={"Location": f"{web.other_host}/cdn?sig=abc"})
    web.replies["/cdn"] = Reply(LORA, headers={"ETag": '"1"'})
    result = pull("civitai:12")
    assert web.tokens() == {"127.0.0.1": {f"Bearer {TOKEN}"}, "localhost": {""}}
    assert TOKEN not in result.output + json.dumps(stored()[1])


def test_the_token_is_not_sent_to_another_port(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    with web_server.serve(WebServer({"/cdn": Reply(LORA)})) as other:
        web.replies["/api/download/models/34"] = Reply(status=302, headers={"Location": f"{other.url}/cdn"})
        pull("civitai:12")
        assert other.tokens() == {"127.0.0.1": {""}}


def test_the_token_is_not_sent_to_a_download_address_of_another_host(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    set_model(web, downloadUrl=f"{web.other_host}/api/download/models/34")
    pull("civitai:12")
    assert web.tokens()["localhost"] == {""}


def test_the_token_comes_back_to_no_host_after_a_redirect(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    web.replies["/api/download/models/34"] = Reply(status=302, headers={"Location": f"{web.other_host}/a"})
    web.replies["/a"] = Reply(status=302, headers={"Location": f"{web.url}/cdn"})
    web.replies["/cdn"] = Reply(LORA)
    pull("civitai:12")
    assert {token for _, path, token, _ in web.requests if path == "/cdn"} == {""}


def test_the_token_of_the_config_is_used_and_hidden(web: WebServer) -> None:
    assert TOKEN not in run("config", "set", "civitai_token", TOKEN).output
    run("config", "set", "steps", "20")
    assert config.user_config_file().stat().st_mode & 0o777 == 0o600
    pull("civitai:12")
    assert web.tokens() == {"127.0.0.1": {f"Bearer {TOKEN}"}}
    for options in ((), ("--json",)):
        output = run("config", "show", *options).output
        assert TOKEN not in output
        assert "civitai_token" in output


def test_tokens_of_variables_are_hidden(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_CIVITAI_TOKEN", TOKEN)
    pull("civitai:12")
    assert web.tokens() == {"127.0.0.1": {f"Bearer {TOKEN}"}}
    assert TOKEN not in run("config", "show").output + run("doctor").output


def test_tokens_in_addresses_are_not_used_and_not_printed(web: WebServer) -> None:
    result = pull(f"{web.url}/api/download/models/33?token={TOKEN}")
    assert "token in the address is not used" in result.stderr
    assert TOKEN not in result.output + json.dumps(stored()[1])
    assert not any(TOKEN in path for _, path, _, _ in web.requests)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut", "x" * 5000])
def test_invalid_tokens_are_usage_errors(web: WebServer, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", token)
    assert token not in pull("civitai:12", 2).output
    assert not web.requests


API, GET = "/api/v1/models/12", "/api/download/models/34"
DENIED = {
    "unknown model": (API, Reply(b'{"error":"No model with id 12"}', 404), 4, "Cannot find"),
    "log in": (GET, Reply(b"{}", 401), 4, "CIVITAI_TOKEN"),
    "early access": (GET, Reply(b"{}", 403), 4, "requires that you log in"),
    "deleted": (GET, Reply(b"", 404), 4, "Cannot find"),
    "busy": (API, Reply(b"", 429), 4, "429"),
    "server error": (GET, Reply(b"", 500), 4, "500"),
    "teapot": (API, Reply(b"", 418), 4, "418"),
    "web page": (GET, Reply(b"<html>", headers={"Content-Type": "text/html; charset=x"}), 4, "web page"),
    "untyped web page": (GET, Reply(b"\n<!doctype html><html>", 200), 4, "web page"),
    "text": (GET, Reply(b"Too many requests today", 200), 4, "safetensors"),
    "empty": (GET, Reply(b"", 200), 4, "safetensors"),
    "pickle": (GET, Reply(b"PK\x03\x04" + bytes(99), 200), 5, "pickle"),
    "redirect loop": (GET, Reply(b"", 302, {"Location": GET}), 4, "redirects more"),
    "redirect to ftp": (GET, Reply(b"", 302, {"Location": "ftp://x/y"}), 4, "redirects to"),
    "redirect to http": (GET, Reply(b"", 302, {"Location": "http://example.com/x"}), 4, "redirects to"),
    "redirect of the API": (API, Reply(b"", 302, {"Location": "http://localhost:1/"}), 4, "redirects to"),
    "huge": (GET, Reply(LORA, 200, {"Content-Length": "900000000000000"}), 74, "GB left"),
    "enormous": (GET, Reply(LORA, 200, {"Content-Length": "9" * 16}), 4, "bytes"),
    "absurd size": (GET, Reply(LORA, 200, {"Content-Length": "9" * 40}), 4, "Civitai"),
    "no size": (GET, Reply(LORA, 200, {"Content-Length": None, "Connection": "close"}), 4, "size"),
    "compressed": (GET, Reply(LORA, 200, {"Content-Encoding": "gzip"}), 4, "size"),
    "truncated": (GET, Reply(LORA, cut_after=1000, has_ranges=False), 4, "truncated"),
    "other content": (GET, Reply(LORA[:-1] + b"x"), 5, "wrong hash"),
    "not JSON": (API, Reply(b"<html>"), 4, "not valid"),
    "list": (API, json_reply([]), 4, "not valid"),
    "nested": (API, Reply(b"[" * 100_000), 4, "not valid"),
    "no versions": (API, json_reply(civitai_model(12, [])), 4, "no published version"),
    "wrong types": (API, json_reply({"modelVersions": 3, "name": []}), 4, "not valid"),
}  # fmt: skip


@pytest.mark.parametrize("name", DENIED)
def test_refusals_of_the_server_are_one_sentence(web: WebServer, name: str) -> None:
    path, reply, code, text = DENIED[name]
    web.replies[path] = reply
    result = pull("civitai:12", code)
    assert text in result.stderr
    assert result.stdout == ""
    assert not own_folder("lora").exists()


def test_wrong_tokens_are_named_as_the_reason(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    web.replies["/api/download/models/34"] = Reply(b"{}", 401)
    result = pull("civitai:12", 4)
    assert "does not accept your access token" in result.stderr
    assert TOKEN not in result.output


FILES: dict[str, tuple[dict[str, Any], int, str]] = {
    "only a pickle": ({"name": "fox.ckpt"}, 5, "artgen models convert 'fox.ckpt'"),
    "a zip file": ({"name": "fox.zip"}, 4, "no file that artgen reads"),
    "training data": ({"type": "Training Data"}, 4, "no file that artgen reads"),
    "malicious": ({"virusScanResult": "Danger"}, 5, "malicious"),
    "negative size": ({"sizeKB": -5}, 4, "not valid"),
    "no address": ({"downloadUrl": None}, 4, "cannot be downloaded"),
    "file address": ({"downloadUrl": "file:///etc/passwd"}, 4, "not encrypted"),
    "broken address": ({"downloadUrl": "http://[::1"}, 4, "not valid"),
    "unencrypted address": ({"downloadUrl": "http://example.com/x"}, 4, "not encrypted"),
    "wrong hash": ({"hashes": {"SHA256": "0" * 64}}, 5, "wrong hash"),
}


@pytest.mark.parametrize("name", FILES)
def test_unusable_files_are_refused(web: WebServer, name: str) -> None:
    fields, code, text = FILES[name]
    set_model(web, **{"name": "fox.safetensors", **fields})
    assert text in pull("civitai:12", code).stderr


def test_types_without_use_and_restricted_models_are_refused(web: WebServer) -> None:
    set_model(web, model={"type": "Workflows"})
    assert "'Workflows'" in pull("civitai:12", 4).stderr
    set_model(web, version={"usageControl": "Generation"})
    assert "only use on the website" in pull("civitai:12", 4).stderr
    assert "/api/download/models/34" not in [path for _, path, _, _ in web.requests]


def test_early_access_is_noted(web: WebServer) -> None:
    set_model(web, version={"availability": "EarlyAccess", "earlyAccessEndsAt": "2027-01-01T00:00:00Z"})
    assert "early access until 2027-01-01" in pull("civitai:12").stderr


def test_versions_of_other_models_are_refused(web: WebServer) -> None:
    result = pull("civitai:12@99", 4)
    assert "has no version '99'" in result.stderr
    assert "34 (v34), 33 (v33)" in result.stderr


def test_the_safetensors_file_is_preferred_to_a_primary_pickle(web: WebServer) -> None:
    url = f"{web.url}/api/download/models/34"
    files = [civitai_file(f"{url}?pickle", "fox.ckpt", b"x"), civitai_file(url, "fox.safetensors", LORA, primary=False)]
    web.replies["/api/v1/models/12"] = json_reply(civitai_model(12, [civitai_version(34, files)]))
    assert "main file is a pickle" in pull("civitai:12").stderr
    assert stored()[0].read_bytes() == LORA


def test_the_address_selects_a_file_of_the_version(web: WebServer) -> None:
    web.replies["/full"], web.replies["/pruned"] = Reply(VAE), Reply(LORA)
    full = civitai_file(f"{web.url}/full", "full.safetensors", VAE, metadata={"format": "SafeTensor", "size": "full"})
    pruned = civitai_file(f"{web.url}/pruned", "pruned.safetensors", LORA, primary=False)
    web.replies["/api/v1/models/12"] = json_reply(civitai_model(12, [civitai_version(33, [full, pruned])]))
    pull(f"{web.url}/api/download/models/33?type=Model&format=SafeTensor&size=pruned&fp=fp16")
    assert (own_folder("lora") / "pruned.safetensors").exists()


@pytest.mark.parametrize(
    ("model_type", "data", "kind"),
    [("LORA", UNKNOWN, "lora"), ("DoRA", LORA, "lora"), ("VAE", VAE, "vae"), ("TextualInversion", UNKNOWN, "embedding"),
     ("Controlnet", UNKNOWN, "controlnet"), ("Upscaler", UNKNOWN, "upscaler"), ("Checkpoint", UNKNOWN, "model"),
     ("Checkpoint", LORA, "lora")],
)  # fmt: skip
def test_content_or_else_type_selects_the_folder(web: WebServer, model_type: str, data: bytes, kind: Any) -> None:
    set_model(web, data, model={"type": model_type})
    pull("civitai:12")
    assert stored(kind)[0].read_bytes() == data


def test_files_of_the_same_name_get_the_number_of_the_version(web: WebServer) -> None:
    pull("civitai:12")
    set_model(web, VAE + b"", "fox.safetensors", model={"type": "LORA"})
    other = filled_bytes({"lora_unet_x.lora_down.weight": (5, 5)})
    set_model(web, other)
    pull("civitai:12")
    assert stored()[0].read_bytes() == LORA
    assert stored(name="fox-34")[0].read_bytes() == other


@pytest.mark.parametrize(
    ("name", "expected"),
    [("../../evil.safetensors", "evil"), ("a/b\\c.safetensors", "c"), ("..\\x.safetensors", "x"),
     ("a\x1b[31m\u202eb.safetensors", "a_[31m_b"), ("-rf.safetensors", "rf"), (".hidden.safetensors", "hidden"),
     ("NUL.safetensors", "_NUL"), ("x" * 400 + ".safetensors", "x" * 170), ("My Fox (v2).safetensors", "My-Fox-(v2)")],
)  # fmt: skip
def test_names_stay_in_the_folder(web: WebServer, name: str, expected: str) -> None:
    web.replies["/api/v1/models/12"] = json_reply(
        civitai_model(12, [civitai_version(34, [civitai_file(f"{web.url}/api/download/models/34", name, LORA)])])
    )
    pull("civitai:12")
    names = [path.name for path in own_folder("lora").iterdir() if path.suffix == ".safetensors"]
    assert len(names) == 1
    assert names[0].startswith(expected[:170])
    assert names[0].endswith(".safetensors")
    assert len(names[0]) < 230


def test_an_interrupted_download_is_resumed(web: WebServer) -> None:
    url = "/api/download/models/34"
    cut = Reply(LORA, cut_after=len(LORA) // 2)
    web.replies[url] = [Reply(LORA), cut, Reply(status=404)]
    pull("civitai:12", 4)
    web.replies[url] = Reply(LORA)
    web.requests.clear()
    pull("civitai:12")
    assert stored()[0].read_bytes() == LORA
    ranges = [byte_range for _, path, _, byte_range in web.requests if path == url]
    assert ranges == ["", f"bytes={len(LORA) // 2}-"]


def test_slow_servers_are_left_in_bounded_time(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ANSWER_SECONDS", 0.3)

    def stall(handler: Any) -> None:
        time.sleep(1)

    web.replies["/api/v1/models/12"] = stall
    assert "is too slow" in pull("civitai:12", 4).stderr


def test_a_checkpoint_is_found_by_its_name_with_its_license(web: WebServer) -> None:
    text = (Path(__file__).parents[1] / "helpers" / "single_file_headers.json").read_text("utf-8")
    data = json.loads(text)
    entry = next(entry for entry in data["files"] if "refused" not in entry["verdict"])
    tensors = {name: shape for each in entry["tensors"] for name, shape in data["tensor_sets"][each].items()}
    shapes = {name: tuple(map(int, shape.split("x"))) if shape else () for name, shape in sorted(tensors.items())}
    set_model(web, filled_bytes(shapes), "dream.safetensors", model={"type": "Checkpoint"})
    assert "Use it with `-m dream`" in pull("civitai:12").stderr
    for name in ("dream", "civitai:12", "civitai:12@34", "https://civitai.com/models/12"):
        model = registry.resolve_model(name, offline=True)
        assert model.path == stored("model", "dream")[0]
        assert model.license.startswith("Civitai (")
        assert model.description == "Fox Style v34"
    assert "base model: SDXL 1.0" in run("models", "show", "dream").stdout
    run("models", "verify", "dream")


def test_offline_mode_refuses(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "network is disabled" in pull("civitai:12", 4).stderr
    assert "network is disabled" in pull(f"{web.other_host}/a.safetensors", 4).stderr
    assert not web.requests


def test_a_file_of_a_web_server_is_stored_by_its_content(web: WebServer) -> None:
    web.replies["/files/my-vae.safetensors"] = Reply(VAE)
    result = pull(f"{web.other_host}/files/my-vae.safetensors?signature={TOKEN}#part")
    path, description = stored("vae", "my-vae")
    assert path.read_bytes() == VAE
    assert description["source"] == f"{web.other_host}/files/my-vae.safetensors"
    assert TOKEN not in result.output + json.dumps(description)
    assert any(TOKEN in path for _, path, _, _ in web.requests)


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [('attachment; filename="../../fox.safetensors"', "fox"),
     ("attachment; filename*=UTF-8''f%C3%B6x.safetensors", "föx"),
     ("attachment; filename=fox.safetensors", "fox"), ("attachment", "v1.5"), ('filename="', "v1.5"),
     ("attachment; filename*=nonsense''a%FFb.safetensors", None)],
)  # fmt: skip
def test_names_of_content_disposition(web: WebServer, disposition: str, expected: str | None) -> None:
    web.replies["/get/v1.5"] = Reply(LORA, headers={"Content-Disposition": disposition})
    pull(f"{web.other_host}/get/v1.5")
    names = [path.name for path in own_folder("lora").iterdir() if path.suffix == ".safetensors"]
    assert len(names) == 1
    assert expected is None or names == [f"{expected}.safetensors"]


def test_a_pickle_of_a_web_server_is_refused(web: WebServer) -> None:
    web.replies["/get"] = Reply(b"\x80\x02x", headers={"Content-Disposition": "attachment; filename=fox.pt"})
    assert "artgen models convert 'fox.pt'" in pull(f"{web.other_host}/get", 5).stderr
    assert "artgen models convert 'x.ckpt'" in pull(f"{web.other_host}/x.ckpt", 5).stderr
    assert "/x.ckpt" not in [path for _, path, _, _ in web.requests]


def test_changed_files_are_not_resumed(web: WebServer) -> None:
    other = filled_bytes({"lora_unet_x.lora_down.weight": (300, 1001)})
    headers: dict[str, str | None] = {"ETag": '"1"'}
    replies = [Reply(LORA, headers=headers), Reply(LORA, headers=headers, cut_after=90_000), Reply(status=404)]
    web.replies["/a.safetensors"] = replies
    pull(f"{web.other_host}/a.safetensors", 4)
    web.replies["/a.safetensors"] = Reply(other, headers={"ETag": '"2"'})
    pull(f"{web.other_host}/a.safetensors")
    assert stored(name="a")[0].read_bytes() == other


def test_damaged_safetensors_files_are_refused_and_deleted(web: WebServer) -> None:
    web.replies["/a.safetensors"] = Reply(LORA[:-4])
    assert "truncated" in pull(f"{web.other_host}/a.safetensors", 5).stderr
    web.replies["/b.safetensors"] = Reply(UNKNOWN)
    assert "not a checkpoint" in pull(f"{web.other_host}/b.safetensors", 4).stderr
    web.replies["/c.safetensors"] = Reply(filled_bytes({"1280.0.linear1.weight": (3, 3)}))
    assert "a hypernetwork" in pull(f"{web.other_host}/c.safetensors", 4).stderr
    assert len(web.requests) == 3, "only the headers are requested"
    assert not list(own_folder("lora").parent.rglob("*.incomplete"))


ADDRESSES: dict[str, Any] = {
    "civitai:4384@128713": CivitaiSource(4384, "128713"),
    "civitai:4384": CivitaiSource(4384, None),
    "urn:air:sd1:checkpoint:civitai:4384@128713": CivitaiSource(4384, "128713"),
    "https://civitai.com/models/4384/dreamshaper?modelVersionId=128713": CivitaiSource(4384, "128713"),
    "https://civitai.red/models/4384": CivitaiSource(4384, None),
    "civitai.com/models/4384": CivitaiSource(4384, None),
    "https://www.civitai.com/api/download/models/128713?type=Model": CivitaiSource(None, "128713", {"type": "Model"}),
    "https://huggingface.co/owner/name": HubSource("owner/name", None, None),
    "https://huggingface.co/owner/name/tree/main": HubSource("owner/name", None, None),
    "https://hf.co/owner/name/tree/v1": HubSource("owner/name", "v1", None),
    "huggingface.co/owner/name": HubSource("owner/name", None, None),
    "https://huggingface.co/o/n/blob/main/a/b%20c.sft?download=true": HubSource("o/n", None, "a/b c.sft"),
    "https://huggingface.co/o/n/resolve/refs%2Fpr%2F1/x.safetensors": HubSource("o/n", "refs/pr/1", "x.safetensors"),
    "https://example.com/a.sft?x=1": WebSource("https://example.com/a.sft?x=1", "https://example.com/a.sft"),
    "sd15": None,
    "owner/name": None,
    "./folder": None,
    "C:\\models\\x.safetensors": None,
}  # fmt: skip


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_are_interpreted(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CIVITAI_ENDPOINT", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert parse_source(text) == ADDRESSES[text]


@pytest.mark.parametrize(
    "text",
    ["civitai:", "civitai:abc", "civitai:1@", "civitai:1@2@3", "civitai:-5", "civitai:1/2", "urn:air:x:civitai:",
     "https://civitai.com/", "https://civitai.com/user/someone", "https://civitai.com/images/5",
     "https://civitai.com/models/12?modelVersionId=abc", "https://huggingface.co/", "https://huggingface.co/owner",
     "https://huggingface.co/datasets/owner/name", "https://huggingface.co/o/n/blob/main/readme.md",
     "https://huggingface.co/../x", "http://example.com/a.safetensors", "ftp://example.com/a.safetensors",
     "file:///etc/passwd", "s3://bucket/a.safetensors", "https://", "https://[::1", "https://a:b@example.com/a.safetensors",
     "https://example.com:99999/a.safetensors", "https://exa mple.com/a.safetensors", "https://example.com/a.zip",
     "https://example.com/a\x00.safetensors", "https://" + "a" * 9000],
)  # fmt: skip
def test_unusable_addresses_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert caught.value.hint
    assert "a:b" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["https://example.com/a.ckpt", "https://huggingface.co/o/n/blob/main/a.bin", "https://example.com/A.PTH?x"]
)
def test_addresses_of_pickles_are_refused(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_source(text)
    assert "artgen models convert" in caught.value.hint


def test_endpoints_without_encryption_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_ENDPOINT", "http://example.com")
    assert "not encrypted" in pull("civitai:12", 2).stderr


def test_endpoints_with_a_password_are_refused_without_printing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_ENDPOINT", "https://ada:secret@example.com")
    result = pull("civitai:12", 2)
    assert "user name or a password" in result.stderr
    assert "secret" not in result.stderr


def test_files_that_differ_only_in_the_suffix_have_their_own_descriptions(web: WebServer) -> None:
    own_folder("lora").mkdir(parents=True)
    other = own_folder("lora") / "fox.gguf"
    other.write_bytes(b"GGUF")
    other.with_suffix(".artgen.json").write_text('{"source": "mine"}')
    pull("civitai:12")
    assert stored(name="fox-34")[1]["source"] == "civitai:12@34"
    assert json.loads(other.with_suffix(".artgen.json").read_text()) == {"source": "mine"}


def test_files_of_linked_folders_are_not_deleted(web: WebServer, tmp_path: Path) -> None:
    outside = tmp_path / "comfy"
    outside.mkdir()
    (outside / "mine.safetensors").write_bytes(LORA)
    own_folder("lora").mkdir(parents=True)
    (own_folder("lora") / "linked").symlink_to(outside)
    assert "not downloaded by artgen" in run("models", "remove", "mine.safetensors", "--yes", code=2).stderr
    assert (outside / "mine.safetensors").is_file()


@pytest.mark.parametrize("option", ["-m", "--lora"])
def test_addresses_as_models_name_the_command(web: WebServer, option: str) -> None:
    for name in ("civitai:12", "https://civitai.com/models/12", "https://example.com/a.safetensors"):
        result = run("txt2img", "x", option, name, code=None)
        assert result.exit_code in (3, 4)
        assert f"artgen models pull {parse_source(name).name}" in result.stderr  # type: ignore[union-attr]
    pull("civitai:12@34")
    assert "models pull" not in run("txt2img", "x", "--lora", "civitai:12@34", code=None).stderr


def test_addresses_of_the_hub_use_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server.serve(hub_server.Hub({**hub_server.tiny_files(), "lora/fox.safetensors": LORA})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        result = pull(f"{hub.url}/{hub.repo}/blob/main/lora/fox.safetensors")
        path = Path(result.stdout.strip())
        assert path.read_bytes() == LORA
        assert path.is_relative_to(cache.repository_folder(hub.repo))
        assert f"--lora {path}" in result.stderr
        assert {token for _, _, _, token in hub.requests} == {f"Bearer {TOKEN}"}
        assert hub.repo in pull(f"{hub.url}/{hub.repo}/tree/v1.0").stdout.replace("--", "/")
        assert "does not contain" in pull(f"{hub.url}/{hub.repo}/resolve/main/x.safetensors", 4).stderr
