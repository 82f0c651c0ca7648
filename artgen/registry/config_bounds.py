"""Define the types and bounds of the keys in the configurations of a model, and the keys that are refused."""

from collections.abc import Mapping

WHOLE_NUMBERS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("in_channels", "out_channels", "latent_channels", "num_channels"), (1, 4096)),
    **dict.fromkeys(("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels"), (1, 16_384)),
    **dict.fromkeys(("layers_per_block", "layers_per_down_block", "layers_per_mid_block"), (1, 128)),
    **dict.fromkeys(("transformer_layers_per_block", "reverse_transformer_layers_per_block"), (0, 256)),
    **dict.fromkeys(("num_layers", "num_single_layers", "num_decoder_layers"), (0, 512)),
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_heads"), (1, 512)),
    **dict.fromkeys(("attention_head_dim", "norm_num_groups", "d_kv"), (1, 4096)),
    **dict.fromkeys(
        ("cross_attention_dim", "joint_attention_dim", "pooled_projection_dim", "caption_projection_dim",
         "hidden_size", "projection_dim", "d_model", "encoder_hid_dim", "addition_time_embed_dim",
         "time_cond_proj_dim", "time_embedding_dim", "projection_class_embeddings_input_dim"),
        (1, 131_072),
    ),
    **dict.fromkeys(("intermediate_size", "d_ff"), (1, 1 << 20)),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "num_class_embeds", "num_embeds_ada_norm"), (1, 1 << 21)),
    "sample_size": (1, 4096),
    "image_size": (1, 4096),
    "patch_size": (1, 256),
    "pos_embed_max_size": (1, 65_536),
    "num_train_timesteps": (2, 100_000),
    "original_inference_steps": (1, 100_000),
    "steps_offset": (-1000, 1000),
    "temporal_compression_ratio": (1, 64),
    "model_max_length": (3, 10**31),
}  # fmt: skip
"""Keys whose value is a whole number, or a list of whole numbers, and the smallest and the largest value."""

LIST_KEYS = frozenset(
    {"block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels"}
)  # fmt: skip
"""Keys whose value must be a list with 1 to `MAX_BLOCKS` numbers."""
SCALAR_OR_LIST_KEYS = frozenset(
    {"layers_per_block", "layers_per_down_block", "transformer_layers_per_block", "num_attention_heads",
     "num_heads", "reverse_transformer_layers_per_block", "attention_head_dim", "cross_attention_dim", "sample_size",
     "num_layers", "patch_size", "image_size"}
)  # fmt: skip
REQUIRED_NUMBERS = frozenset(
    {"in_channels", "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings", "intermediate_size",
     "latent_channels", "layers_per_block", "scaling_factor", "block_out_channels"}
)  # fmt: skip
"""Keys that cannot be null."""
MAX_BLOCKS = 8

NUMBERS = frozenset(
    {"scaling_factor", "shift_factor", "beta_start", "beta_end", "shift", "sigma_min", "sigma_max", "norm_eps",
     "layer_norm_eps", "max_shift", "base_shift", "dropout", "attention_dropout", "initializer_factor",
     "initializer_range", "clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value"}
)  # fmt: skip
"""Keys whose value is a number or null."""
PER_BLOCK_NUMBERS = frozenset({"dropout"})
"""Keys of `NUMBERS` whose value can also be a list with a number for each block (Stable Cascade)."""
OPTIONAL_IN_BLOCKS = frozenset({"num_attention_heads"})
"""Keys of `WHOLE_NUMBERS` whose lists contain -1 for a block without the layer (Stable Cascade)."""
WITHOUT_POSITION_EMBEDDING = frozenset({"SanaTransformer2DModel", "CogView4Transformer2DModel"})
"""Transformers with `sample_size` or `pos_embed_max_size` and without a position embedding of this size."""
UNBOUNDED = ("lambda_min_clipped", float("-inf"))
"""Key and value that DPM-Solver schedulers contain by default."""
TEXTS = frozenset(
    {"_diffusers_version", "transformers_version", "beta_schedule", "prediction_type", "timestep_spacing", "act_fn",
     "hidden_act", "norm_type", "model_type", "variance_type", "algorithm_type", "solver_type", "final_sigmas_type",
     "tokenizer_class", "processor_class", "feature_extractor_type", "image_processor_type"}
)  # fmt: skip
"""Keys whose value is a text or null."""

CODE_KEYS = frozenset(
    {"auto_map", "quantization_config", "compression_config", "transformers_weights", "custom_pipelines",
     "custom_generate", "kernel_config", "use_kernels", "adapter_kwargs", "gguf_file"}
)  # fmt: skip
"""Keys that make diffusers or transformers import code, load other files, or require other packages."""
ATTENTION_KEYS = ("attn_implementation", "experts_implementation", "attention_backend")
SAFE_ATTENTION = frozenset({"eager", "sdpa"})
"""Attention implementations that ship with torch; others are downloaded or imported."""
DTYPES = frozenset({"auto", "float32", "float16", "bfloat16", "float64", "half", "float", "double"})
