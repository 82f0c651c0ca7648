"""Test the verification of signed files: flipped bits, removed and replaced manifests, trust, and damaged files."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import run, save_trained_lora
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny_signatures import KINDS, RECORD, encoded, signed

import artgen
from artgen.errors import ArtgenError, InputFileError
from artgen.metadata.content_credentials.create_key import create_signing_key
from artgen.metadata.content_credentials.keys import AUTHORITY_NAME, SigningKey
from artgen.metadata.content_credentials.manifest import INPUT, Parent
from artgen.metadata.content_credentials.manifest_store import find_manifest_store, manifests
from artgen.metadata.content_credentials.reading import TrustAnchors, Verification, Verifier
from artgen.metadata.content_credentials.signing import sign_image
from artgen.system.optional_packages import installed_version

pytest.importorskip("c2pa")

NUM_FLIPS = 40
"""Number of flipped bits per format; the distance is odd, so that the flips reach all parts of the file."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("key")


@pytest.fixture(scope="module")
def key(folder: Path) -> SigningKey:
    return create_signing_key(folder, signer="Ada")


@pytest.fixture(scope="module")
def verifier(key: SigningKey, folder: Path) -> Verifier:
    return Verifier(TrustAnchors(own=(folder / AUTHORITY_NAME).read_text()))


def outcome(verifier: Verifier, data: bytes) -> Verification | None:
    """Return the verification; None for an unreadable file."""
    try:
        return verifier.verify(data, "x")
    except InputFileError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_detected_or_change_nothing(kind: str, key: SigningKey, verifier: Verifier) -> None:
    data = signed(kind, key)
    whole = verifier.verify(data, "x")
    assert (whole.state, whole.trust, whole.problems) == ("valid", "own", ())
    store = find_manifest_store(data)
    assert store is not None
    states = set()
    for position in range(1, len(data), len(data) // NUM_FLIPS | 1):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        found = outcome(verifier, bytes(changed))
        states.add(found and found.state)
        if find_manifest_store(bytes(changed)) == store and found is not None:
            assert found.state in ("changed", "invalid"), position
        elif found is not None and found.is_valid:  # headers and padding of the manifest, which have no content
            assert found.manifest == whole.manifest, position
    assert {"changed", "invalid"} <= states


def set_pixel(data: bytes) -> bytes:
    """Change a byte of the compressed pixels of a PNG, without its checksum."""
    at = data.index(b"IDAT") + 40
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def replace_text(data: bytes) -> bytes:
    return data.replace(b"a secret fox", b"a public fox")


def add_text(data: bytes) -> bytes:
    body = b"tEXtComment\0hello"
    at = data.index(b"IDAT") - 4
    return data[:at] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[at:]


def replace_model(data: bytes) -> bytes:
    store = find_manifest_store(data) or b""
    return data.replace(store, store.replace(b"ab" * 32, b"ba" * 32))


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "pixels": (set_pixel, "changed", "The file was changed after signing: the pixels."),
    "record": (replace_text, "changed", "the text 'artgen' (changed), the text 'parameters' (changed)."),
    "new text": (add_text, "changed", "The file was changed after signing: the text 'Comment' (added)."),
    "model in the manifest": (replace_model, "invalid", "The C2PA manifest was changed after signing."),
    "source type": (lambda data: data.replace(b"compositeWith", b"compositeWIth"), "invalid", "manifest was changed"),
    "truncated": (lambda data: data[:-40], "invalid", "damaged or truncated"),
    "truncated in the manifest": (lambda data: data[: data.index(b"caBX") + 900], "invalid", "damaged or truncated"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_named(name: str, key: SigningKey, verifier: Verifier) -> None:
    change, state, text = CHANGES[name]
    before = signed("png", key)
    after = change(before)
    assert after != before
    found = verifier.verify(after, "x")
    assert found.state == state
    assert text in " ".join(found.problems)


def test_a_replaced_parent_is_detected(key: SigningKey, verifier: Verifier) -> None:
    parents = [sign_image(encoded("png", color), "png", {}, (), key) for color in ("red", "blue")]
    children = [sign_image(encoded("png"), "png", RECORD, [Parent("a.png", each)], key) for each in parents]
    found = verifier.verify(children[0], "x")
    assert found.manifest is not None
    assert [each.title for each in found.manifest.ingredients] == ["a.png"]
    assert found.manifest.chain_length == 2
    stores = [manifests(find_manifest_store(each) or b"") for each in children]
    assert len(stores[0][0]) == len(stores[1][0])
    replaced = verifier.verify(children[0].replace(stores[0][0], stores[1][0]), "x")
    assert replaced.state == "invalid"
    assert "The manifest of an input image was removed or replaced." in replaced.problems


def test_an_input_that_was_changed_after_its_signing_is_named(key: SigningKey, tmp_path: Path) -> None:
    parents = [Parent(f"{number}.png", data, INPUT) for number, data in enumerate(
        (signed("png", key), set_pixel(signed("png", key)), replace_model(signed("png", key)), encoded("png"))
    )]  # fmt: skip
    file = tmp_path / "a.png"
    file.write_bytes(sign_image(encoded("png"), "png", RECORD, parents, key))
    assert [each.state for each in artgen.verify(file).inputs] == ["valid", "changed", "invalid", "missing"]
    text = run("verify", str(file), code=5).stdout  # the manifest of an input is not valid
    assert "<- input '1.png' (signed by 'Ada', artgen" in text
    assert text.count("; changed after it was signed)") == text.count("its certificate was not valid)") == 1


def test_a_removed_manifest_is_reported(key: SigningKey, tmp_path: Path) -> None:
    for name, record in (("signed.png", {**RECORD, "signed_with": key.sha256}), ("unsigned.png", RECORD)):
        info = PngInfo()
        info.add_text("artgen", json.dumps(record))
        Image.new("RGB", (8, 8)).save(tmp_path / name, pnginfo=info)
    found = [artgen.verify(tmp_path / name) for name in ("signed.png", "unsigned.png")]
    assert [each.state for each in found] == ["missing", "missing"]
    assert "was removed" in found[0].problems[0]
    assert found[1].problems == ("The file has no C2PA manifest.",)
    own = sign_image((tmp_path / "signed.png").read_bytes(), "png", RECORD, (), key)
    (tmp_path / "truncated.png").write_bytes(own[:-20])
    truncated = artgen.verify(tmp_path / "truncated.png")
    assert (truncated.state, truncated.trust) == ("invalid", "")
    assert "damaged or truncated" in truncated.problems[0]


def test_trust_depends_on_the_known_authorities(key: SigningKey, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(signed("png", key))
    found = artgen.verify(file)
    assert (found.state, found.trust, found.signer) == ("valid", "unknown", "Ada")
    assert artgen.verify(file, trust_list=folder / AUTHORITY_NAME).trust == "trusted"
    create_signing_key(tmp_path / "other")
    assert artgen.verify(file, trust_list=tmp_path / "other" / AUTHORITY_NAME).trust == "unknown"
    run("config", "set", "trust_list", str(folder / AUTHORITY_NAME))
    assert artgen.verify(file).trust == "trusted"
    for content in ("hello", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
        (tmp_path / "bad.pem").write_text(content)
        with pytest.raises(ArtgenError, match=r"trust list|trusted certificates"):
            artgen.verify(file, trust_list=tmp_path / "bad.pem")
    with pytest.raises(InputFileError, match="does not exist"):
        artgen.verify(file, trust_list=tmp_path / "missing.pem")


def test_verify_command(key: SigningKey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (("good/a.png", signed("png", key)), ("bad/b.jpg", signed("jpeg", key)[:-9] + b"123456789")):
        Path(name).parent.mkdir()
        Path(name).write_bytes(data)
    Path("empty.png").touch()
    assert "good/a.png: valid\n  Signed by 'Ada'" in run("verify", "good").stdout
    assert run("verify", "good", "-q").stdout == ""
    result = run("verify", "good", "bad", "--json", code=5)
    values: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["file"], each["state"]) for each in values] == [("good/a.png", "valid"), ("bad/b.jpg", "changed")]
    assert "'empty.png' is empty" in run("verify", "good", "empty.png", code=3).stderr
    assert run("verify", "-", input=Path("good/a.png").read_bytes()).stdout.startswith("-: valid")
    text = run("info", "good/a.png").stdout
    assert "credentials.state: valid\ncredentials.trust: unknown\ncredentials.signer: Ada\n" in text
    Image.new("RGB", (8, 8)).save("plain.png")
    Path("only.png").write_bytes(sign_image(Path("plain.png").read_bytes(), "png", {}, (), key))
    assert json.loads(run("info", "only.png", "--json").stdout)["source"] == "c2pa"
    run("info", "plain.png", code=3)


def test_datasheets_of_loras_are_verified(tmp_path: Path) -> None:
    import hashlib

    path, sheet = tmp_path / "oil.safetensors", tmp_path / "oil.datasheet.json"
    save_trained_lora(path, datasheet_sha256=hashlib.sha256(b"{}").hexdigest())
    assert artgen.verify(path).state == "unchecked"
    sheet.write_text("{}")
    assert artgen.verify(path).state == "valid"
    assert "Licenses: CC0-1.0 (2)." in run("verify", str(path)).stdout
    sheet.write_text("{ }")
    assert "was changed after the training" in run("verify", str(path), code=5).stdout
    header = b'{"__metadata__": {}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert artgen.verify(path).state == "missing"


def test_verification_needs_its_package(key: SigningKey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(signed("png", key))

    def version(package: str) -> str | None:
        return None if package == "c2pa-python" else installed_version(package)

    monkeypatch.setattr("artgen.metadata.content_credentials.package.installed_version", version)
    assert "pip install 'artgen[c2pa]'" in run("verify", str(file), code=2).stderr
    result = run("info", str(file))
    assert "The C2PA manifest is not verified" in result.stderr


def test_file_formats_of_signed_files_are_recognized(key: SigningKey) -> None:
    for kind in KINDS:
        store = find_manifest_store(signed(kind, key))
        assert store is not None
        assert len(manifests(store)) == 1
        assert find_manifest_store(encoded(kind)) is None
        for length in range(0, 600, 7):  # damaged structures give no exception
            find_manifest_store(signed(kind, key)[:length])
    assert manifests(b"\0\0\0\x08jumb\0\0\0\1jumb") == []
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "AVIF")
    assert find_manifest_store(buffer.getvalue()) is None
