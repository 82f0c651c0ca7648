"""Test destinations: file names, checks before generating, and the files on the disk after failures."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batches import fork
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from artgen import metadata
from artgen.errors import InputFileError, OutputError, RefusedError, UsageError
from artgen.outputs import Destination, parse_destination, parse_template, sanitize_component
from artgen.outputs.encoding import EncodingOptions, encode_image
from artgen.spec.settings import OutputSettings
from artgen.system.files import atomic_create

RECORD: dict[str, object] = {
    "task": "txt2img", "prompt": "a red fox", "seed": 7, "steps": 4, "scheduler": "euler", "guidance_scale": 7.5,
    "width": 8, "height": 8, "model": "ada/fox-v1", "artgen": "0.1", "image": "photo one.png", "strength": 0.5,
}  # fmt: skip
IMAGE = Image.new("RGB", (8, 8), "teal")


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "outputs-tests"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert not list(folder.rglob(".artgen-*"))


def to(output: str | None = None, **options: Any) -> Destination:
    """Create a destination. `options` are fields of `OutputSettings` and arguments of `parse_destination`."""
    settings = {name: options.pop(name) for name in tuple(options) if name in OutputSettings.__dataclass_fields__}
    return parse_destination(OutputSettings(output=output, **settings), **options)


def save(output: str | None = None, record: dict[str, object] | None = None, **options: object) -> str:
    destination = to(output, **options)
    destination.check(8, 8, record or RECORD)
    path = destination.save(IMAGE, record or RECORD)
    with Image.open(path) as image:
        image.load()
        assert image.size == (8, 8)
    return path.as_posix()


def files() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*") if not path.is_dir())


def test_output_forms_give_the_documented_paths() -> None:
    assert save() == "outputs/00001-7-a-red-fox.png"
    assert save(default_template="{stem}-{seed}") == "outputs/photo-one-7.png"
    assert save("fox.png") == "fox.png"
    assert save("fox2") == "fox2.png"
    assert save("v1.5") == "v1.5.png"
    assert save("new/folder/", format="jpg") == "new/folder/00001-7-a-red-fox.jpg"
    assert save("new/folder", format="webp") == "new/folder/00002-7-a-red-fox.webp"
    assert save("new/FOX.JPEG") == "new/FOX.JPEG"
    assert save("{model}/{steps:03}_{scheduler}_{guidance}.webp") == "fox-v1/004_euler_7.5.webp"
    assert save("{{x}}/{seed}.png") == "{x}/7.png"
    Path("odd{name}").mkdir()
    assert save("odd{name}") == "odd{name}/00001-7-a-red-fox.png"
    assert save("../up/x.png") == "../up/x.png"
    assert save(os.path.abspath("abs/x.png")) == Path("abs/x.png").absolute().as_posix()  # noqa: PTH100
    assert to("{hash}.png").preview(RECORD) == to("{hash}.png").preview(dict(reversed(RECORD.items())))
    assert to("{date}-{time}").preview(RECORD).stem.count("-") == 3
    assert to("{prompt:5}.png").preview(RECORD).name == "a-red.png"
    assert to("{seed}-{prompt}").preview({"seed": 7, "prompt": ""}).name == "7.png"
    assert to("{stem}.png").preview(RECORD, stem="other").name == "other.png"


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("{nope}.png", {}),
        ("{seed.__class__}.png", {}),
        ("{0}.png", {}),
        ("{seed:99999}.png", {}),
        ("{seed:x}.png", {}),
        ("{seed.png", {}),
        ("seed}.png", {}),
        ("{index}/fox.png", {}),
        ("fox.gif", {}),
        ("fox.tiff", {"format": "png"}),
        ("fox.png", {"format": "jpeg"}),
        ("fox.png", {"format": "gif"}),
        ("fox.jpg", {"quality": 0}),
        ("fox.jpg", {"quality": 101}),
        ("fox.jpg", {"metadata": "some"}),
        ("", {}),
        ("fo\0x.png", {}),
        ("new/..", {}),
    ],
)
def test_invalid_output_options_are_rejected(output: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        to(output, **options)
    if "field" in caught.value.message:
        assert "{guidance}" in caught.value.hint


def test_format_limits_are_checked() -> None:
    to("x.jpg").check(65_500, 8, RECORD)
    to("x.webp").check(8, 16_383, RECORD)
    to("x.png").check(100_000, 8, RECORD, has_alpha=True)
    for name, size in (("x.jpg", (65_501, 8)), ("x.webp", (8, 16_384))):
        with pytest.raises(UsageError, match="at most"):
            to(name).check(*size, RECORD)
    with pytest.raises(UsageError, match="transparency"):
        to("x.jpg").check(8, 8, RECORD, has_alpha=True)
    with pytest.raises(OutputError, match="jpeg"):
        to("x.jpg").save(Image.new("RGBA", (8, 8)), RECORD)
    assert files() == []
    opaque = to("x.jpg").save(IMAGE.convert("RGBA"), RECORD)
    assert Image.open(opaque).mode == "RGB"


def test_higher_quality_gives_a_larger_file() -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    sizes = []
    for quality in (10, 95, 100):
        for suffix in ("jpg", "webp"):
            path = to(f"{quality}.{suffix}", quality=quality).save(noise, RECORD)
            sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[2] < sizes[4]
    assert sizes[1] < sizes[3]
    with Image.open("100.webp") as image:
        assert image.convert("RGB").tobytes() == noise.tobytes()


def test_existing_file_is_not_replaced() -> None:
    save("fox.png")
    before = Path("fox.png").read_bytes()
    with pytest.raises(OutputError, match="exists") as caught:
        to("fox.png").check(8, 8, RECORD)
    assert caught.value.exit_code == 74
    assert to("fox.png").save(IMAGE, RECORD) == Path("fox-1.png")
    assert to("fox.png").save(IMAGE, RECORD) == Path("fox-2.png")
    assert Path("fox.png").read_bytes() == before
    assert save("fox.png", {**RECORD, "seed": 8}, overwrite=True) == "fox.png"
    assert Path("fox.png").read_bytes() != before


def test_images_with_one_name_are_numbered() -> None:
    for overwrite in (False, True):
        destination = to("fox.png", image_count=3, overwrite=overwrite)
        destination.check(8, 8, RECORD)
        assert [destination.save(IMAGE, RECORD).name for _ in range(3)] == ["fox-1.png", "fox-2.png", "fox-3.png"]
    assert files() == ["fox-1.png", "fox-2.png", "fox-3.png"]
    Path("fox-1.png").unlink()
    with pytest.raises(OutputError, match=r"fox-2\.png"):
        to("fox.png", image_count=2).check(8, 8, RECORD)
    destination = to("{model}.png", image_count=2, overwrite=True)
    assert [destination.save(IMAGE, RECORD).name for _ in range(2)] == ["fox-v1.png", "fox-v1-1.png"]


def test_index_continues_after_the_highest_number() -> None:
    assert save("{index:05}-{seed}") == "00001-7.png"
    Path("00041-3.png").touch()
    Path("99999.txt").touch()
    assert save("{index:05}-{seed}") == "00042-7.png"
    assert save("fox_{index}.png") == "fox_1.png"
    assert save("fox_{index}.png") == "fox_2.png"


def test_folder_and_name_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    for module, name in ((os, "scandir"), (os.path, "lexists")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, of=original: calls.append(path) or of(path))
    for output in ("many/", "fox.png", "{model}.png"):
        destination = to(output, image_count=50)
        for seed in range(50):
            destination.check(8, 8, {**RECORD, "seed": seed})
        paths = [destination.save(IMAGE, {**RECORD, "seed": seed}) for seed in range(50)]
        assert len(set(paths)) == 50
        assert len(calls) < 4 * 50
        calls.clear()
    assert Path("many/00050-49-a-red-fox.png").exists()


def test_index_taken_by_another_process_is_skipped() -> None:
    destination = to("{index}.png")
    assert destination.save(IMAGE, RECORD).name == "1.png"
    for name in ("2.png", "3.png"):
        Path(name).touch()
    assert [destination.save(IMAGE, RECORD).name for _ in range(2)] == ["4.png", "5.png"]
    # an image saved between check and save has another index
    destination = to("{index}-{seed}.png")
    destination.check(8, 8, RECORD)
    save("{index}-{seed}.png", {**RECORD, "seed": 8})
    assert destination.save(IMAGE, RECORD).name == "2-7.png"


def test_input_image_is_not_replaced() -> None:
    IMAGE.save("in.png")
    os.link("in.png", "same.png")
    for name in ("in.png", "same.png"):
        with pytest.raises(OutputError, match="input image"):
            to(name, input_paths=(Path("in.png"),)).check(8, 8, RECORD)
    to("in.png", input_paths=(Path("in.png"),), overwrite=True).check(8, 8, RECORD)


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    Path("link.png").symlink_to(victim)
    Path("dangling.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("link.png", "dangling.png"):
        for overwrite in (False, True):
            with pytest.raises(RefusedError, match="symbolic link"):
                to(name, overwrite=overwrite).check(8, 8, RECORD)
        assert to(name).save(IMAGE, RECORD).name != name
        with pytest.raises(RefusedError):
            to(name, overwrite=True).save(IMAGE, RECORD)
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere.png").exists()
    Path("root").mkdir()
    Path("root/fox-v1").symlink_to(tmp_path)
    with pytest.raises(RefusedError, match="leads out"):
        to("root/{model}/{seed}.png").check(8, 8, RECORD)
    with pytest.raises(RefusedError, match="leads out"):
        to("root/{model}/{seed}.png").save(IMAGE, RECORD)
    with pytest.raises(RefusedError, match="leads out"):
        to("root/{seed}/../../x{seed}.png").check(8, 8, RECORD)


def test_unusable_folders_are_rejected_by_check() -> None:
    Path("file").write_text("x")
    not_writable = ("/proc/fox.png", "/proc/new/fox.png", "/sys/new/deep/", "/proc/{seed}/{prompt}.png")
    too_long = (f"{'n' * 300}.png", f"{'n' * 300}/x.png")
    for output in ("file/fox.png", "file/deeper/fox.png", *not_writable, *too_long):
        with pytest.raises(OutputError) as caught:
            to(output).check(8, 8, RECORD)
        assert caught.value.exit_code == 74
    Path("dir.png/x").mkdir(parents=True)
    to("new/deep/fox.png").check(8, 8, RECORD)
    assert files() == ["file"]
    assert not Path("new").exists()
    with pytest.raises(OutputError):
        to("file/fox.png").save(IMAGE, RECORD)


HOSTILE = [
    "狐" * 300, "🦊" * 300, "a\nb\r\tc", "../../etc/passwd", "..", ".", "/", "\\", "-rf", "--help", ".hidden", "~root",
    "con", "NUL", "a:b*c?d|e<f>g\"h", "\x1b[2J", "\u202egnp", "\udc80", "a\0b", " ", "", "e\u0301" * 200, "x. .",
]  # fmt: skip


@pytest.mark.parametrize("prompt", HOSTILE)
@pytest.mark.parametrize("template", ["{prompt}", "{index:05}-{seed}-{prompt}", "{prompt}/{prompt}.jpg", "a/{stem}"])
def test_hostile_prompts_give_safe_names(prompt: str, template: str) -> None:
    record = {**RECORD, "prompt": prompt, "image": f"{prompt}.png"}
    path = Path(save(template, record, metadata="none"))
    assert Path.cwd() in path.resolve().parents
    assert len(path.parts) == template.count("/") + 1
    for part in path.parts:
        assert len(os.fsencode(part)) <= 255
        assert part == unicodedata.normalize("NFC", part)
        assert not part.startswith(("-", ".", "~"))
        assert not set(part) & set('<>:"/\\|?*')
        assert not {unicodedata.category(character) for character in part} & {"Cc", "Cf", "Cs"}
        assert Path(part).stem.upper() not in ("CON", "NUL")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=300), st.integers(0, 40))
def test_rendered_names_fit_the_limit(prompt: str, model: str, reserve: int) -> None:
    template = parse_template("{index:05}-{prompt:255}-{model}")
    name = template.render({"index": "3", "prompt": prompt, "model": model}, ".png", reserve)
    assert name.startswith("00003")
    assert name.endswith(".png")
    assert len(name.encode()) + reserve <= 255
    assert "/" not in name
    assert sanitize_component(prompt) == sanitize_component(sanitize_component(prompt))


def test_long_names_are_shortened_for_numbers() -> None:
    record = {**RECORD, "prompt": "狐" * 300}
    names = [Path(save("{prompt:255}.png", record)) for _ in range(3)]
    assert len(set(names)) == 3
    assert names[2].stem.endswith("狐-2")


def test_large_record_is_saved_in_a_sidecar() -> None:
    record = {**RECORD, "prompt": "x" * 40_000}
    assert save("fox.jpg", record) == "fox.jpg"
    assert files() == ["fox.jpg", "fox.jpg.json"]
    assert metadata.read_metadata(Path("fox.jpg")).record == record
    Path("owl.jpg.json").write_text("precious")
    with pytest.raises(OutputError, match=r"owl\.jpg\.json"):
        to("owl.jpg").check(8, 8, record)
    assert to("owl.jpg").save(IMAGE, record) == Path("owl-1.jpg")
    assert Path("owl.jpg.json").read_text() == "precious"
    assert not Path("owl.jpg").exists()
    assert save("fox.jpg", record, overwrite=True) == "fox.jpg"
    to("owl.jpg").check(8, 8, RECORD)


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(("output", "each"), [("fox.png", 3), ("{index:03}.png", 2), ("{prompt}.jpg", 1)])
def test_16_processes_save_images_under_different_names(output: str, each: int) -> None:
    start_read, start_write = os.pipe()

    def save_images(seed: int) -> None:
        destination = to(output)
        prompt = "fox" + "x" * 40_000 * output.endswith("jpg")
        record = {"seed": seed, "steps": 1, "artgen": "0.1", "prompt": prompt}
        os.read(start_read, 1)
        paths = [str(destination.save(Image.new("RGB", (8, 8), (seed, n, 0)), record)) for n in range(each)]
        Path(f"{seed}.json").write_text(json.dumps(paths))

    processes = [fork(lambda seed=seed: save_images(seed)) for seed in range(16)]
    os.write(start_write, b"." * len(processes))
    assert [os.waitpid(process, 0)[1] for process in processes] == [0] * len(processes)
    paths = []
    for seed in range(16):
        for number, name in enumerate(json.loads(Path(f"{seed}.json").read_text())):
            paths.append(name)
            assert metadata.read_metadata(Path(name)).fields["seed"] == seed
            if output.endswith("png"):
                with Image.open(name) as image:
                    assert image.getpixel((0, 0)) == (seed, number, 0)
    assert len(set(paths)) == 16 * each
    assert len([name for name in files() if not name.endswith(".json")]) == 16 * each


LONG = "a red fox in the snow, " * 4000


@pytest.mark.parametrize("metadata_now", ["full", "none"])
@pytest.mark.parametrize("before", [LONG, "short"])
def test_crash_never_pairs_an_image_with_the_record_of_another_image(before: str, metadata_now: str) -> None:
    images = {"old": Image.new("RGB", (8, 8), "teal"), "new": Image.new("RGB", (8, 8), "red")}
    records = {"old": {**RECORD, "prompt": f"old {before}"}, "new": {**RECORD, "prompt": f"new {LONG}"}}

    def write(version: str, level: str) -> None:
        to("fox.jpg", overwrite=True, metadata=level).save(images[version], records[version])

    def save_and_crash(operations: int) -> None:
        remaining = iter(range(operations))

        def counted(operation: Callable[..., None]) -> Callable[..., None]:
            def run(*args: Any, **kwargs: Any) -> None:
                if next(remaining, None) is None:
                    os._exit(9)
                operation(*args, **kwargs)

            return run

        for name in ("replace", "rename", "unlink", "link"):
            setattr(os, name, counted(getattr(os, name)))
        write("new", metadata_now)

    seen = set()
    for operations in range(20):
        write("old", "full")
        exit_code = os.waitstatus_to_exitcode(
            os.waitpid(fork(lambda operations=operations: save_and_crash(operations)), 0)[1]
        )
        assert exit_code in (0, 9)
        with Image.open("fox.jpg") as file:
            version = "new" if file.convert("RGB").getpixel((4, 4))[0] > 128 else "old"
        try:
            prompt = str(metadata.read_metadata(Path("fox.jpg")).fields.get("prompt", ""))
        except InputFileError:
            prompt = ""
        assert prompt in ("", records[version]["prompt"])
        seen.add((version, prompt[:3]))
        for temporary in Path().glob(".artgen-*"):
            temporary.unlink()
        if not exit_code:
            break
    assert ("old", "old") in seen, "a crash before the first operation changes nothing"
    assert (version, prompt[:3]) == ("new", "new" if metadata_now == "full" else "")
    assert files() == ["fox.jpg", *(["fox.jpg.json"] if metadata_now == "full" else [])]


def test_failed_replacement_keeps_image_and_record(monkeypatch: pytest.MonkeyPatch) -> None:
    save("fox.jpg", {**RECORD, "prompt": LONG})
    replace = os.replace

    def failing(source: Any, target: Any) -> None:
        if Path(target).name == "fox.jpg":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match="Input/output"):
        save("fox.jpg", {**RECORD, "prompt": f"new {LONG}"}, overwrite=True)
    assert metadata.read_metadata(Path("fox.jpg")).fields["prompt"] == LONG


def test_sidecar_without_an_image_reserves_the_name() -> None:
    Path("fox.png.json").write_text(json.dumps(RECORD))
    with pytest.raises(OutputError, match=r"fox\.png\.json"):
        save("fox.png", metadata="none")
    assert to("{prompt}.png", metadata="none").save(IMAGE, {"prompt": "fox"}) == Path("fox-1.png")
    assert save("fox.png", metadata="none", overwrite=True) == "fox.png"
    assert files() == ["fox-1.png", "fox.png"]
    Path("owl.png.json").write_text('{"category": "birds"}')
    for _ in range(2):
        assert save("owl.png", metadata="none", overwrite=True) == "owl.png"
    assert Path("owl.png.json").read_text() == '{"category": "birds"}', "other tools use the same file name"
    with pytest.raises(InputFileError, match="contains no generation metadata"):
        metadata.read_metadata(Path("owl.png"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_full_disk_leaves_no_partial_file(overwrite: bool) -> None:
    if overwrite:
        Path("big.png").write_bytes(b"before")
    program = (
        "import resource, sys, os\nfrom PIL import Image\nfrom artgen.errors import OutputError\n"
        "from artgen.outputs import parse_destination\nfrom artgen.spec.settings import OutputSettings\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "image = Image.frombytes('RGB', (200, 200), os.urandom(120_000))\n"
        f"destination = parse_destination(OutputSettings(output='big.png', overwrite={overwrite}))\n"
        "try: destination.save(image, {'prompt': 'x'})\n"
        "except OutputError as error: print(error.message); sys.exit(error.exit_code)\n"
    )
    worker = python(program)
    out, stderr = worker.communicate(timeout=60)
    assert worker.returncode == 74, stderr
    assert "File too large" in out
    assert files() == (["big.png"] if overwrite else [])
    if overwrite:
        assert Path("big.png").read_bytes() == b"before"


@pytest.mark.slow
@pytest.mark.parametrize("point", ["write", "fsync", "link"])
def test_killed_process_leaves_no_partial_image(point: str) -> None:
    program = (
        "import os, signal\nfrom PIL import Image\nfrom artgen.outputs import parse_destination\n"
        "from artgen.spec.settings import OutputSettings\n"
        "real = os.write\n"
        "def stop(*a):\n"
        f"    if {point!r} == 'write': real(a[0], bytes(a[1])[:10])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"os.{point} = stop\n"
        "parse_destination(OutputSettings(output='fox.png')).save(Image.new('RGB', (8, 8)), {'prompt': 'x'})\n"
    )
    worker = python(program)
    worker.communicate(timeout=60)
    assert worker.returncode == -signal.SIGKILL
    (temporary,) = files()
    assert temporary.startswith(".artgen-")
    to("fox.png").check(8, 8, RECORD)
    assert files() == [temporary], "a recent temporary file can belong to a running process"
    old = time.time() - 3600
    os.utime(temporary, (old, old))
    with open(temporary) as file:  # noqa: PTH123
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        to("fox.png").check(8, 8, RECORD)
        assert files() == [temporary], "another process has locked the file"
    to("fox.png").check(8, 8, RECORD)
    assert files() == []


def test_file_system_without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert save("fox.png") == "fox.png"
    assert to("fox.png").save(IMAGE, RECORD).name == "fox-1.png"
    assert not atomic_create(Path("fox.png"), b"other")
    with Image.open("fox.png") as image:
        image.load()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        to("owl.png").save(IMAGE, RECORD)
    with pytest.raises(OutputError, match="No space left"):
        to("fox.png", overwrite=True).save(IMAGE, RECORD)
    assert files() == ["fox-1.png", "fox.png"]


def test_files_have_the_permissions_of_the_umask() -> None:
    before = os.umask(0o027)
    try:
        save("fox.png")
    finally:
        os.umask(before)
    assert Path("fox.png").stat().st_mode & 0o777 == 0o640
    assert Path("fox.png").stat().st_nlink == 1


def test_metadata_of_the_image_object_is_not_written() -> None:
    image = IMAGE.copy()
    image.info = {"comment": b"SECRET", "icc_profile": b"SECRET", "exif": b"SECRET", "xmp": b"SECRET"}
    for name in ("a.png", "a.jpg", "a.webp"):
        to(name).save(image, RECORD)
        assert b"SECRET" not in Path(name).read_bytes()
        assert image.info


def test_16_bits_are_rounded_to_8_bit_formats() -> None:
    import numpy

    values = numpy.arange(65536, dtype=numpy.uint32).reshape(256, 256)
    high, low = (Image.fromarray((part & 255).astype(numpy.uint8), "L") for part in (values >> 8, values))
    file, _ = encode_image(high, {}, EncodingOptions("webp", 100, "none"), low)
    found = numpy.asarray(Image.open(io.BytesIO(file)).convert("L"))
    assert (found == numpy.round(values / 257)).all()
