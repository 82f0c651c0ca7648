"""Create the cases of each group. `GROUPS` has the groups by name: functions of a grammar."""

import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import model_layouts
from hostile import hubs, prompts
from hostile.commands import ANY_PATH, DANGEROUS_CONFIG, FOLDERS, IMAGES, NUMBERS, commands, place
from hostile.grammar import ESCAPES, Grammar, chunk, dumps, png, safetensors
from hostile.sandbox import SECRET, Case
from PIL import Image

RECORD = {"artgen": "0.1.0", "task": "txt2img", "prompt": "x", "seed": 1, "steps": 2, "model": "tiny"}
FIT = {"kind": "artgen normal pictures", "version": "1"}
KNOWN = {"look": {"method": "pixel", "model": "tiny", "model_hash": "0" * 64, "prompt": "", "levels": [5.0, 9.0],
                  "draws": 2, "seed": 0}, "size": [64, 64], "pictures": ["0" * 64] * 20}  # fmt: skip


def fill_folder(root: Path) -> None:
    """Create the common files of a case: images, a mask, a prompt file, and files that no command may change."""
    for name in ("work/photos", "home/Documents", "outside", "tmp"):
        (root / name).mkdir(parents=True)
    for index, name in enumerate(("p.png", "photos/a.png", "photos/b.png")):
        Image.linear_gradient("L").resize((64, 64)).convert("RGB").rotate(90 * index).save(root / "work" / name)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 40, 40))
    mask.save(root / "work/m.png")
    (root / "work/prompts.txt").write_text("a fox\n")
    for name in ("home/Documents/notes.txt", "outside/notes.txt", "outside/model.safetensors"):
        (root / name).write_text("private")


def network(g: Grammar) -> Case:
    def path() -> str:
        return g.pick(("~nobody9/x", "/dev/null", "/dev/null/x", "missing", "", str(g.root / "outside/notes.txt"),
                       "/dev/zero", str(g.special_file(g.work / "special")), "a" * 5000, "a\udcff"))  # fmt: skip

    def token() -> str:
        return SECRET + g.pick(("é", "\n", "\x1b[m", "\udcff", " x", "a" * 10**5))

    def flag() -> str:
        return g.pick(("1", "x", "maybe", g.number()))

    variables: tuple[tuple[str, Callable[[], str]], ...] = (
        ("ALL_PROXY HTTP_PROXY HTTPS_PROXY http_proxy all_proxy", g.url),
        ("HF_ENDPOINT", g.url),
        ("NO_PROXY no_proxy", lambda: g.pick(("*", "[::1", "a,,b", "é", g.url(), "127.0.0.1/99"))),
        ("SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSLKEYLOGFILE", path),
        ("HF_HUB_CACHE HF_HOME HF_TOKEN_PATH XDG_CACHE_HOME HF_XET_CACHE NETRC", path),
        ("HF_TOKEN HUGGING_FACE_HUB_TOKEN", token),
        ("HF_HUB_DOWNLOAD_TIMEOUT HF_HUB_ETAG_TIMEOUT", g.number),
        ("HF_HUB_OFFLINE HF_DEBUG HF_HUB_VERBOSITY", flag),
    )
    env: dict[str, str] = {}
    for _ in range(g.pick((1, 1, 2))):
        names, production = g.pick(variables)
        env[g.pick(names.split())] = production().replace("\0", "")
    command = g.pick(
        commands("""models pull owner/tiny; models pull tiny; models list; models show owner/tiny; doctor
        txt2img x -m owner/tiny; txt2img x -m owner/tiny@v1 --dry-run; models verify; models remove owner/tiny -y""")
    )
    healthy = g.chance() and "HF_ENDPOINT" not in env
    return Case(place(command), env, hub=hubs.healthy if healthy else None)


def home(g: Grammar) -> Case:
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR", "HF_HOME", "ARTGEN_LORA_FOLDER")
    values = ("/dev/null", "/proc/self/mem", "/proc/1/fd", "/dev/full", "", "relative", "~", "~nobody9", "a" * 300,
              "a/" * 3000, "/sys", "a\udcff", "\x1b[31m", str(g.root / "outside/notes.txt"),
              str(g.special_file(g.work / "s")))  # fmt: skip
    env = {g.pick(names): g.pick(values) for _ in range(g.pick((1, 1, 1, 2)))}
    command = g.pick(
        commands("""--version; schedulers; doctor; config show; config path; config set steps 3; info p.png
        models list; models alias mine sd15; models show tiny; models verify; models remove owner/tiny -y; sheet p.png
        txt2img x --dry-run; txt2img x; batch prompts.txt; batch prompts.txt --dry-run; img2img p.png x; noise p.png
        txt2img x --lora mine; denoise p.png; train photos -o t.safetensors --dry-run; replay p.png""")
    )
    return Case(place(command), env)


def model_configs(g: Grammar) -> Case:
    layouts = json.loads(model_layouts.LAYOUTS_FILE.read_text())
    layout = layouts[g.pick(sorted(layouts))]
    model = model_layouts.write_folder(g.work / "model", layout)
    names = sorted(name for name in layout if name.endswith(".json"))
    for _ in range(g.pick((1, 1, 2))):
        name = g.pick(names)
        config: dict[str, Any] = dict(layout[name]) if g.chance(0.9) else {}
        key = g.pick(sorted(DANGEROUS_CONFIG))
        text = dumps({**config, key: DANGEROUS_CONFIG[key]}) if g.chance(0.4) else g.mutated_json(config)
        (model / name).write_bytes(g.encoded(text) if g.chance(0.2) else text.encode("utf-8", "surrogatepass"))
    if g.chance(0.15):
        (model / name).unlink()
        g.special_file(model / name)
    command = g.pick(
        commands("""txt2img x -m @ --dry-run; txt2img x -m @ --steps 1; models show @; models verify @
        img2img p.png x -m @ --dry-run; reconstruct p.png -m @; noise p.png -m @; models alias m @
        train photos -m @ -o t.safetensors --dry-run; anomaly p.png --method latent -m @ --dry-run
        txt2img x -m @ --sweep steps=1,2 --dry-run""")
    )
    return Case(place(command, "model"))


def state_files(g: Grammar) -> Case:
    job = {"state": "done", "file": "a.png", "sha256": "0" * 64, "seconds": 1.0, "where": "p.txt:1", "error": "",
           "exit_code": 0, "time": 1.0, "job": "0" * 64}  # fmt: skip
    lines = [job, {"run": {"total": 3, "completed": 0, "time": 1.0}}, {"schema": 99, **job}]
    history = {"seconds": {"a": [1.0, 2.0]}, "batch_sizes": {"a": 4}}
    targets: tuple[tuple[str, Callable[[], str], str], ...] = (
        ("work/out/artgen-ledger/jobs.jsonl", lambda: "\n".join(g.mutated_json(g.pick(lines)) for _ in range(3)) + "\n",
         "batch status out; batch verify out; batch status out --json; batch prompts.txt -o out"),
        ("home/.cache/artgen/history.json", lambda: g.mutated_json(history),
         "batch prompts.txt --dry-run; batch prompts.txt -o out; doctor"),
        ("home/.config/artgen/aliases.json", lambda: g.mutated_json({"mine": "sd15", "other": "owner/name@v1"}),
         "models list; models show mine; models alias b sd15; txt2img x -m mine --dry-run; doctor"),
        ("home/.local/state/artgen/model-index.json",
         lambda: g.mutated_json({"schema": 1, "locations": {"0" * 64: [str(g.root / "outside/model.safetensors")]}}),
         "models list; doctor; replay r.png --dry-run; txt2img x -m tiny --dry-run; models verify tiny"),
        ("home/.cache/artgen/hashes.json", lambda: g.mutated_json({f"1:2:3:{g.work}/p.png": "0" * 64}),
         "models verify outside; anomaly p.png --method latent; reconstruct p.png"),
        ("work/t.training/checkpoints/step-000001/state.json",
         lambda: g.mutated_json({"step": 1, "settings": {"seed": 1, "resolution": 64}, "scaler": None}),
         "train photos -o t.safetensors --resume --dry-run; train photos -o t.safetensors --resume"),
        ("work/artgen.toml", partial(prompts.toml, g), 
         "txt2img x --dry-run; config show; config set --project steps 3"),
        ("home/.config/artgen/config.toml", partial(prompts.toml, g), "img2img p.png x; config set steps 3; doctor"),
        ("home/.config/artgen/presets.toml", partial(prompts.toml, g),
         "preset list; txt2img x --preset img2img --dry-run; preset save a --steps 3; preset remove img2img"),
        ("work/p.json", lambda: g.mutated_json(RECORD), 
         "info p.json; replay p.json --dry-run; info p.png; sheet p.png"),
        ("home/.cache/huggingface/hub/models--owner--tiny/refs/main",
         lambda: g.pick(("../../../../../outside", "0" * 40, "x\n", "", "/etc", g.text(5000))),
         "models list; models show owner/tiny --json; txt2img x -m owner/tiny --offline; models remove owner/tiny -y"),
    )  # fmt: skip
    name, content, command_text = g.pick(targets)
    path = g.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if g.chance(0.2):
        g.special_file(path)
    else:
        path.write_bytes(g.encoded(content()))
    return Case(place(g.pick(commands(command_text))), mutable=("work/out", "work/artgen.toml", *Case.mutable))


def image_text(g: Grammar) -> Case:
    size = g.pick((1000, 100_000, 2**20 - 200))
    node = {"1": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["2", 0], "positive": ["1", 0]}},
            "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}}}  # fmt: skip
    a1111 = "a fox\nNegative prompt: x\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, Model: tiny"
    key, text = g.one_of(
        lambda: ("parameters", g.text(size) + g.pick(("\n", "")) + a1111[g.random.randrange(len(a1111)) :]),
        lambda: ("parameters", a1111 + g.pick((", ", "\n")) + g.text(size)),
        lambda: ("parameters", a1111.replace(g.pick(("20", "7", "64")), g.number())),
        lambda: ("parameters", g.repeated(size) + "Steps: 20, Seed: 1"),
        lambda: ("parameters", f"{g.repeated(size)}\nNegative prompt: x\nSteps: 20"),
        lambda: ("parameters", f"a fox\nSteps: 20, {g.repeated(size)}"),
        lambda: ("parameters", f"{a1111}, Hashes: {g.repeated(size)}"),
        lambda: ("artgen", g.mutated_json(RECORD)),
        lambda: (g.pick(("prompt", "workflow")), g.mutated_json(node)),
        lambda: (g.text(60), g.text(size)),
    )
    key = g.pick((key, key, "XML:com.adobe.xmp", "Comment"))
    start = key.encode("latin-1", "replace")[:79] + b"\0"
    body = text.encode("utf-8", "surrogatepass")
    block = g.one_of(
        lambda: chunk(b"tEXt", start + body),
        lambda: chunk(b"iTXt", start + b"\0\0\0\0" + body),
        lambda: chunk(b"iTXt", start + b"\1\0\0\0" + zlib.compress(body)),
        lambda: chunk(b"zTXt", start + b"\0" + zlib.compress(body * g.pick((1, 100 if size > 1000 else 1)))),
    )
    path = g.work / g.pick(("t.png", "t.png", "t.png", "t.jpg", "t.txt"))
    if path.suffix == ".jpg":
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be", "surrogatepass")[:60_000]
        Image.new("RGB", (16, 16)).save(path, exif=exif)
    else:
        path.write_bytes(g.encoded(text) if path.suffix == ".txt" else png(16, 16, g, block * g.pick((1, 1, 30))))
    command = g.pick(
        commands("info @; info --json @; replay @ --dry-run; sheet @ p.png; img2img @ x --dry-run; denoise @")
    )
    return Case(place(command, path.name), lists_errors=True)


def safetensors_headers(g: Grammar) -> Case:
    tensor = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "ss_tag_frequency": "{}"}, "a.weight": tensor,
                              "lora_unet_down_blocks_0.lora_down.weight": tensor}  # fmt: skip
    text = g.one_of(
        lambda: g.mutated_json(header),
        lambda: g.mutated_json({"a": tensor}),
        lambda: dumps({"a": {"dtype": "F32", "shape": [1] * g.pick((65, 100_000)), "data_offsets": [0, 4]}}),
        lambda: dumps({"a": {**tensor, "dtype": g.pick(("X", 5, None, [], "F8_E4M3"))}}),
        lambda: dumps({"a": {**tensor, g.pick(("shape", "data_offsets")): [g.json_number(), g.json_number()]}}),
        lambda: dumps({f"a{index}": tensor for index in range(200_000)}),
        lambda: dumps({"__metadata__": {g.text(300): g.text(2**20)}, "a": tensor}),
        lambda: dumps({"__metadata__": {**FIT, "known": g.mutated_json(KNOWN)}, "a": tensor}),
    )
    length = g.pick((None, None, None, None, 0, 1, 2**31, 2**63, 2**64 - 1))
    data = safetensors(text, length)
    (g.work / "t.safetensors").write_bytes(g.pick((data, data, data[: g.pick((0, 4, 8, 20))])))
    command = g.pick(
        commands("""info @; info --json @; models show @; models verify @; models alias mine @; replay @
        txt2img x -m @ --dry-run; txt2img x --lora @ --dry-run; txt2img x --lora @:1e999 --dry-run
        anomaly p.png --fit @; train photos --vgg @ --mode vae -m tiny -o o --dry-run; batch prompts.txt --lora @""")
    )
    return Case(place(command, "t.safetensors"))


def special_files(g: Grammar) -> Case:
    if g.chance(0.4):
        suffix = g.pick(("", ".png", ".jpg", ".txt", ".jsonl", ".yaml", ".safetensors"))
        path = g.special_file(g.work / f"special{suffix}")
        return Case(place(g.pick(ANY_PATH), path.name), lists_errors=True, stdin=g.pick((b"", None, b"x\n")))
    for name in ("a.png", "special.png", "a.txt", "special.jpg", "metadata.jsonl", "sub", "artgen-ledger"):
        if g.chance(0.4):
            (g.work / "photos" / name).unlink(missing_ok=True)
            g.special_file(g.work / "photos" / name)
    return Case(place(g.pick(FOLDERS), "photos"), lists_errors=True)


def long_names(g: Grammar) -> Case:
    return Case(place(g.pick(ANY_PATH), g.name()), raw_stdout=True, lists_errors=True)


def image_limits(g: Grammar) -> Case:
    command = g.pick(FOLDERS)
    in_folder = g.chance(0.3) or "train" in command or "--fit" in command
    path = g.header_image(g.work / ("photos/big" if in_folder else "big"))
    return Case(place(command, "photos" if in_folder else path.name), lists_errors=True)


def numbers(g: Grammar) -> Case:
    *command, option = g.pick(NUMBERS).split()
    prefix = {"--lora": "a:", "--device": "cuda:", "--fast": "deepcache=", "--sweep": g.pick(("steps=", "seed=1:")),
              "--set": g.pick(("steps=", "seed="))}.get(option, "")  # fmt: skip
    value = prefix + g.number() + (g.pick((":9", ":5:0.0000001", "")) if option == "--sweep" else "")
    if command[0] == "config":
        return Case([*command, "--", option, value])
    dry = ["--dry-run"] if command[0] != "sheet" else []
    return Case([*command, *dry, f"{option}={value}"], lists_errors=command[0] == "batch")


def escapes(g: Grammar) -> Case:
    text = f"a{g.pick(ESCAPES)}b{g.pick(('', g.pick(ESCAPES)))}"
    if g.chance(0.3):
        command = g.pick(
            commands("""txt2img @ --dry-run; txt2img x --@; @; txt2img x --sampler @; models show @; info @
            config set @ 1; txt2img x --sweep prompt=@,b --dry-run; models alias @ tiny; replay p.png --set @=1
            txt2img x -m @; batch @.txt; txt2img x -o @.gif; img2img @ x; txt2img x --size @""")
        )
        return Case(place(command, text.replace("\0", "")), lists_errors=True)
    record = {**RECORD, "prompt": text, "model": text, text: text}
    a1111 = f"{text}\nSteps: 2, Sampler: {text}, Seed: 1, Model: {text}"
    files: dict[str, bytes] = {
        "t.png": png(16, 16, g, chunk(b"iTXt", b"artgen\0\0\0\0\0" + json.dumps(record).encode())),
        "u.png": png(16, 16, g, chunk(b"iTXt", b"parameters\0\0\0\0\0" + a1111.encode())),
        "t.json": json.dumps(record).encode(),
        "t.txt": a1111.encode(),
        "t.safetensors": safetensors(dumps({"__metadata__": {text: text, "ss_output_name": text}})),
        "t.jsonl": json.dumps({**record, "task": text}).encode(),
        "t.yaml": json.dumps({text: [text]}).encode(),
        "artgen.toml": f"{json.dumps(text)} = {json.dumps(text)}".encode(),
        "model/model_index.json": json.dumps({"_class_name": text, text: [text, text]}).encode(),
    }
    name = g.pick(sorted(files))
    path = g.work / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(files[name])
    command = g.pick(
        commands("""info @; replay @ --dry-run; replay @; batch @ --dry-run; sheet @ p.png; models show @
        config show; txt2img x --lora @ --dry-run; txt2img x -m @ --dry-run; models verify @""")
    )
    return Case(place(command, "model" if "/" in name else name), lists_errors=True)


def slashes(g: Grammar) -> Case:
    names = ("p.png", "new", "new.png", "photos", "photos/a.png", "prompts.txt", "new/sub", "new.safetensors")
    path = g.pick(names) + g.pick(("/", "/", "//", "/.", "/./", "/../", "\\", "/.."))
    return Case(place(g.pick((*ANY_PATH, *IMAGES)), path), lists_errors=True)


def hub_answers(g: Grammar) -> Case:
    command = g.pick(
        commands("""models pull owner/tiny; models pull owner/tiny@v1.0; txt2img x -m owner/tiny
        txt2img x -m owner/tiny --dry-run; models pull --force owner/tiny; models show owner/tiny""")
    )
    return Case(place(command), hub=lambda: hubs.hostile(g))


GROUPS: dict[str, Callable[[Grammar], Case]] = {
    function.__name__: function
    for function in (
        network, home, model_configs, state_files, image_text, prompts.prompt_files, prompts.tool_prompt_files,
        safetensors_headers, special_files, long_names, image_limits, hub_answers, numbers, escapes,
        slashes, prompts.wildcards,
    )
}  # fmt: skip
