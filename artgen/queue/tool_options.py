"""List the options of other tools' prompt files: the settings that they select, and the options without a setting.

The sources of the names are AUTOMATIC1111's script "Prompts from file" and its API, the command line of InvokeAI 2, and
Midjourney. Names of A1111 with the same meaning, such as `--sampler-name`, are aliases of the settings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Dialect:
    """Represent the options of a tool in a line of a prompt file.

    Attributes:
        tool: name of the tool.
        detected_by: options that occur only in lines of the tool.
        settings: option -> setting. These options have priority over options of artgen.
        ignored: options without a setting in artgen. A note lists them.
    """

    tool: str
    detected_by: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


A1111_IGNORED = _words(
    """
    alwayson_scripts comments disable_extra_networks do_not_save_grid do_not_save_samples enable_hr filename
    firstphase_height firstphase_width force_task_id hr_additional_modules hr_cfg hr_checkpoint_name
    hr_negative_prompt hr_prompt hr_resize_x hr_resize_y hr_sampler_name hr_scale hr_scheduler hr_second_pass_steps
    hr_upscaler image_cfg_scale include_init_images infotext init_images initial_noise_multiplier
    inpaint_full_res inpaint_full_res_padding inpainting_fill inpainting_mask_invert latent_mask mask_blur mask_round
    model_hash outpath_grids outpath_samples override_settings override_settings_restore_afterwards
    prompt_for_display refiner_checkpoint refiner_switch_at resize_mode restore_faces s_churn s_min_uncond s_noise
    s_tmax s_tmin sampler_index save_images script_args script_name sd_model_hash seed_resize_from_h
    seed_resize_from_w send_images tiling
    """
)
"""Names of A1111 without a setting in artgen: tags of "Prompts from file", keys of the API, columns of `log.csv`."""

A1111_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "cfgs": "guidance_scale",
        "schedule_type": "sigmas",
        "sd_model_name": "model",
        "sd_model_checkpoint": "model",
        "styles": "style",
    }
)
"""Further names of A1111 in tables and JSON -> setting."""


A1111 = Dialect(
    "AUTOMATIC1111",
    settings={"--styles": "style"},
    ignored=frozenset(f"--{name.replace('_', '-')}" for name in A1111_IGNORED),
)

_INVOKEAI_SETTINGS = {
    "-s": "steps", "-S": "seed", "-n": "count", "--iterations": "count", "-C": "guidance_scale", "-A": "scheduler",
    "-m": "scheduler", "-I": "image", "--init-img": "image", "-f": "strength", "-M": "mask", "--init-mask": "mask",
}  # fmt: skip

INVOKEAI = Dialect(
    "InvokeAI",
    detected_by=_words("-C -S -A -I -U -G -V -T -D -ft -cf -tm"),
    settings=_INVOKEAI_SETTINGS,
    ignored=_words(
        """
        -U --upscale -G --facetool-strength --gfpgan-strength -ft --facetool -cf --codeformer-fidelity -save_orig
        --save-original -T -fit --fit -t --log-tokenization -x --skip-normalize -g --grid -i --individual -o --outdir
        -z --png-compression -v --variation-amount -V --with-variations --threshold --perlin --hires-fix
        --save-intermediates --karras-max -tm --text-mask --init-color -r --inpaint-replace -c --outcrop
        --force-outpaint --seam-size --seam-blur --seam-strength --seam-steps --tile-size --new-prompt -embiggen
        --embiggen -embiggen_tiles --embiggen-tiles -embiggen_strength --embiggen-strength --seamless --seamless-axes
        --use-mps-noise -D --out-direction --fnformat
        """
    ),
)

MIDJOURNEY = Dialect(
    "Midjourney",
    detected_by=_words(
        """
        --ar --aspect --v --niji --s --stylize --c --chaos --q --w --weird --iw --cw --cref --sref --sw --sv --oref
        --ow --no --tile --stop --r --repeat --relax --turbo --draft --p --personalize --profile --raw --uplight
        --upbeta --upanime --hd --hq --test --testp --creative --video --sameseed --exp --motion --loop
        """
    ),
    settings={"--no": "negative_prompt"},
    ignored=_words("--version --style --quality --fast --public --stealth --vibe"),
)

DIALECTS = (INVOKEAI, MIDJOURNEY)
"""Tools whose lines are detected by their options."""


def ignored_note(tool: str, names: Iterable[str]) -> str:
    """Return the note for options or keys of a tool that artgen does not have."""
    listed = list(dict.fromkeys(names))
    joined = " and ".join(filter(None, [", ".join(listed[:-1]), listed[-1]]))
    return f"artgen has no {joined} of {tool}: {'it has' if len(listed) == 1 else 'they have'} no effect."
