"""Declare the settings of masks that a text selects."""

from dataclasses import dataclass

from artgen.spec.fields import option
from artgen.spec.mask_text import MAX_GROWTH_PX

MASK_MODELS = ("clipseg", "groundingdino", "owlv2")
"""Names of the mask models."""


@dataclass(frozen=True, kw_only=True)
class MaskModelSettings:
    """Store how a mask model converts a text to a mask."""

    grow: int | None = option(
        None,
        "Grow the mask of the text by this number of pixels of the input image. Negative values shrink the mask. [0]",
        metavar="PX",
        minimum=-MAX_GROWTH_PX,
        maximum=MAX_GROWTH_PX,
        affects=("pixels", "input"),
    )
    mask_threshold: float | None = option(
        None,
        "Smallest score of a selected pixel, 0 to 1. [clipseg: 0.5; groundingdino: 0.3; owlv2: 0.2]",
        brief="Smallest score of a selected pixel, 0 to 1.",
        minimum=0.001,
        maximum=1,
        affects=("pixels", "input"),
    )
    mask_model: str | None = option(
        None,
        "Model that finds the text in the image: clipseg; groundingdino or owlv2, which find boxes, with SAM for "
        "sharp edges; or the folder of such a model. [clipseg]",
        brief="Mask model: clipseg, groundingdino, owlv2 or a folder.",
        metavar="NAME|FOLDER",
        aliases=("--clipseg=clipseg",),
        unlisted_aliases=("--clipseg=clipseg",),
        values="folders",
        is_path=True,
        affects=("pixels", "input"),
    )


@dataclass(frozen=True, kw_only=True)
class MaskTextSettings(MaskModelSettings):
    """Store the text that selects the area to repaint."""

    mask_text: str | None = option(
        None,
        'Repaint what this text describes, instead of a mask image, for example "dog AND NOT collar". Operators in '
        "upper case: AND, OR, NOT, with brackets. dog{+8} grows by 8 pixels, dog{*1.5} multiplies the score.",
        brief='Repaint what a text describes, for example "dog AND NOT collar".',
        metavar="TEXT",
        aliases=("--mask-prompt", "--text-mask"),
        unlisted_aliases=("--text-mask",),
        affects=("pixels", "input"),
        excludes=("mask",),
    )
    save_mask: str | None = option(
        None,
        "Also save the mask of --mask-text in this file, or in this folder for several images. White is repainted.",
        brief="Also save the mask of the text.",
        metavar="FILE",
        is_path=True,
        values="files",
        recorded=False,
        per_call=True,
        sweepable=False,
        affects=(),
    )
