"""List the words of other tools for commands. See `artgen.spec.synonyms.options`."""

from typing import NamedTuple


class CommandRow(NamedTuple):
    """Represent words that mean a command.

    Attributes:
        words: words of other tools, separated by spaces.
        tools: tools that have the words.
        hint: sentences with the command to use.
        group: command group of the words; empty for commands of `artgen`.
    """

    words: str
    tools: str
    hint: str
    group: str = ""


COMMAND_ROWS = (
    CommandRow(
        "draw generate gen imagine create make paint render run image text2image texttoimage txttoimg prompt2img "
        "t2img t2i sd diffuse new dream produce",
        "imaginAIry, mflux, InvokeAI, Midjourney, OllamaDiffuser",
        'To generate an image, run `artgen txt2img "a red fox in the snow"`.',
    ),
    CommandRow(
        "imagetoimage image2image i2i restyle",
        "InvokeAI",
        'To change an image, run `artgen img2img IMAGE PROMPT --strength 0.5`.',
    ),
    CommandRow(
        "c2pa c2patool keygen certificate credentials contentcredentials signature",
        "c2patool",
        "To create a key for signing, run `artgen sign init`. To check a signature, run `artgen verify FILE`.",
    ),
    CommandRow(
        "vary variation remix similar subtle strong",
        "Midjourney, InvokeAI",
        "For similar images, run `artgen variations IMAGE --count 4`.",
    ),
    CommandRow(
        "instruct instruction instructpix2pix pix2pix ip2p kontext editimage imageedit qwenedit qwenimageedit editing",
        "mflux, ComfyUI, OpenAI",
        'To change an image according to an instruction, run `artgen edit IMAGE "make it winter"`.',
    ),
    CommandRow(
        "fill erase removeobject retouch generativefill",
        "Draw Things",
        "To repaint a part of an image, run `artgen inpaint IMAGE PROMPT --mask MASK`.",
    ),
    CommandRow(
        "extend uncrop expand outcrop zoom zoomout pan",
        "Midjourney, InvokeAI",
        "To extend an image, run `artgen outpaint IMAGE PROMPT --expand 64`.",
    ),
    CommandRow("purge prune gc clearcache cleancache cleanup caches", "pip, uv, Ollama", "Run `artgen cache clear`."),
    CommandRow("clean denoising restore enhance", "image editors", "To remove noise, run `artgen denoise IMAGE`."),
    CommandRow(
        "upscaler enlarge superresolution superres hires resize upscaling esrgan",
        "imaginAIry, A1111, Midjourney, Stability",
        "To enlarge an image, run `artgen upscale IMAGE --by 2`.",
    ),
    CommandRow(
        "controlnet canny depth pose",
        "ComfyUI, A1111",
        "To control the layout with an image, run `artgen txt2img PROMPT --control canny=IMAGE`.",
    ),
    CommandRow(
        "video animate txt2vid img2vid gif vid",
        "ComfyUI",
        "Video is not supported. `artgen txt2img PROMPT --frames gif` saves the steps of one image.",
    ),
    CommandRow(
        "interrogate img2txt img2text caption captions describe clip blip",
        "A1111, Midjourney",
        "Captioning is not supported. `artgen info IMAGE` prints the settings of an image. Images are saved in "
        "outputs/, or where --output says.",
    ),
    CommandRow(
        "images outputs log logs last latest recent browse show open view rate tag forget",
        "Midjourney, llm, git",
        "To list and search the generated images, run `artgen history`. `artgen info IMAGE` prints the settings of an "
        "image.",
    ),
    CommandRow("pnginfo metadata exif inspect parameters read", "A1111", "Run `artgen info IMAGE`."),
    CommandRow(
        "server web webui ui gui app start launch browser api",
        "A1111, InvokeAI",
        "Run `artgen serve` for an HTTP server. A web page that generates images is not supported.",
    ),
    CommandRow(
        "interactive shell repl chat",
        "Ollama",
        "`artgen --help` lists the commands; docs/python-api.md has the functions.",
    ),
    CommandRow(
        "daemon resident background keepalive keeploaded preload warmup warm load unload",
        "Ollama, mflux",
        "To keep models loaded between commands, run `artgen worker start`.",
    ),
    CommandRow("samplers sampler sched solvers", "A1111, InvokeAI", "Run `artgen schedulers`."),
    CommandRow(
        "list ls model listmodels checkpoints checkpoint ckpts ps tags",
        "Ollama, package managers",
        "To list models, run `artgen models list`.",
    ),
    CommandRow(
        "pull download fetch get install add",
        "Ollama, package managers",
        "To download a model, run `artgen models pull MODEL`.",
    ),
    CommandRow(
        "rm remove delete uninstall del",
        "Ollama, package managers",
        "To delete a model, run `artgen models remove MODEL`.",
    ),
    CommandRow(
        "search find civitai hub huggingface",
        "package managers",
        "To search your images, run `artgen history search WORDS`. Search for models at "
        "https://huggingface.co/models, then run `artgen models pull OWNER/NAME`.",
    ),
    CommandRow("convert", "diffusers", "Run `artgen models convert FILE`."),
    CommandRow("recommend", "artgen", "Run `artgen models recommend`."),
    CommandRow(
        "lora loras embeddings vae vaes textualinversion",
        "A1111",
        "`artgen info STYLE.safetensors` describes the file of a LoRA or an embedding. Generate with --lora FILE.",
    ),
    CommandRow(
        "finetune dreambooth finetuning fit trainlora kohya learn",
        "diffusers, kohya",
        "Run `artgen train FOLDER`.",
    ),
    CommandRow(
        "set settings setting configure preferences prefs options defaults setup",
        "package managers",
        "Run `artgen config set NAME VALUE` or `artgen config show`.",
    ),
    CommandRow(
        "status check diagnose diagnostics health sysinfo system env device devices gpu test selftest debug",
        "brew, flutter",
        "Run `artgen doctor`.",
    ),
    CommandRow(
        "grid contactsheet montage collage compare xyz",
        "A1111, ImageMagick",
        "To arrange images, run `artgen sheet IMAGE...`.",
    ),
    CommandRow(
        "score clipscore clip_score aesthetic rating sort evaluate best",
        "TorchMetrics, A1111 extensions",
        'To score images for a prompt, run `artgen rank IMAGE... --prompt "a red fox"`.',
    ),
    CommandRow("sweep plot", "A1111", "Use --sweep: `artgen txt2img \"a red fox\" --sweep steps=10,20,30`."),
    CommandRow("repeat redo again regenerate rerun reproduce", "Midjourney", "Run `artgen replay IMAGE`."),
    CommandRow("resume continue queue prompts file fromfile jobs", "make", "Run `artgen batch FILE`."),
    CommandRow(
        "wildcards wildcard tokens tokenize tokenise tokenizer explain",
        "A1111",
        "To see how a prompt is read, run `artgen prompt PROMPT`.",
    ),
    CommandRow("profile profiles template templates", "command lines", "Run `artgen preset list`."),
    CommandRow("style", "Fooocus", "To list styles, run `artgen styles`; to use one, add --style NAME."),
    CommandRow(
        "upgrade update selfupdate",
        "package managers",
        "artgen does not update itself. Run `pip install --upgrade artgen`.",
    ),
    CommandRow("completion completions autocomplete", "package managers", "Run `artgen --install-completion`."),
    CommandRow("login auth token", "huggingface_hub", "Run `hf auth login`, which sets the token of Hugging Face."),
    CommandRow(
        "license licences licenses credits about",
        "command lines",
        "`artgen models show MODEL` prints the license of a model; `artgen --version` prints the version.",
    ),
    CommandRow(
        "docs documentation man manual usage tutorial examples example quickstart",
        "command lines",
        "Run `artgen --help`. `artgen help COMMAND` shows the options of a command.",
    ),
    CommandRow(
        "quit exit stop kill cancel",
        "shells",
        "To stop a run, press Ctrl-C. To end the worker, run `artgen worker stop`.",
    ),
    CommandRow("ps list show info", "Docker, Ollama", "Run `artgen worker status`.", "worker"),
    CommandRow("kill end quit exit shutdown down", "Docker", "Run `artgen worker stop`.", "worker"),
    CommandRow("run up launch restart reload serve", "Docker", "Run `artgen worker start`.", "worker"),
    CommandRow(
        "search find query browse lookup explore",
        "Ollama, package managers",
        "Search for models at https://huggingface.co/models, then run `artgen models pull OWNER/NAME`. `artgen "
        "models list` lists the models with a short name.",
        "models",
    ),
    CommandRow(
        "download get install add fetch clone import",
        "Ollama, OllamaDiffuser, InvokeAI",
        "Run `artgen models pull MODEL`.",
        "models",
    ),
    CommandRow("update upgrade", "package managers", "Run `artgen models pull MODEL --force`.", "models"),
    CommandRow(
        "rm delete uninstall del erase prune purge clear",
        "Ollama",
        "Run `artgen models remove MODEL`.",
        "models",
    ),
    CommandRow("info describe inspect details card view", "Ollama", "Run `artgen models show MODEL`.", "models"),
    CommandRow("ls all available installed ps index", "Ollama", "Run `artgen models list`.", "models"),
    CommandRow("check hash hashes test validate checksum", "InvokeAI", "Run `artgen models verify`.", "models"),
    CommandRow("where which location folder dir", "command lines", "Run `artgen models path MODEL`.", "models"),
    CommandRow(
        "set use select default switch run load",
        "OllamaDiffuser, Ollama",
        "To set the default model, run `artgen config set model MODEL`.",
        "models",
    ),
    CommandRow("rename aliases name", "Ollama", "Run `artgen models alias NAME OWNER/MODEL`.", "models"),
    CommandRow("suggest best", "command lines", "Run `artgen models recommend`.", "models"),
    CommandRow("ls all dump print view cat", "git, pip", "Run `artgen config list`.", "config"),
    CommandRow("put add write update change", "git, npm", "Run `artgen config set NAME VALUE`.", "config"),
    CommandRow("rm remove delete del clear reset", "npm, git", "Run `artgen config unset NAME`.", "config"),
    CommandRow("read value", "git", "Run `artgen config get NAME`.", "config"),
    CommandRow(
        "edit open editor",
        "git",
        "`artgen config path` prints the path of the file. Open it in an editor.",
        "config",
    ),
    CommandRow("where file location which", "command lines", "Run `artgen config path`.", "config"),
    CommandRow("init create new", "command lines", "`artgen config set NAME VALUE` creates the file.", "config"),
    CommandRow(
        "create new add write store define set edit change update",
        "command lines",
        "Run `artgen preset save NAME`, with --overwrite to replace a preset.",
        "preset",
    ),
    CommandRow(
        "rename mv copy cp export import path where file",
        "command lines",
        "Presets are in the file presets.toml. `artgen config path` prints the path of its folder.",
        "preset",
    ),
    CommandRow("rm delete del drop erase", "command lines", "Run `artgen preset remove NAME`.", "preset"),
    CommandRow("ls all", "command lines", "Run `artgen preset list`.", "preset"),
    CommandRow("get print view cat describe info", "command lines", "Run `artgen preset show NAME`.", "preset"),
    CommandRow(
        "clean purge rm remove delete del prune reset empty wipe gc erase drop free",
        "pip, uv, Hugging Face",
        "Run `artgen cache clear`.",
        "cache",
    ),
    CommandRow("ls all scan info show size status du dir folder path print", "pip, uv, Hugging Face",
               "Run `artgen cache list`.", "cache"),
    CommandRow(
        "limit max set config maxsize",
        "command lines",
        "To set the size limit, run `artgen config set cache_limit 20GiB`.",
        "cache",
    ),
    CommandRow("ls list all log logs latest last recent images", "git, llm", "Run `artgen history`.", "history"),
    CommandRow("find grep query filter lookup", "command lines", "Run `artgen history search WORDS`.", "history"),
    CommandRow("get info print view cat describe open", "command lines", "Run `artgen history show ID`.", "history"),
    CommandRow("rating star stars like favorite fav", "photo managers", "Run `artgen history rate ID 5`.", "history"),
    CommandRow("label tags mark keyword untag", "photo managers", "Run `artgen history tag ID TAG`.", "history"),
    CommandRow(
        "rm remove delete del drop clear clean purge erase prune",
        "command lines",
        "To remove an entry, run `artgen history forget ID`. Image files are not deleted.",
        "history",
    ),
    CommandRow("backup save dump", "command lines", "Run `artgen history export -o FILE`.", "history"),
    CommandRow("restore load", "command lines", "Run `artgen history import FILE`.", "history"),
    CommandRow("add index rebuild reindex repair sync update", "command lines", "Run `artgen history scan FOLDER`.",
               "history"),
    CommandRow("replay rerun again redo", "command lines", "Run `artgen replay history:ID`.", "history"),
    CommandRow("off on disable enable", "shells", "Run `artgen config set history off`.", "history"),
    CommandRow(
        "use apply load run",
        "command lines",
        "Use --preset NAME in a command that generates images.",
        "preset",
    ),
)  # fmt: skip
"""Words for commands."""

_PROMPT_COMMANDS = ("txt2img", "img2img", "inpaint", "outpaint", "edit")
_IMAGE_COMMANDS = (*_PROMPT_COMMANDS, "denoise", "sample")
_INPUT_COMMANDS = ("img2img", "inpaint", "outpaint", "edit", "denoise")
_SIZED_COMMANDS = ("txt2img", "img2img", "inpaint", "edit")

COMMANDS_OF_GROUPS = {
    "AnomalySettings": ("anomaly",),
    "BatchMethodSettings": ("batch",),
    "BatchRunSettings": ("batch",),
    "CanvasSettings": _SIZED_COMMANDS,
    "CheckpointSettings": ("train",),
    "ClassSettings": ("sample",),
    "CombinationSettings": _PROMPT_COMMANDS,
    "ComputeSettings": _PROMPT_COMMANDS,
    "ControlSettings": _PROMPT_COMMANDS,
    "DatasetSettings": ("train",),
    "DenoiseSettings": ("denoise",),
    "EditSettings": ("edit",),
    "FeatherSettings": ("inpaint", "outpaint", "edit"),
    "DeviceSettings": _IMAGE_COMMANDS,
    "FilterSettings": (*_IMAGE_COMMANDS, "variations", "morph", "replay"),
    "FramesSettings": _IMAGE_COMMANDS,
    "AnimationSettings": _IMAGE_COMMANDS,
    "DisplaySettings": (*_IMAGE_COMMANDS, "batch", "sheet"),
    "BestOfSettings": ("txt2img", *_INPUT_COMMANDS[:3]),
    "GenerationReportSettings": (*_PROMPT_COMMANDS, "sample", "variations", "replay"),
    "GuidanceSettings": (*_PROMPT_COMMANDS, "sample"),
    "HiresSettings": ("txt2img",),
    "Img2ImgInput": _INPUT_COMMANDS[:3],
    "InpaintBlend": ("inpaint", "outpaint"),
    "InpaintDetails": ("inpaint",),
    "InputImage": _INPUT_COMMANDS,
    "InvertSettings": ("img2img",),
    "LoraSettings": (*_PROMPT_COMMANDS, "denoise"),
    "LoraTrainingSettings": ("train",),
    "LossSettings": ("train",),
    "MaskModelSettings": ("inpaint", "edit", "mask"),
    "MaskSettings": ("inpaint", "edit"),
    "MaskTextSettings": ("inpaint", "edit"),
    "ModelRef": _IMAGE_COMMANDS,
    "ModelSettings": _PROMPT_COMMANDS,
    "MorphSettings": ("txt2img",),
    "OpaqueInput": _INPUT_COMMANDS[:4],
    "OptimizerSettings": ("train",),
    "OutpaintSettings": ("outpaint",),
    "OutputSettings": _IMAGE_COMMANDS,
    "PanoramaSettings": ("txt2img",),
    "PresetSettings": _IMAGE_COMMANDS,
    "PromptSettings": _PROMPT_COMMANDS,
    "RunSettings": _IMAGE_COMMANDS,
    "RankRunSettings": ("rank",),
    "RankSettings": ("rank",),
    "SamplingSettings": _PROMPT_COMMANDS,
    "ScoreSettings": ("txt2img", *_INPUT_COMMANDS[:3], "rank"),
    "ScaledInput": _INPUT_COMMANDS,
    "SchedulerSettings": (*_PROMPT_COMMANDS, "sample"),
    "SeamlessSettings": ("txt2img", "img2img"),
    "SeriesSettings": (*_PROMPT_COMMANDS, "sample"),
    "ShowSettings": (*_IMAGE_COMMANDS, "batch", "info"),
    "SizeSettings": _SIZED_COMMANDS,
    "StepsSettings": _IMAGE_COMMANDS,
    "SweepSettings": _IMAGE_COMMANDS,
    "UpscaleSettings": ("upscale",),
    "VariationSettings": _PROMPT_COMMANDS[:4],
}
"""Main commands that take all settings of a group. A test compares them with the commands.

They are repeated here because the import of the commands or the requests would double the time of a refusal.
"""
