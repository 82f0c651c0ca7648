"""Create the quantization configurations of diffusers for `--quantize int8` and `nf4`.

diffusers quantizes each weight while it loads the denoiser. int8: torchao stores the matrices of linear layers in 8
bits with a scale for each row, and multiplies them in the dtype of the computation. nf4: bitsandbytes stores them in 4
bits (Dettmers et al. 2023, arXiv 2305.14314), on CUDA only. Convolutions, norms and embeddings keep their dtype.
"""

from typing import Any

import diffusers

from artgen.engine.loading.device import DeviceConfig


def quantization_config(device_config: DeviceConfig) -> Any:
    """Return the argument `quantization_config` of diffusers for the denoiser; None if it is not quantized this way."""
    if device_config.quantize == "int8":
        from torchao.quantization import Int8WeightOnlyConfig  # an optional package, which `check_quantize` checks

        return diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    if device_config.quantize == "nf4":
        return diffusers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=device_config.torch_dtype
        )
    return None
