"""Represent a model on the disk: its architecture, sizes and default settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.registry import diffusers_folder, hashes, pipelines
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.model_configs import is_quantized
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.system.counts import format_bytes
from artgen.system.files import FileIdentity, file_identity


@dataclass(frozen=True)
class VaeFile:
    """Represent the weights of an AutoencoderKL that replace the VAE of a model.

    Attributes:
        name: as recorded (alias, `owner/name`, or the path that the user typed).
        path: folder with `config.json` and weights, or a single safetensors file.
        weights: the weight file or its shards.
        source: hub id, `bundled:NAME`, or `local`.
        revision: commit hash of a hub repository, else None.
    """

    name: str
    path: Path
    weights: tuple[Path, ...]
    source: str = "local"
    revision: str | None = None

    @property
    def is_file(self) -> bool:
        """Return whether the weights are a single file without a configuration."""
        return self.path in self.weights

    @property
    def short_name(self) -> str:
        """Return the name without folders, which are private."""
        return self.path.name if self.source == "local" else self.name

    def files(self) -> tuple[Path, ...]:
        """Return all files that can affect the loaded VAE."""
        return self.weights if self.is_file else (self.path / "config.json", *self.weights)

    def provenance(self) -> dict[str, Any]:
        """Return the entries of an image record; this hashes each weight file once."""
        entries = {
            "vae": self.short_name,
            "vae_source": self.source,
            "vae_revision": self.revision,
            "vae_hash": self.hash(),
        }
        return {key: value for key, value in entries.items() if value}

    def hash(self) -> str:
        """Return the SHA-256 of the weights, 64 lower-case hex digits; see `hashes.model_hash`."""
        return hashes.model_hash(self.weights)


@dataclass(frozen=True)
class SingleFile:
    """Describe the components of a single checkpoint.

    Attributes:
        config: folder with the configurations and tokenizers of all components, without weights.
        parts: components whose weights the file contains, by diffusers' names.
        base: model folder with the weights of all other components; None if the file is complete.
        base_name: name of this model, as recorded.
        format: safetensors or gguf.
        layout: names of the denoiser's tensors: original (of its authors) or diffusers.
    """

    config: Path
    parts: tuple[str, ...]
    base: Path | None = None
    base_name: str = ""
    format: str = "safetensors"
    layout: str = "original"

    def base_weights(self) -> dict[str, diffusers_folder.WeightFiles]:
        """Return the weights of the components that the file lacks, by diffusers' names."""
        if self.base is None:
            return {}
        weights = diffusers_folder.select_weights(self.base)[1]
        return {name: files for name, files in weights.items() if name not in self.parts}


@dataclass(frozen=True)
class RemoteWeights:
    """Describe the weights of a model that are not on the disk yet.

    Attributes:
        download_bytes: size of all files that artgen needs.
        denoiser_bytes: size of the denoiser's weights; None if they are on the disk.
        model_hash: SHA-256 of the denoiser's weights, as `hashes.model_hash` computes it; empty if it is unknown, None
            if they are on the disk.
    """

    download_bytes: int
    denoiser_bytes: int | None = None
    model_hash: str | None = None


@dataclass(frozen=True)
class ResolvedModel:
    """Represent a model on the disk, with its default settings.

    Attributes:
        name: as recorded (`sd15`, `owner/name`, or the path that the user typed).
        path: folder in diffusers' layout, or a single safetensors file.
        is_file: whether `path` is a single file (load it with `single_file_config`).
        architecture: architecture in the table of pipelines: sd1, sd2, sdxl, sd3, flux, pixel (unconditional, in pixel
            space) and others.
        pipeline: diffusers' text-to-image pipeline class, or the pipeline class of the folder.
        family: name of the model's entry in the table of pipelines; empty: the entry of `pipeline`.
        revision: commit hash of a hub model, else None.
        variant: "fp16" or "bf16" if some component has no weights of the default variant, else None.
        native_size: (width, height) in pixels of the training images.
        size_multiple: width and height must be multiples of this number of pixels.
        steps: default number of steps.
        guidance_scale: default guidance scale.
        scheduler: artgen's name of the default scheduler; None is the model's scheduler.
        sigmas: default sigma schedule; None is the model's schedule.
        unet_channels: input channels of the denoiser; an inpainting UNet has 9.
        latent_channels: channels of the VAE's latents.
        is_flow_matching: whether the model's scheduler is a FlowMatch scheduler.
        max_prompt_tokens: limit of the first tokenizer, with its start and end tokens; None if unknown.
        prediction: prediction type: "epsilon", "v_prediction", "sample", or "flow" for flow matching.
        files: identities of all files when the model was resolved. A model whose files change is another model.
        source: origin as recorded: hub id, `bundled:NAME`, or the name of the folder or file.
        license: SPDX identifier or name of the license.
        description: one sentence for users.
        vae: weights that replace the model's VAE; None for its own VAE.
        refiner: model that denoises the last noise levels; None for no refiner.
        omitted: components of the model that are not used, such as the T5 encoder of Stable Diffusion 3.
        single_file: components of a single checkpoint; None for a folder.
        notes: sentences for the user about what was detected in the files.
        remote: weights on the hub, if only the configurations of the model are on the disk.
    """

    name: str
    path: Path
    is_file: bool
    architecture: str
    pipeline: str
    family: str = ""
    revision: str | None = None
    variant: str | None = None
    native_size: tuple[int, int] = (512, 512)
    size_multiple: int = 8
    steps: int = 30
    guidance_scale: float = 7.5
    scheduler: str | None = None
    sigmas: str | None = None
    unet_channels: int = 4
    latent_channels: int = 4
    is_flow_matching: bool = False
    max_prompt_tokens: int | None = None
    prediction: str = "epsilon"
    files: tuple[FileIdentity, ...] = ()
    source: str = ""
    license: str = "unknown"
    description: str = ""
    vae: VaeFile | None = None
    refiner: "ResolvedModel | None" = None
    omitted: tuple[str, ...] = ()
    single_file: SingleFile | None = None
    notes: tuple[str, ...] = ()
    remote: RemoteWeights | None = None

    @property
    def load_key(self) -> tuple[Any, ...]:
        """Return the part of a cache key that identifies the loaded components."""
        return self.files, self.variant, self.omitted, self.single_file

    @property
    def pipeline_entry(self) -> PipelineEntry:
        """Return the entry of the model in the table of pipelines."""
        entries = pipelines.pipeline_entries()
        return entries[self.family] if self.family else pipelines.require_entry(self.name, self.pipeline)

    @property
    def is_inpainting(self) -> bool:
        """Return whether the denoiser takes a mask and the masked image as additional channels (SD: 4 + 1 + 4)."""
        return self.unet_channels == 2 * self.latent_channels + 1

    @property
    def config_folder(self) -> Path:
        """Return the folder with the configurations and tokenizers."""
        return self.single_file.config if self.single_file else self.path

    @property
    def is_local(self) -> bool:
        """Return whether the model is a folder or a file of the user: not bundled, and not of the hub."""
        return self.revision is None and not self.path.is_relative_to(ASSETS_FOLDER)

    @property
    def short_name(self) -> str:
        """Return the alias, repository name or file stem, for file names and A1111's `Model:` field."""
        if self.is_file:
            return self.path.stem
        return self.name.rstrip("/").replace("\\", "/").rpartition("/")[2] or self.name

    @property
    def has_quantized_denoiser(self) -> bool:
        """Return whether the weights of the denoiser are quantized."""
        if self.single_file is not None:
            return self.single_file.format == "gguf"
        folder = self.path / diffusers_folder.denoiser_name(self.path)
        return not self.is_file and is_quantized(diffusers_folder.read_optional_config(folder / "config.json"))

    def download_note(self) -> str:
        """Return a note about a model whose weights are not on the disk."""
        size = format_bytes(self.remote.download_bytes if self.remote else 0)
        return f"'{self.name}' is not downloaded ({size}). Its weights were not checked."

    def weight_files(self) -> tuple[Path, ...]:
        """Return the weight files of the denoiser, or the single file."""
        if self.is_file:
            return (self.path,)
        weights = diffusers_folder.select_weights(self.path, self.omitted)[1]
        denoiser = weights.get(diffusers_folder.denoiser_name(self.path))
        return denoiser.files if denoiser else ()

    def weight_bytes(self) -> int:
        """Return the total size of the denoiser's weights in bytes."""
        if self.remote is not None and self.remote.denoiser_bytes is not None:
            return self.remote.denoiser_bytes
        return sum(path.stat().st_size for path in self.weight_files())

    def file_identities(self) -> tuple[FileIdentity, ...]:
        """Return the identities of all files that can affect the loaded model, for the keys of caches.

        Raises:
            InputFileError: a file cannot be read.
        """
        files = [self.path] if self.is_file else diffusers_folder.model_files(self.path, self.omitted)
        if self.single_file and self.single_file.base:
            files += [file for weights in self.single_file.base_weights().values() for file in weights.files]
            files += sorted(file for file in self.single_file.config.rglob("*") if file.is_file())
        refiner = self.refiner.file_identities() if self.refiner else ()
        return (*(file_identity(path) for path in (*files, *(self.vae.files() if self.vae else ()))), *refiner)

    def provenance(self) -> dict[str, Any]:
        """Return the model's entries of an image record, without its name; this hashes each weight file once."""
        entries = {
            "model_source": self.source,
            "model_revision": self.revision,
            "model_variant": self.variant,
            "model_hash": self.model_hash(),
            "architecture": self.architecture,
            "model_base": self.single_file.base_name if self.single_file else None,
            "model_sampling": self._sampling() if self.single_file else None,
        }
        return {key: value for key, value in entries.items() if value}

    def _sampling(self) -> str:
        """Return the scheduler of a single file and its prediction type, noise levels and timesteps, if it has them.

        They come from the tensors, the metadata, the name and the `NAME.artgen.json` of the file.
        """
        config = diffusers_folder.read_scheduler_config(self.config_folder)
        values = [config.get("_class_name"), *(config.get(key) for key in ("prediction_type", "timestep_spacing"))]
        return ", ".join(map(str, filter(None, [*values, config.get("rescale_betas_zero_snr") and "zero-SNR"])))

    def model_hash(self) -> str:
        """Return the SHA-256 of the denoiser's weights, 64 lower-case hex digits; see `hashes.model_hash`."""
        if self.remote is not None and self.remote.model_hash is not None:
            return self.remote.model_hash
        return hashes.model_hash(self.weight_files())

    def vae_hash(self) -> str:
        """Return the SHA-256 of the weights of the VAE that is loaded; see `hashes.model_hash`."""
        if self.vae is not None:
            return self.vae.hash()
        if self.single_file is None:
            weights = diffusers_folder.select_weights(self.path, self.omitted)[1]
        elif "vae" in self.single_file.parts:
            return hashes.model_hash((self.path,))
        else:
            weights = self.single_file.base_weights()
        return hashes.model_hash(weights["vae"].files)
