"""Declare the settings of the prompts."""

from dataclasses import dataclass

from artgen.spec.fields import option

PROMPT_WEIGHTS = ("a1111", "comfy", "none")
LONG_PROMPT_MODES = ("chunk", "truncate", "error")
MAX_CLIP_SKIP = 12


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Store the prompts, and how the text encoders read them."""

    prompt: str = option(
        "",
        "Text prompt: what the image shows. `-` reads it from stdin. `artgen prompt` explains its syntax.",
        brief="Text prompt, in quotes: what the image shows.",
        flags=("-p", "--prompt"),
        positional=True,
        per_call=True,
        per_image=True,
        affects=("pixels", "prompt"),
    )
    negative_prompt: str = option(
        "",
        "What the image should not show.",
        flags=("-n", "--negative-prompt"),
        aliases=("--negative",),
        per_image=True,
        affects=("pixels", "prompt"),
    )
    style: tuple[str, ...] = option(
        (),
        "Style from your style_folder, which is added to the prompts. `artgen styles` lists the names. Can be "
        "repeated.",
        metavar="NAME",
        recorded=False,
        affects=("pixels", "prompt"),
        values="styles",
    )
    embedding: tuple[str, ...] = option(
        (),
        "Textual inversion: a .safetensors file, or a name in your embedding_folder or model_folders. TOKEN: word of "
        "the prompts that the embedding replaces; the name of the file if omitted. Can be repeated.",
        brief="Textual inversion: a file, or a name in your embedding_folder.",
        metavar="FILE[:TOKEN]",
        is_path=True,
        affects=("pixels", "prompt"),
        values="embeddings",
    )
    prompt_weights: str | None = option(
        None,
        "Syntax of prompts for CLIP text encoders. a1111: (word:1.2), [word], BREAK, [a:b:0.5], [a|b], AND. comfy: "
        "(word:1.2) with the rules of ComfyUI. none: the prompt is plain text. [a1111]",
        brief="Syntax of prompts. [a1111]",
        choices=PROMPT_WEIGHTS,
        affects=("pixels", "prompt"),
        neutral_values=("a1111",),
    )
    long_prompt: str | None = option(
        None,
        "Handling of prompts over the token limit of the model, which is 75 for CLIP. chunk: encode chunks of 75 "
        "tokens. truncate: cut the prompt and print a note. error: refuse the prompt. [chunk for CLIP text encoders, "
        "else truncate]",
        brief="Handling of prompts over the token limit of the model.",
        choices=LONG_PROMPT_MODES,
        affects=("pixels", "prompt"),
    )
    clip_skip: int | None = option(
        None,
        "Use the hidden states of CLIP before the last N-1 layers, as in A1111. [1]",
        minimum=1,
        maximum=MAX_CLIP_SKIP,
        affects=("pixels", "prompt"),
        neutral_values=(1,),
    )
