"""Define the request of each task. A request is an immutable description of one image."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from artgen.errors import UsageError
from artgen.spec.base_requests import (
    OpaqueImageRequest,
    PromptedImageRequest,
    PromptRequest,
    Request,
    VariedRequest,
)
from artgen.spec.best_of import BestOf, num_candidates
from artgen.spec.hires import parse_hires
from artgen.spec.initial_noise import parse_seed_noise
from artgen.spec.mask_source import MaskSource
from artgen.spec.restoration_requests import Denoise, Upscale
from artgen.spec.schedulers import find_scheduler_with_sigmas
from artgen.spec.settings import (
    CanvasSettings,
    ClassSettings,
    EditSettings,
    FeatherSettings,
    GuidanceSettings,
    HiresSettings,
    InpaintBlend,
    InpaintDetails,
    InvertSettings,
    MorphSettings,
    OutpaintSettings,
    PanoramaSettings,
    SchedulerSettings,
    SeamlessSettings,
)
from artgen.spec.tasks import COMPOSITE, ENHANCED, GENERATED, Task


@dataclass(frozen=True, kw_only=True)
class Txt2Img(
    HiresSettings,
    PanoramaSettings,
    SeamlessSettings,
    MorphSettings,
    VariedRequest,
    BestOf,
    CanvasSettings,
    PromptRequest,
):
    """Generate an image from a prompt. Width and height are the size before an enlargement by `hires`."""

    task: ClassVar[str] = "txt2img"

    def _normalize(self, names: Collection[str]) -> None:
        number: object = self.hires
        if isinstance(number, int | float) and not isinstance(number, bool):  # JSON and Python have numbers.
            object.__setattr__(self, "hires", f"{number:g}")
        super()._normalize(names)
        self._normalize_best_of(names)
        if self.morph_seed is not None and "morph_seed" in names:
            object.__setattr__(self, "morph_seed", str(parse_seed_noise(str(self.morph_seed))))
        if self.hires is not None and "hires" in names:
            object.__setattr__(self, "hires", str(parse_hires(self.hires)))
        for name in () if self.hires else ("hires_in", "hires_model", "hires_steps"):
            if getattr(self, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} has no effect without --hires.", f"Add --hires 2, or remove {option}.", settings=(name,)
                )
        if self.hires_model is not None and self.hires_in == "latent":
            raise UsageError(
                "Cannot combine --hires-model and --hires-in latent: the network enlarges the decoded image.",
                "Remove --hires-in or --hires-model.",
                settings=("hires_in", "hires_model"),
            )


@dataclass(frozen=True, kw_only=True)
class Img2Img(SeamlessSettings, InvertSettings, VariedRequest, BestOf, CanvasSettings, PromptedImageRequest):
    """Generate an image from an input image and a prompt."""

    task: ClassVar[str] = "img2img"

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        self._normalize_best_of(names)
        if self.invert and num_candidates(self) > 1:
            raise UsageError(
                "Cannot combine invert and best_of: the inverted image does not depend on the seed.",
                "Remove --invert or --best-of.",
                settings=("best_of", "invert"),
            )
        if self.source_prompt and not self.invert:
            raise UsageError(
                "source_prompt has no effect without invert.",
                "Add --invert, or remove --source-prompt.",
                settings=("source_prompt",),
            )
        if self.invert and self.strength is not None:
            raise UsageError(
                "Cannot combine invert and strength: the inverted image starts at the last noise level.",
                "Use --guidance-scale to set the amount of change, or remove --invert.",
                settings=("strength", "invert"),
            )


@dataclass(frozen=True, kw_only=True)
class Inpaint(InpaintDetails, InpaintBlend, MaskSource, VariedRequest, BestOf, CanvasSettings, PromptedImageRequest):
    """Repaint the masked part of an image."""

    task: ClassVar[str] = "inpaint"

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        self._normalize_best_of(names)
        self._normalize_mask_source(names)
        if self.mask is None and self.mask_text is None:
            raise UsageError(
                "inpaint needs a mask. White pixels are repainted.",
                'artgen inpaint input.png --mask mask.png, or --mask-text "the dog"',
            )
        if self.save_mask is not None and self.strength == 0:
            raise UsageError(
                "save_mask needs a strength above 0: strength 0 computes no mask.",
                f'artgen mask {self.image} "{self.mask_text}" -o {self.save_mask}',
                settings=("save_mask",),
            )
        if self.soft_mask and self.only_masked is not None:
            raise UsageError(
                "Cannot combine soft_mask and only_masked.",
                "Remove --soft-mask or --only-masked.",
                settings=("only_masked", "soft_mask"),
            )
        if self.soft_mask and self.fill != "original":
            raise UsageError(
                f"Cannot combine soft_mask and fill {self.fill}: gray pixels keep a part of the input image.",
                "Remove --soft-mask or --fill.",
                settings=("fill", "soft_mask"),
            )


@dataclass(frozen=True, kw_only=True)
class Outpaint(InpaintBlend, OutpaintSettings, VariedRequest, BestOf, PromptedImageRequest):
    """Extend an image beyond its edges."""

    task: ClassVar[str] = "outpaint"

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        self._normalize_best_of(names)
        if (self.expand is None) == (self.target_size is None):
            raise UsageError(
                "outpaint needs either --expand or --target-size.", "artgen outpaint input.png --expand 64"
            )


@dataclass(frozen=True, kw_only=True)
class Edit(EditSettings, FeatherSettings, MaskSource, CanvasSettings, OpaqueImageRequest):
    """Change an image according to an instruction."""

    task: ClassVar[str] = "edit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompt.strip() and not self.style:
            raise UsageError("edit needs an instruction.", 'artgen edit input.png "make it winter"')

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        self._normalize_mask_source(names)
        has_mask = self.mask is not None or self.mask_text is not None
        for name in () if has_mask else ("feather", "invert_mask", "resize_mask"):
            if getattr(self, name):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} needs a mask.", f"Add --mask mask.png, or remove {option}.", settings=(name,)
                )
        if "reference" in names and "-" in self.reference:
            raise UsageError("Cannot read a reference image from stdin.", "Save the image to a file first.")


@dataclass(frozen=True, kw_only=True)
class Sample(ClassSettings, SchedulerSettings, GuidanceSettings, Request):
    """Generate an image from noise with a model without a prompt."""

    task: ClassVar[str] = "sample"
    filename_template: ClassVar[str] = "{index:05}-{seed}"
    offload: ClassVar[None] = None
    memory_budget: ClassVar[None] = None
    quantize: ClassVar[None] = None
    vae_tiling: ClassVar[None] = None
    fast: ClassVar[None] = None
    """Settings of other tasks that the memory policy reads."""

    def group_key(self) -> Request:
        """Return a request without the values that may differ in a pipeline call: seed and class."""
        return self.replace(seed=0, class_label=None)

    def _normalize(self, names: Collection[str]) -> None:
        number: object = self.class_label
        if isinstance(number, int) and not isinstance(number, bool):  # JSON and Python have numbers.
            object.__setattr__(self, "class_label", f"{number}")
        super()._normalize(names)
        if self.scheduler is None or "scheduler" not in names:
            return
        entry, sigmas = find_scheduler_with_sigmas(self.scheduler)
        if sigmas not in (None, "normal"):
            raise UsageError(
                f"The scheduler {self.scheduler!r} implies {sigmas} sigmas, which sample does not support.",
                f"Use --scheduler {entry.name}.",
                settings=("scheduler",),
            )
        object.__setattr__(self, "scheduler", entry.name)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(Txt2Img, "Text2Image", ("width", "height"), inputs=("prompt",), source_type=GENERATED),
        Task(Img2Img, "Image2Image", ("image", "strength", "width", "height"), default_strength=0.6),
        Task(
            Inpaint,
            "Inpainting",
            ("image", "mask_image", "strength", "width", "height"),
            inputs=("image", "mask"),
            default_strength=1.0,
        ),
        Task(Outpaint, "Inpainting", ("image", "mask_image", "strength", "width", "height"), default_strength=1.0),
        Task(Edit, "Image2Image", ("image", "width", "height"), inputs=("image", "prompt")),
        Task(Denoise, source_type=ENHANCED, generative_source_type=COMPOSITE),
        Task(Sample, inputs=(), source_type=GENERATED),
        Task(Upscale, default_strength=0.2, source_type=ENHANCED, generative_source_type=COMPOSITE),
    )
}
"""All tasks, by name."""
