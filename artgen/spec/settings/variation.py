"""Declare the settings of variations: mixed initial noise, and mixed prompts."""

from dataclasses import dataclass

from artgen.spec.fields import option
from artgen.spec.settings.sampling import MAX_SEED


@dataclass(frozen=True, kw_only=True)
class VariationSettings:
    """Store the second seed of the initial noise."""

    variation_seed: int | None = option(
        None,
        "Seed of the noise that --variation-strength mixes with the noise of --seed. With --count, this seed increases "
        "instead of --seed. -1 is random. [random]",
        brief="Seed of the second noise.",
        aliases=("--subseed",),
        minimum=-1,
        maximum=MAX_SEED,
        per_call=True,
    )
    variation_strength: float | None = option(
        None,
        "How different the image is: 0 is the image of --seed, 1 the image of --variation-seed. Typical values: 0.1 to "
        "0.3. The noise is mixed as in AUTOMATIC1111. [0]",
        brief="How different the image is from the image of --seed.",
        aliases=("--subseed-strength",),
        minimum=0,
        maximum=1,
        neutral_values=(0.0,),
    )


@dataclass(frozen=True, kw_only=True)
class MorphSettings:
    """Store a second image of txt2img, and the position between the two images. `artgen morph` sets them."""

    morph_prompt: str | None = option(
        None,
        "Prompt of the second image of a morph, without wildcards, styles and tags. [the prompt]",
        metavar="TEXT",
        per_call=True,
        affects=("pixels", "prompt"),
    )
    morph_negative_prompt: str | None = option(
        None,
        "Negative prompt of the second image of a morph. [the negative prompt]",
        metavar="TEXT",
        per_call=True,
        affects=("pixels", "prompt"),
    )
    morph_seed: str | None = option(
        None,
        "Seed of the second image of a morph, with its variation if it has one: SEED or "
        "SEED:VARIATION_SEED:STRENGTH. [the seed]",
        metavar="SEED",
        per_call=True,
    )
    morph_position: float | None = option(
        None,
        "Position between the two images of a morph: 0 is the first image, 1 the second. Embeddings of prompts are "
        "interpolated linearly, noise spherically. [0]",
        brief="Position between the two images of a morph.",
        minimum=0,
        maximum=1,
        per_call=True,
        affects=("pixels", "prompt"),
    )
