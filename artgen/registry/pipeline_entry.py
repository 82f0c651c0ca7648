"""Store an entry of the table of pipelines (`assets/pipelines.json`)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class TextEncoder:
    """Describe a text encoder of a pipeline.

    Attributes:
        component: name of the component; its tokenizer is named `tokenizer` instead of `text_encoder`.
        kind: clip, t5, bert or llm (a language model).
        max_tokens: prompts are truncated at this number of tokens by default; None if they are not truncated.
    """

    component: str
    kind: str
    max_tokens: int | None


@dataclass(frozen=True)
class PipelineEntry:
    """Describe a family or a variant of image pipelines. The attributes have the names of the keys of the table.

    Attributes:
        name: key in the table, such as `flux-schnell`.
        title: name for users, such as `Flux.1 schnell`.
        architecture: value of `ResolvedModel.architecture`. LoRAs fit models of the same architecture.
        tasks: diffusers' pipeline class of each supported task: txt2img, img2img, inpaint, outpaint, edit, and sample
            for pipelines without a prompt.
        classes: further class names in `model_index.json` that select this entry, besides the values of `tasks`.
        when: conditions on the model, as `index.KEY` (model_index.json) or `denoiser.KEY` (config.json) -> value, or
            "*" for any value. An entry with conditions precedes an entry without conditions.
        refused_tasks: reasons why tasks are not supported.
        denoiser: component that predicts the noise.
        vae: component that decodes the latents; None in pixel space.
        encoders: text encoders.
        native_size_px: default side of the images in pixels, if the denoiser's configuration has no `sample_size`.
        reads_sample_size: whether the pipeline uses `sample_size` of the denoiser's configuration.
        vae_factor: width of the image divided by the width of the latents; None: read it from the VAE's configuration.
        patch: width of a token in latent pixels; None: `patch_size` of the denoiser's configuration.
        position_limit: `pos_embed_max_size` of the denoiser's configuration limits the tokens per side (side) or of the
            image (area); None: the sizes have no limit.
        multiple: sides in pixels are multiples of this number, and of `vae_factor` x `patch`.
        flow_matching: whether the scheduler is a FlowMatch scheduler; None if other schedulers occur too.
        packages: packages that the pipeline needs and that artgen does not install by default.
        steps: default number of steps.
        guidance: none, classifier-free (two denoiser calls per step), embedded (the denoiser receives the scale as an
            input) or true-cfg (classifier-free, if the pipeline also receives a negative prompt).
        guidance_scale: default guidance scale.
        guidance_argument: argument of the pipeline that receives the guidance scale; `guider` is a component.
        guidance_min: smallest guidance scale that the pipeline accepts.
        guidance_off: largest guidance scale that disables classifier-free guidance.
        negative_prompt: none (no effect), guidance (in effect while the guidance is on), or true-cfg (turns on true CFG
            with `true_cfg_scale`, in addition to embedded guidance).
        default_negative_prompt: negative prompt of a request without one, if the guidance is on.
        true_cfg_scale: value of the argument `true_cfg_scale` for a negative prompt, if `negative_prompt` is true-cfg.
        no_strength: tasks whose pipeline uses the image as a reference and has no strength.
        image_guidance_scale: default of the setting with this name; 0 if the pipelines do not take it. With guidance,
            the denoiser has three inputs per image: with the prompt, without it, and without prompt and image.
        initial_noise: whether the pipelines generate their initial noise in `prepare_latents`, so that it can be mixed.
        references: whether `edit` takes reference images besides the input image.
        image_min_side_px: smallest side of an input or reference image of the tasks in `no_strength`.
        image_max_ratio: largest aspect ratio of such an image; 0: no limit.
        needs_mask_channels: whether inpaint and outpaint need a denoiser with the mask as further input channels.
        guidance_rescale: tasks whose pipeline takes `guidance_rescale`, with and without PAG.
        cfg_inputs: how the pipeline passes the two inputs of classifier-free guidance to the denoiser: batch (one call,
            the unconditional input first) or calls (two calls, the conditional input first); empty if `--guide` is not
            supported.
        no_guide: tasks without `--guide`: the denoiser also predicts the noise of reference images.
        pag: diffusers' pipeline class with perturbed-attention guidance (PAG) of each task that has one.
        control: diffusers' pipeline class with ControlNets of each task that has one.
        control_union: diffusers' pipeline class with union ControlNets of each task that has one; empty if the class in
            `control` also takes union nets (Flux).
        control_inpaint: diffusers' pipeline class of each task that has one for ControlNets with the mask as a further
            input channel. Without such a class, inpaint nets use the class in `control`.
        control_pag: diffusers' pipeline class with ControlNets and PAG of each task that has one.
        adapter: diffusers' pipeline class with T2I-Adapters of each task that has one.
        control_guess: tasks whose class in `control` and `control_union` takes `guess_mode`.
        control_rescale: tasks whose class in `control` and `control_union` takes `guidance_rescale`.
        image_prompt: tasks that support image prompts (IP-Adapter).
        default_pag_scale: PAG scale of a request without one; 0 disables PAG.
        denoiser_config: values that the pipelines read from the denoiser's configuration, and that it lacks.
        arguments: constant arguments of each call, for the arguments that the pipeline class has.
        task_arguments: constant arguments of the calls of a task.
        max_batch_size: largest number of images per pipeline call; None: no limit.
        features: supported features: frames, lora, long-prompts (chunks), prompt-syntax (weights, schedules and AND of
            CLIP text encoders), text-offload (`--offload text` on the CPU), schedulers (other schedulers than the
            model's own), latent-denoise (also latent anomaly detection), latent-noise, latent-channels (the denoiser's
            channels follow from the VAE), latent-masking (inpainting with latents of any width), inversion (DDIM
            inversion), training, cuda-graphs,
            unet-blocks (channels-last, fused QKV), vae-upcast (decodes in fp32), prompt-embeddings (`encode_prompt` of
            Stable Diffusion), quantize (fp8), half-precision (fp16 and bf16 in the task sample), bf16-images (input
            images need `--dtype bf16`), and fast-NAME for the parts of `--fast`.
        prior: hub id of the prior that the classes of `combined` need.
        combined: class of a decoder without its prior -> class of the pipeline that contains both.
        pixel_space: whether the denoiser works on pixels, without a prompt.
        schedulers: artgen's names of the schedulers that the task sample supports besides the model's own.
    """

    name: str
    title: str
    architecture: str
    tasks: Mapping[str, str]
    classes: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    refused_tasks: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    denoiser: str = "transformer"
    vae: str | None = "vae"
    encoders: tuple[TextEncoder, ...] = ()
    native_size_px: int = 1024
    reads_sample_size: bool = True
    vae_factor: int | None = None
    patch: int | None = 1
    position_limit: str | None = None
    multiple: int = 8
    flow_matching: bool | None = None
    packages: tuple[str, ...] = ()
    steps: int = 50
    guidance: str = "classifier-free"
    guidance_scale: float = 0.0
    guidance_argument: str = "guidance_scale"
    guidance_min: float = 0.0
    guidance_off: float = 1.0
    negative_prompt: str = "guidance"
    default_negative_prompt: str | None = None
    true_cfg_scale: float = 4.0
    no_strength: tuple[str, ...] = ()
    image_guidance_scale: float = 0.0
    initial_noise: bool = True
    references: bool = False
    image_min_side_px: int = 0
    image_max_ratio: float = 0.0
    needs_mask_channels: bool = False
    guidance_rescale: tuple[str, ...] = ()
    cfg_inputs: str = ""
    no_guide: tuple[str, ...] = ()
    pag: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    control: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    control_union: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    control_inpaint: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    control_pag: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    adapter: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    control_guess: tuple[str, ...] = ()
    control_rescale: tuple[str, ...] = ()
    image_prompt: tuple[str, ...] = ()
    default_pag_scale: float = 0.0
    denoiser_config: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    arguments: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    task_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)
    max_batch_size: int | None = None
    features: frozenset[str] = frozenset()
    prior: str = ""
    combined: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    pixel_space: bool = False
    schedulers: tuple[str, ...] = ()

    def supports(self, feature: str) -> bool:
        """Return whether artgen supports a feature with this pipeline; see `features`."""
        return feature in self.features

    def size_multiple(self, vae_factor: int, patch: int) -> int:
        """Return the number of pixels that divides width and height.

        Args:
            vae_factor: factor of the model's VAE; ignored if the entry defines it.
            patch: patch of the model's denoiser; ignored if the entry defines it.
        """
        return math.lcm(self.multiple, (self.vae_factor or vae_factor) * (self.patch or patch))

    def selecting_classes(self) -> frozenset[str]:
        """Return the class names in `model_index.json` that select this entry."""
        return frozenset((*self.tasks.values(), *self.classes, *self.combined))
