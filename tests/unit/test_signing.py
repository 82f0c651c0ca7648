"""Test the keys that sign images, and the signed bytes of all formats."""

import dataclasses
import http.server
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from command_line import run
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from PIL import Image
from signing_keys import DOCUMENT_SIGNING, SERVER_AUTHENTICATION, ed25519_key, write_key

import artgen
from artgen.errors import ArtgenError, OutputError
from artgen.metadata.content_credentials.content_hashes import content_hashes
from artgen.metadata.content_credentials.create_key import create_signing_key
from artgen.metadata.content_credentials.keys import SigningKey, load_signing_key
from artgen.metadata.content_credentials.manifest import INPUT, Parent
from artgen.metadata.content_credentials.signing import configured_key, sign_image
from artgen.outputs.animation import encode_animation
from artgen.outputs.encoding import EncodingOptions, encode_unsigned
from artgen.outputs.parse_output import parse_destination
from artgen.outputs.signatures import Signing
from artgen.outputs.training_facts import training_facts
from artgen.spec.settings import OutputSettings

c2pa = pytest.importorskip("c2pa")

RECORD = {"artgen": "0.1.0", "task": "img2img", "model": "/home/ada/secret/fox.safetensors", "model_hash": "ab" * 32,
          "prompt": "a secret fox", "steps": 2, "image": "photo.png"}  # fmt: skip
TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "tiff": "image/tiff"}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return create_signing_key(tmp_path_factory.mktemp("key"))


def test_an_image_that_cannot_be_signed_is_saved_without_a_signature(key: SigningKey, tmp_path: Path) -> None:
    other = create_signing_key(tmp_path / "other")
    wrong = dataclasses.replace(key, private_key=other.private_key, certificates=b"no certificate")
    destination = parse_destination(OutputSettings(output="out/fox.png"))
    destination = dataclasses.replace(destination, encoding=EncodingOptions("png", signing=Signing(wrong, "full")))
    with pytest.raises(OutputError, match=r"saved without a signature as 'out/fox\.png'"):
        destination.save(noisy_image(), RECORD)
    assert artgen.info("out/fox.png").record["prompt"] == "a secret fox"
    assert artgen.verify("out/fox.png").problems == ("The file has no C2PA manifest.",)


def noisy_image(size: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (size, size, 3), np.uint8))


def encoded(kind: str, size: int = 64) -> bytes:
    if kind in ("png", "jpeg", "webp"):
        return encode_unsigned(noisy_image(size), RECORD, EncodingOptions(kind))[0]
    if kind == "gif":
        return encode_animation([noisy_image(size)] * 2, "gif", None)
    buffer = io.BytesIO()
    noisy_image(size).save(buffer, kind.upper())
    return buffer.getvalue()


def read(data: bytes, kind: str) -> Any:
    reader = c2pa.Reader(TYPES[kind], io.BytesIO(data))
    assert reader.get_validation_state() in ("Valid", "Trusted")
    failures = {each["code"] for each in reader.get_validation_results()["activeManifest"]["failure"]}
    assert failures <= {"signingCredential.untrusted"}
    return json.loads(reader.json())


def actions(manifest: Any) -> list[Any]:
    return next(each for each in manifest["assertions"] if each["label"].startswith("c2pa.actions"))["data"]["actions"]


@pytest.mark.parametrize("kind", TYPES)
def test_signature_keeps_pixels_and_other_metadata(kind: str, key: SigningKey) -> None:
    data = encoded(kind)
    signed = sign_image(data, kind, RECORD, (), key)
    assert content_hashes(signed) == content_hashes(data) is not None
    before, after = (Image.open(io.BytesIO(each)) for each in (data, signed))
    assert before.tobytes() == after.tobytes()
    exif, info = after.getexif(), {name: after.info.get(name) for name in before.info}
    exif.pop(0xCD41, None)  # the manifest of a TIFF file
    assert before.getexif() == exif
    for values in (info, before.info):
        values.pop("extension", None)  # a position in a GIF file
    assert info == before.info
    assert sign_image(data, kind, RECORD, (), key) != signed
    store = read(signed, kind)
    manifest = store["manifests"][store["active_manifest"]]
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert [(each["action"], each.get("digitalSourceType")) for each in actions(manifest)] == [("c2pa.created", source)]
    assert manifest["claim_generator_info"][0]["name"] == "artgen"
    text = json.dumps(store)
    assert "fox" in text
    assert "ab" * 32 in text
    assert "secret" not in text  # no prompt, no folder


@pytest.mark.parametrize("level", ["minimal", "none"])
def test_manifest_contains_only_what_the_metadata_level_allows(level: str, key: SigningKey) -> None:
    signed = sign_image(encoded("png"), "png", RECORD, [Parent("photo.png", encoded("jpeg"))], key, level)
    text = json.dumps(read(signed, "png"))
    assert ("fox" in text) is (level == "minimal")
    assert "ab" * 32 not in text
    assert "photo" not in text
    assert "parentOf" in text


def test_ingredients_keep_their_manifests(key: SigningKey) -> None:
    photo = sign_image(encoded("jpeg"), "jpeg", {}, (), key)
    parents = [
        Parent("folder/photo.jpg", photo),
        Parent("mask.bmp", b"BM", INPUT),
        Parent("damaged.png", b"\x89PNG\r\n\x1a\nx", INPUT),
        Parent("changed.png", None, INPUT),
    ]
    first = sign_image(encoded("png"), "png", RECORD, parents, key)
    store = read(first, "png")
    manifest = store["manifests"][store["active_manifest"]]
    found = {each.get("title"): each for each in manifest["ingredients"]}
    assert found.keys() == {"photo.jpg", "mask.bmp", "damaged.png", "changed.png"}
    assert found["photo.jpg"]["active_manifest"] in store["manifests"]
    assert [each["relationship"] for each in found.values()].count("parentOf") == 1
    assert [each["action"] for each in actions(manifest)] == ["c2pa.opened", "c2pa.edited"]
    last = sign_image(encoded("jpeg"), "jpeg", {**RECORD, "task": "upscale"}, [Parent("a.png", first)], key)
    assert len(read(last, "jpeg")["manifests"]) == 3


def test_parents_with_a_link_to_a_manifest_start_no_connection(key: SigningKey) -> None:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance='
            f'"http://127.0.0.1:{server.server_port}/manifest.c2pa"/></rdf:RDF></x:xmpmeta>'
        )
        buffer = io.BytesIO()
        noisy_image().save(buffer, "JPEG", xmp=packet.encode())
        sign_image(encoded("png"), "png", RECORD, [Parent("linked.jpg", buffer.getvalue())], key)
        assert requests == []
        with pytest.raises(c2pa.C2paError):  # with its own settings, c2pa follows the link
            c2pa.Reader("image/jpeg", io.BytesIO(buffer.getvalue()))
        assert requests == ["/manifest.c2pa"]
        server.shutdown()


def test_the_manifest_contains_the_datasheets_of_trained_models(key: SigningKey) -> None:
    training = {"datasheet_sha256": "cd" * 32, "licenses": {"CC0-1.0": 2}}
    safetensors.numpy.save_file({"x": np.zeros(1)}, "mine.safetensors", {"artgen": json.dumps(training)})
    Path("model").mkdir()
    for path in artgen.model_path("tiny").iterdir():
        (Path("model") / path.name).symlink_to(path)
    Path("model/artgen.json").unlink()
    Path("model/artgen.json").write_text(json.dumps({"training": training}))
    request = artgen.Txt2Img(prompt="a fox", model="model/", lora=("mine.safetensors:0.5",))
    store = read(Signing(key, "full").sign(encoded("png"), "png", RECORD, request), "png")
    manifest = store["manifests"][store["active_manifest"]]
    facts = next(each["data"] for each in manifest["assertions"] if each["label"] == "org.artgen.generation")
    expected = {"datasheet_sha256": "cd" * 32, "training_licenses": {"CC0-1.0": 2}}
    assert facts["training"] == [{"name": "model", **expected}, {"name": "mine", **expected}]
    assert training_facts(artgen.Txt2Img(prompt="a fox", model="tiny", lora=("missing.safetensors",))) == []


@pytest.mark.parametrize(
    ("build", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "es256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "es384"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "es512"),
        (ed25519_key, "ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_certificates_of_an_authority_sign(build: Callable[[], Any], algorithm: str, tmp_path: Path) -> None:
    certificate, private_key = write_key(tmp_path, key=build())
    run("config", "set", "signing_certificate", str(certificate))
    run("config", "set", "signing_key", str(private_key))
    assert configured_key(None) is None
    run("config", "set", "sign", "on")
    key = configured_key(None)
    assert key is not None
    assert (key.algorithm, key.is_self_made) == (algorithm, False)
    read(sign_image(encoded("png"), "png", RECORD, (), key), "png")
    assert configured_key(sign=False) is None


def test_the_purpose_of_document_signing_is_accepted(tmp_path: Path) -> None:
    assert load_signing_key(*write_key(tmp_path, purpose=DOCUMENT_SIGNING)).algorithm == "es256"


BAD_KEYS: dict[str, tuple[dict[str, Any], int, str]] = {
    "expired": ({"days": (-9, -1)}, 5, "expired on"),
    "not valid yet": ({"days": (1, 9)}, 5, "is valid from"),
    "mismatched": ({"other_key": ec.generate_private_key(ec.SECP256R1())}, 5, "does not belong to the certificate"),
    "encrypted": ({"password": b"x"}, 3, "is encrypted"),
    "no key usage": ({"usage": None}, 5, "key usage digitalSignature"),
    "wrong key usage": ({"usage": "key_encipherment"}, 5, "key usage digitalSignature"),
    "no purpose": ({"purpose": None}, 5, "extended key usage for signatures"),
    "wrong purpose": ({"purpose": SERVER_AUTHENTICATION}, 5, "extended key usage for signatures"),
    "authority": ({"is_authority": True}, 5, "is that of an authority"),
    "unsupported curve": ({"key": ec.generate_private_key(ec.SECP256K1())}, 5, "uses the curve secp256k1"),
    "unsupported algorithm": ({"key": ed448.Ed448PrivateKey.generate()}, 5, "uses Ed448"),
    "short RSA key": ({"key": rsa.generate_private_key(65537, 1024)}, 5, "uses RSA with 1024 bits"),
}


def test_bad_keys_are_refused_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, private_key = write_key(tmp_path)
    monkeypatch.setenv("ARTGEN_SIGN", "on")
    command = ("txt2img", "x", "-m", "tiny", "--steps", "2", "--dry-run")

    def refused(code: int, text: str) -> None:
        result = run(*command, code=code)
        assert text in result.stderr
        assert "error: Cannot" in result.stderr

    refused(3, "this computer has no key for signing")
    monkeypatch.setenv("ARTGEN_SIGNING_KEY", str(private_key))
    refused(2, "signing_certificate is not")
    monkeypatch.setenv("ARTGEN_SIGNING_CERTIFICATE", str(certificate))
    assert configured_key(None) is not None
    for options, code, text in BAD_KEYS.values():
        write_key(tmp_path, **options)
        refused(code, text)
    for path, content, text in (
        (certificate, b"", "contains no PEM certificate"),
        (private_key, b"x", "contains no PEM private key"),
    ):
        write_key(tmp_path)
        path.write_bytes(content)
        refused(3, text)
        path.unlink()
        refused(3, "does not exist")
        path.mkdir()
        refused(3, str(path))
        path.rmdir()


def test_sign_init_creates_a_private_key_once() -> None:
    result = run("sign", "init", "--signer", "Ada Lovelace")
    assert "unknown source" in result.stderr
    folder = Path.home() / "config" / "artgen" / "signing"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("certificate.pem", "private-key.pem", "authority.pem"), 0o600
    )
    assert folder.stat().st_mode & 0o777 == 0o700
    key = artgen.signing_key()
    assert (key.signer, key.self_made, key.algorithm) == ("Ada Lovelace", True, "es256")
    before = key.private_key.read_bytes()
    assert "artgen sign init --force" in run("sign", "init", code=74).stderr
    assert key.private_key.read_bytes() == before
    assert json.loads(run("sign", "init", "--force", "--json").stdout)["signer"] == "artgen user"
    assert key.private_key.read_bytes() != before
    assert "artgen user" in run("sign", "show").stdout
    with pytest.raises(artgen.UsageError, match="1 to 64 characters"):
        artgen.create_signing_key("x" * 65, force=True)


def test_notes_name_a_missing_key_and_a_key_with_precedence(tmp_path: Path) -> None:
    assert "no key for signing. artgen sign init" in run("config", "set", "sign", "on").stderr
    certificate, private_key = write_key(tmp_path)
    assert "signing_key is not" in run("config", "set", "signing_certificate", str(certificate)).stderr
    assert run("config", "set", "signing_key", str(private_key)).stderr.count("\n") == 1
    assert "has precedence" in run("sign", "init").stderr
    key = configured_key(None)
    assert key is not None
    (tmp_path / "a.png").write_bytes(sign_image(encoded("png"), "png", RECORD, (), key))
    assert artgen.verify(tmp_path / "a.png").signer == key.signer.removeprefix("O=") == "Test signer"


def test_signing_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artgen.metadata.content_credentials.package.installed_version", lambda _: None)
    with pytest.raises(ArtgenError, match=r"(?s)c2pa-python, which is not installed.*pip install 'artgen\[c2pa\]'"):
        artgen.create_signing_key()
