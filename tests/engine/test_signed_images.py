"""Sign images in each path that saves images: commands, streams, animations, batches, servers and Python."""

import base64
import io
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from command_line import FAST, run, save_inputs
from PIL import Image, ImageChops

import artgen

c2pa = pytest.importorskip("c2pa")

TINY = ("-m", "tiny", *FAST)


@pytest.fixture(autouse=True)
def _key(_temporary_user_folders: None) -> None:
    run("sign", "init", "--force")


def manifests(file: Path | bytes) -> list[Any]:
    """Return the manifests of a file and of its parents; check that they are valid."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    kind = {b"\x89P": "image/png", b"\xff\xd8": "image/jpeg", b"GI": "image/gif", b"RI": "image/webp"}[data[:2]]
    reader = c2pa.Reader(kind, io.BytesIO(data))
    assert reader.get_validation_state() == "Valid"
    store = json.loads(reader.json())
    return [store["manifests"][store["active_manifest"]], *store["manifests"].values()]


def is_signed(file: Path | bytes) -> bool:
    try:
        return bool(manifests(file))
    except c2pa.C2paError:
        return False


def titles(manifest: Any) -> list[tuple[str, str]]:
    return [(each["title"], each["relationship"]) for each in manifest.get("ingredients", [])]


def test_photo_inpainting_upscaling_and_jpeg_are_a_chain_of_three() -> None:
    save_inputs()
    run("inpaint", "in.png", "a fox", "--mask", "mask.png", *TINY, "--sign", "-o", "painted.png")
    run("upscale", "painted.png", "--by", "2", "--sign", "-o", "large.jpg")
    active, *all_manifests = manifests(Path("large.jpg"))
    assert titles(active) == [("painted.png", "parentOf")]
    parent = next(each for each in all_manifests if each["label"] == active["ingredients"][0]["active_manifest"])
    assert titles(parent) == [("in.png", "parentOf"), ("mask.png", "inputTo")]
    assert active["ingredients"][0]["validation_results"]["activeManifest"]["failure"][0]["code"] == (
        "signingCredential.untrusted"
    )
    run("upscale", "painted.png", "--by", "2", "-o", "unsigned.jpg")
    assert not is_signed(Path("unsigned.jpg"))
    difference = ImageChops.difference(Image.open("large.jpg"), Image.open("unsigned.jpg"))
    assert difference.getbbox() is None


def test_commands_sign_files_streams_and_animations() -> None:
    run("config", "set", "sign", "on")
    result = run("txt2img", "a fox", *TINY, "--count", "2", "--frames", "{stem}.gif", "-o", "{seed}.webp")
    assert [Path(line).suffix for line in result.stdout.split()] == [".webp", ".gif", ".webp", ".gif"]
    assert all(is_signed(Path(line)) for line in result.stdout.split())
    assert is_signed(run("txt2img", "a fox", *TINY, "-o", "-").stdout_bytes)
    run("txt2img", "a fox", *TINY, "--no-sign", "-o", "unsigned.png")
    assert not is_signed(Path("unsigned.png"))
    assert "signed_with" not in artgen.info("unsigned.png").record
    run("txt2img", "a fox", *TINY, "-o", "signed.png")
    record = artgen.info("signed.png").record
    assert len(record["signed_with"]) == 64
    assert "Same pixels." in run("replay", "signed.png", "-o", "again.png").stderr
    assert manifests(Path("again.png")) != manifests(Path("signed.png"))
    run("replay", "signed.png", "--no-sign", "-o", "plain.png")
    assert "signed_with" not in artgen.info("plain.png").record
    shutil.copy("signed.png", "other.png")
    run("morph", "signed.png", "other.png", "--frames", "2", "-o", "morph.webp")
    assert is_signed(Path("morph.webp"))


def test_python_saves_the_same_signed_image_once() -> None:
    image = artgen.txt2img("a fox", model="tiny", steps=2, seed=7)
    path = image.save("fox.png", sign=True)
    before = path.read_bytes()
    assert is_signed(path)
    assert image.save("fox.png", sign=True) == path
    assert path.read_bytes() == before
    image.save("plain.png")
    with pytest.raises(artgen.OutputError, match="exists already"):
        image.save("plain.png", sign=True)
    other = artgen.txt2img("a fox", model="tiny", steps=2, seed=8)
    with pytest.raises(artgen.OutputError, match="exists already"):
        other.save("fox.png", sign=True)
    edited = artgen.img2img(path, "a car", model="tiny", steps=2, seed=7)
    assert titles(manifests(edited.save("car.jpg", sign=True))[0]) == [("fox.png", "parentOf")]
    again = artgen.img2img(artgen.img2img(image, "a car", model="tiny", steps=2), "a fox", model="tiny", steps=2)
    assert len(manifests(again.save("unsaved.png", sign=True))) == 2  # its parent was not saved
    image.save("fox.png", sign=True)  # the last saved file is the input
    active, *all_manifests = manifests(artgen.img2img(image, "a car", model="tiny", steps=2).save("b.png", sign=True))
    assert (titles(active), len(all_manifests)) == ([("fox.png", "parentOf")], 2)
    changed = artgen.img2img("plain.png", "a car", model="tiny", steps=2, seed=7)
    Path("plain.png").unlink()
    assert titles(manifests(changed.save("changed.png", sign=True))[0]) == [("plain.png", "parentOf")]


def test_a_batch_of_signed_images_continues() -> None:
    Path("prompts.txt").write_text("a fox\na car --no-sign\na bird --format jpeg\n")
    command = ("batch", "prompts.txt", *TINY, "-o", "out/")
    run(*command, "--sign")
    files = {path.name: path.read_bytes() for path in Path("out").glob("0*")}
    assert [is_signed(data) for _, data in sorted(files.items())] == [True, False, True]
    run("batch", "verify", "out")
    shutil.rmtree("out/artgen-ledger")
    printed = run(*command, "--sign").stderr
    assert "3 images of an earlier run were found" in printed
    assert "--sign does not change 3 images of an earlier run." in printed
    assert {path.name: path.read_bytes() for path in Path("out").glob("0*")} == files


@pytest.mark.slow
def test_the_server_and_its_client_sign_with_their_own_keys() -> None:
    from artgen_server import running_server

    save_inputs()
    certificate = artgen.signing_key().certificate
    run("config", "set", "sign", "on")
    with running_server() as url:
        body = {"prompt": "a fox", "size": "128x128", "output_format": "jpeg"}
        request = urllib.request.Request(
            f"{url}/v1/images/generations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            data = base64.b64decode(json.load(response)["data"][0]["b64_json"])
        assert len(manifests(data)) == 3  # the active manifest twice, and that of the PNG file
        address = url.removeprefix("http://")
        run("config", "set", "sign", "")
        done = run("img2img", "in.png", "a fox", *TINY, "--server", address, "-o", "unsigned.png")
        assert "without the signature of the server" in done.stderr
        assert not is_signed(Path("unsigned.png"))
        run("sign", "init", "--force", "--signer", "Client")
        assert artgen.signing_key().certificate == certificate
        run("img2img", "in.png", "a fox", *TINY, "--server", address, "--sign", "-o", "signed.png")
        active = manifests(Path("signed.png"))[0]
        assert active["signature_info"]["common_name"] == "Client"
        assert titles(active) == [("in.png", "parentOf")]
