"""List the commands that the cases run. `@` is the place of the hostile path or text."""

from typing import Any


def commands(text: str) -> tuple[str, ...]:
    """Return the commands of a text; they are separated by semicolons or lines."""
    return tuple(part.strip() for part in text.replace("\n", ";").split(";") if part.strip())


def place(command: str, text: object = "") -> list[str]:
    """Return the arguments of a command, with a path or text in the place of `@`."""
    return [part.replace("@", str(text)) if part.count("@") == 1 and "owner/" not in part else part
            for part in command.split()]  # fmt: skip


IMAGES = commands("""
    info @; info --json @; noise @; sheet @; img2img @ x; img2img @ x --dry-run; inpaint @ x --mask m.png
    inpaint p.png x --mask @; outpaint @ x --expand 8; denoise @; denoise @ --method nlm; denoise p.png --reference @
    anomaly @; reconstruct @; replay @ --dry-run; batch @ --task img2img
""")
"""Commands that read an image."""

FOLDERS = (*IMAGES, "train @ -o t.safetensors --dry-run", "anomaly p.png --fit @")
"""Commands that read a folder of images."""

ANY_PATH = (
    *FOLDERS,
    *commands("""
    batch @; batch status @; batch verify @; models show @; models verify @; models remove @ -y; models alias mine @
    models pull @; txt2img x -m @ --dry-run; txt2img x --lora @ --dry-run; txt2img x -o @; txt2img x -o @ --dry-run
    txt2img x --frames @ --dry-run; txt2img @ --dry-run; img2img p.png x -o @; sheet p.png -o @; noise p.png -o @
    anomaly p.png --map @; anomaly p.png --csv @; anomaly p.png --save-fit @; reconstruct p.png -o @
    denoise p.png --compare @; denoise photos -o @; train photos -o @ --dry-run; batch prompts.txt -o @
    train photos --vgg @ -o x.safetensors --dry-run; replay p.png -o @ --dry-run; config set lora_folder @
    cache clear @ -y; history search @; history show @; history rate @ 3; history tag @ x; history tag p.png @
    history scan @; history import @; history export -o @; history forget @; history --since @
    """),
)
"""Commands that use a path for input or output, or text."""

NUMBERS = commands("""
    txt2img x --seed; txt2img x --count; txt2img x --steps; txt2img x -g; txt2img x --size; txt2img x --width
    txt2img x --batch-size; txt2img x --memory-budget; txt2img x --sigmas; txt2img x --eta; txt2img x --fps
    txt2img x --guidance-rescale; txt2img x --quality; txt2img x --sweep; txt2img x --device; txt2img x --lora
    txt2img x --fast; img2img p.png x --strength; img2img p.png x --resize; outpaint p.png x --expand
    outpaint p.png x --target-size; inpaint p.png x --mask m.png --feather; denoise p.png --sigma; denoise p.png --eta
    denoise p.png --self-ensemble; noise p.png --steps; noise p.png --cell; sheet p.png --columns; sheet p.png --cell
    anomaly p.png --noise-levels; anomaly p.png --alpha; anomaly p.png --seed; train photos -o o --rank
    train photos -o o --train-steps; train photos -o o --resolution; train photos -o o --learning-rate
    batch prompts.txt --shard; batch prompts.txt --limit; batch prompts.txt --workers; batch prompts.txt --seed
    batch prompts.txt --count; replay p.png --set; config set steps; config set size
    config set cache_limit; history --rating; history --limit; history --size; history rate p.png
""")
"""Commands whose last option takes a number."""

DANGEROUS_CONFIG: dict[str, Any] = {
    "_attn_implementation": "owner/kernel", "attn_implementation": "flash_attention_2",
    "auto_map": {"AutoModel": "a.B"},
    "quantization_config": {"quant_method": "gptq"}, "custom_pipeline": "owner/code", "_class_name": "../x",
    "trust_remote_code": True, "_name_or_path": "/etc", "num_hidden_layers": 10**6, "hidden_size": 10**9,
    "max_position_embeddings": 2 * 10**7, "block_out_channels": [32] * 10**5, "num_train_timesteps": 10**9,
    "sample_size": 10**8, "in_channels": "x", "vocab_size": 10**12, "layers_per_block": 10**7,
    "cross_attention_dim": 0, "model_type": "x/../y", "architectures": ["os.system"], "num_layers": -1,
}  # fmt: skip
"""Keys of configurations that load code, exhaust memory or have another type."""
