"""Mix the initial noise of a pipeline call: variation seeds and morphs.

Noise is interpolated spherically (slerp, Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985) with the
arithmetic of AUTOMATIC1111: each column of the latents is a vector. Within a call, artgen replaces the function of
diffusers that generates the noise, so that each pipeline scales and packs the mixed noise as it does with other noise.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from diffusers.models.autoencoders import vae

from artgen.errors import UsageError
from artgen.jobs.job import GenerationJob
from artgen.spec.initial_noise import InitialNoise, SeedNoise, initial_noise

PARALLEL_COSINE = 0.9995
"""Mean cosine above which A1111 does not interpolate spherically: the two noises are equal."""


def slerp(weight: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Interpolate two noises spherically, with the arithmetic of A1111.

    Args:
        weight: 0 returns `low`, 1 returns `high`.
        low: noise, shape (..., H, W), fp32. Each column of H values is a vector.
        high: noise of the same shape.
    """
    low_unit = low / torch.linalg.vector_norm(low, dim=-2, keepdim=True)
    high_unit = high / torch.linalg.vector_norm(high, dim=-2, keepdim=True)
    cosine = (low_unit * high_unit).sum(-2, keepdim=True)
    if cosine.mean() > PARALLEL_COSINE:
        return low * weight + high * (1 - weight)  # The weights of A1111. The noises are equal up to rounding.
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    mixed = (torch.sin((1.0 - weight) * angle) / sine) * low + (torch.sin(weight * angle) / sine) * high
    if mixed.isfinite().all():
        return mixed
    # Parallel columns, for which A1111 divides by zero: latents with one or two rows.
    return torch.where(mixed.isfinite(), mixed, low * (1 - weight) + high * weight)


class _ImageNoise:
    """Mix the noise of one image.

    The generators of the other seeds draw whenever the generator of the image draws, so that their noise is the noise
    of an image with that seed, also after the VAE has sampled the latents of an input image.
    """

    def __init__(self, noise: InitialNoise) -> None:
        self._noise = noise
        self.is_mixed = not noise.is_mixed
        seeds = [each for part in (noise.first, noise.second) if part for each in (part.seed, part.variation_seed)]
        self._generators = {seed: torch.Generator("cpu").manual_seed(seed) for seed in seeds}
        self._draws: dict[int, torch.Tensor] = {}

    def draw(self, shape: Sequence[int], dtype: torch.dtype | None) -> None:
        """Draw noise of a shape with the generator of each seed."""
        self._draws = {
            seed: torch.randn(*shape, generator=each, dtype=dtype) for seed, each in self._generators.items()
        }

    def mix(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the mixed noise, given the noise of the seed. The shape, the device and the precision are kept."""
        mixed = self._part(self._noise.first)
        if self._noise.second is not None and self._noise.position:
            mixed = slerp(self._noise.position, mixed, self._part(self._noise.second))
        self.is_mixed = True
        return mixed.to(noise)

    def _part(self, part: SeedNoise) -> torch.Tensor:
        noise = self._draws[part.seed].float()
        if not part.variation_strength:
            return noise
        return slerp(part.variation_strength, noise, self._draws[part.variation_seed].float())


@contextlib.contextmanager
def mixed_noise(pipe: Any, jobs: Sequence[GenerationJob], generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Mix the initial noise of a pipeline call within the block, for the jobs whose requests have mixed noise.

    Args:
        pipe: pipeline that generates its noise in `prepare_latents`.
        jobs: job of each image.
        generators: generator of each image.

    Raises:
        UsageError: the pipeline did not generate noise in `prepare_latents`.
    """
    noises = {id(each): _ImageNoise(initial_noise(job.request)) for each, job in zip(generators, jobs, strict=True)}
    if all(each.is_mixed for each in noises.values()):
        yield
        return
    prepare = getattr(type(pipe), "prepare_latents", None)
    modules = [vae, *([sys.modules[prepare.__module__]] if prepare else [])]
    originals = [(module, module.randn_tensor) for module in modules if hasattr(module, "randn_tensor")]
    for module, original in originals:
        module.randn_tensor = _mixing(original, noises, mixes=module is not vae)
    try:
        yield
    finally:
        for module, original in originals:
            module.randn_tensor = original
    if not all(each.is_mixed for each in noises.values()):
        raise UsageError(
            f"Cannot mix the noise of two seeds with {type(pipe).__name__}: its `prepare_latents` generates no noise.",
            "Remove --variation-strength.",
            settings=("variation_strength", "variation_seed"),
        )


def _mixing(original: Callable[..., torch.Tensor], noises: dict[int, _ImageNoise], *, mixes: bool) -> Any:
    """Return a replacement for `randn_tensor` of diffusers that mixes the first noise of each image."""

    def randn_tensor(
        shape: Sequence[int],
        generator: torch.Generator | list[torch.Generator] | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        layout: Any = None,
    ) -> torch.Tensor:
        noise = original(shape, generator=generator, device=device, dtype=dtype, layout=layout)
        of_images = [noises.get(id(each)) for each in (generator if isinstance(generator, list) else [generator])]
        num_rows = len(noise) // len(of_images)
        for i, image_noise in enumerate(of_images):
            if image_noise is None or image_noise.is_mixed:
                continue
            image_noise.draw((num_rows, *shape[1:]), dtype)
            if mixes:
                rows = slice(i * num_rows, (i + 1) * num_rows)
                noise[rows] = image_noise.mix(noise[rows])
        return noise

    return randn_tensor
