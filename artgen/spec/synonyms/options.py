"""List the words of other tools for the options of artgen.

The words were read from the documentation and the sources of AUTOMATIC1111 and Forge, ComfyUI, InvokeAI,
stable-diffusion.cpp (sd.cpp), mflux, dgenerate, imaginAIry, diffusers, Fooocus, Midjourney, OllamaDiffuser, Ollama, the
APIs of OpenAI, Stability AI and Replicate, Draw Things, kohya_ss and package managers. Case, dashes, underscores and
spaces of a word have no meaning.
"""

from typing import NamedTuple


class OptionRow(NamedTuple):
    """Represent words that mean a setting, or a setting with a value: `dtype=fp16`.

    Attributes:
        setting: name of the setting, with a value after `=` if the words are switches.
        words: words of other tools, separated by spaces.
        tools: tools that have the words.
        note: sentence about a difference of the values; empty if they are the same.
    """

    setting: str
    words: str
    tools: str
    note: str = ""


UPSCALE_ROWS = (
    OptionRow("by", "scale times zoom outscale ratio", "Real-ESRGAN, Upscayl"),
    OptionRow("target_size", "size width height resolution dimensions output_size", "ComfyUI", "Such as 3840x2160."),
)
"""Words whose meaning in `artgen upscale` differs from that in other commands."""

OPTION_ROWS = (
    OptionRow("best_of", "best_of_n n_best num_candidates pick_best keep_best", "papers about sampling"),
    OptionRow("by", "scale_factor resize_scale upscaling_resize", "A1111, InvokeAI, Replicate"),
    OptionRow("tile_size", "upscale_tile_size tile_px tile_width tile_height", "stable-diffusion.cpp, ComfyUI"),
    OptionRow("tile_overlap", "tile_padding seam_width mask_blur_tile", "ComfyUI"),
    OptionRow("guidance_scale", "cfg cfgs cfg_strength cfg_value", "stable-diffusion.cpp, ComfyUI, Draw Things"),
    OptionRow("guidance_scale", "scale unconditional_guidance_scale", "CompVis"),
    OptionRow("guidance_scale", "guidance_scales guidance_strength prompt_guidance", "dgenerate, InvokeAI"),
    OptionRow("guidance_scale", "distilled_cfg_scale flux_guidance embedded_cfg distilled_guidance", "Forge, ComfyUI"),
    OptionRow("guidance_rescale", "cfg_rescale cfg_rescale_multiplier rescale_cfg guidance_rescales", "InvokeAI"),
    OptionRow("pag_scale", "pag pag_strength pag_scales perturbed_attention_guidance", "ComfyUI, dgenerate"),
    OptionRow("guide", "guidance_method guider adaptive_projected_guidance apg cfg_zero_star", "diffusers, ComfyUI"),
    OptionRow("steps", "sampling_steps sample_steps num_steps ddim_steps inference_steps", "CompVis, sd.cpp, mflux"),
    OptionRow("steps", "n_steps iterations_per_image diffusion_steps number_of_steps step_count", "Fooocus, Stability"),
    OptionRow(
        "count",
        "num number n num_outputs n_samples samples images num_images_per_prompt image_number image_count "
        "num_samples number_of_images batch_images amount repeat repeats how_many num_generations n_images "
        "output_count imgs",
        "OpenAI, Replicate, diffusers, Fooocus, Midjourney",
    ),
    OptionRow("count", "n_iter iterations iteration iter batch_count loops batches", "A1111, InvokeAI"),
    OptionRow("batch_size", "batch images_per_batch parallel batch_n minibatch", "ComfyUI"),
    OptionRow("width", "image_width img_width output_width", "Fooocus, mflux"),
    OptionRow("height", "image_height img_height output_height", "Fooocus, mflux"),
    OptionRow(
        "size",
        "resolution res dimensions dim dims output_size output_sizes image_size img_size canvas_size hw wh shape",
        "dgenerate, OpenAI",
        "WIDTHxHEIGHT in pixels: --size 768x512.",
    ),
    OptionRow(
        "size",
        "ar aspect aspect_ratio aspect_ratios_selection ratio landscape portrait square",
        "Midjourney, Fooocus, Stability",
        "Pixels in place of a ratio: --size 768x512.",
    ),
    OptionRow(
        "scheduler",
        "sampling_method sampler_index sampling method_sampler sample_method schedulers solver scheduler_type "
        "noise_scheduler "
        "sampler_type k_sampler",
        "stable-diffusion.cpp, A1111, dgenerate",
    ),
    OptionRow("sigmas", "schedule schedule_type noise_schedule sigma_schedule sigma_spacing", "A1111, ComfyUI"),
    OptionRow("sigmas=karras", "karras use_karras_sigmas karras_sigmas karras_max", "diffusers, InvokeAI"),
    OptionRow("sigmas=exponential", "use_exponential_sigmas exponential_sigmas", "diffusers"),
    OptionRow("sigmas=beta", "use_beta_sigmas beta_sigmas", "diffusers"),
    OptionRow(
        "strength",
        "denoise denoising denoise_strength denoising_strength img2img_strength image_strength prompt_strength "
        "image_seed_strengths init_strength init_image_strength noise_strength edit_strength",
        "ComfyUI, A1111, Replicate, dgenerate, imaginAIry",
        "0 to 1. 1 ignores the input image.",
    ),
    OptionRow("strength", "iw image_weight", "Midjourney", "0 to 1. 1 ignores the input image."),
    OptionRow(
        "image",
        "init_img init_images initial_image input_image input img img_path image_path source_image source src "
        "image_seeds image_url base_image start_image input_file",
        "InvokeAI, stable-diffusion.cpp, dgenerate, Replicate",
    ),
    OptionRow(
        "reference",
        "ref references image_2 second_image input_image_2",
        "Replicate",
        "Reference images of `artgen edit`.",
    ),
    OptionRow(
        "image_guidance_scale", "image_cfg image_cfg_scale img_cfg img_cfg_scale image_guidance img_guidance_scale",
        "A1111, stable-diffusion.cpp, InstructPix2Pix",
    ),
    OptionRow("grow", "grow_mask grow_mask_by mask_dilation dilate_mask", "ComfyUI"),
    OptionRow("mask_text", "mask_query mask_phrase segment_prompt", "imaginAIry"),
    OptionRow("mask", "init_mask inpaint_mask mask_path mask_img mask_file inpainting_mask", "InvokeAI, imaginAIry"),
    OptionRow("invert_mask", "inpainting_mask_invert mask_invert inverse_mask inpaint_mask_invert", "A1111"),
    OptionRow(
        "only_masked",
        "inpaint_full_res inpaint_full_res_padding inpaint_area padding_mask_crop mask_crop_padding inpaint_padding "
        "only_masked_padding masked_area_padding",
        "A1111, diffusers",
        "The value is the margin around the masked area in pixels.",
    ),
    OptionRow(
        "fill", "inpaint_fill inpainting_fill inpaint_replace masked_content infill_method infill", "A1111, InvokeAI"
    ),
    OptionRow("soft_mask", "soft_inpainting differential_diffusion diff_diff gradient_mask", "A1111, ComfyUI"),
    OptionRow("invert", "inversion ddim_inversion renoise ddim_invert", "diffusers, ReNoise"),
    OptionRow("source_prompt", "inversion_prompt original_prompt src_prompt", "diffusers"),
    OptionRow("feather", "mask_blur blur seam_blur feathering mask_feather blur_factor", "A1111, ComfyUI"),
    OptionRow(
        "expand",
        "outcrop outpaint outpaint_padding padding pad extend expand_by directions left right top bottom",
        "InvokeAI, ComfyUI",
        "Pixels of all sides, or of some: --expand left=64,top=32.",
    ),
    OptionRow(
        "negative_prompt",
        "neg negative_prompts uncond ucg negativ anti_prompt negative_text without exclude no negprompt",
        "A1111, Draw Things, Midjourney",
    ),
    OptionRow("prompt", "text prompts positive_prompt positive caption description", "dgenerate, ComfyUI"),
    OptionRow("seed", "seeds noise_seed rand_seed random_seed sd_seed rng_seed generator", "dgenerate, diffusers"),
    OptionRow("variation_seed", "seed_variation var_seed", "A1111, SwarmUI"),
    OptionRow(
        "variation_strength",
        "variation variation_amount vary v_amount seed_variance var_strength",
        "A1111, InvokeAI",
        "0 is the image of --seed, 1 the image of --variation-seed. Use --variation-strength 0.2.",
    ),
    OptionRow("seed", "start_seed first_seed gen_seeds sameseed manual_seed", "dgenerate, Midjourney"),
    OptionRow(
        "model",
        "ckpt checkpoint ckpt_name ckpt_path sd_model_checkpoint model_path model_id model_name base_model "
        "diffusion_model model_paths unet repo repo_id hf_repo weights_path pretrained "
        "pretrained_model_name_or_path sd_checkpoint engine",
        "A1111, ComfyUI, stable-diffusion.cpp, diffusers",
    ),
    OptionRow(
        "control",
        "controlnets controlnet control_image control_images controlnet_image controlnet_image_path "
        "canny depth openpose pose scribble lineart t2i_adapter t2i_adapters control_layers",
        "A1111, ComfyUI, diffusers, sd.cpp, mflux",
        "The kind and the image are one value: --control canny=photo.png.",
    ),
    OptionRow(
        "control",
        "control_strength controlnet_strength controlnet_conditioning_scale controlnet_scale control_scale "
        "controlnet_weight control_weight adapter_conditioning_scale",
        "diffusers, sd.cpp, mflux",
        "The scale follows the image: --control canny=photo.png,scale=0.8.",
    ),
    OptionRow(
        "control",
        "control_guidance_start control_guidance_end guidance_start guidance_end start_percent end_percent",
        "diffusers, A1111, ComfyUI",
        "Fractions of the steps follow the image: --control canny=photo.png,from=0,until=0.6.",
    ),
    OptionRow(
        "control",
        "controlnet_model controlnet_model_path control_model control_mode control_type",
        "A1111, sd.cpp",
        "The net follows the image: --control canny=photo.png,model=OWNER/NAME.",
    ),
    OptionRow(
        "image_prompt",
        "image_prompts ip_adapter_image ip_adapters reference_images ref_image ref_images style_image style_reference "
        "character_reference sref cref image_prompt_image redux",
        "diffusers, InvokeAI, Fooocus, Midjourney",
    ),
    OptionRow(
        "image_prompt",
        "ip_adapter_scale image_prompt_scale ip_adapter_weight image_prompt_weight sw cw",
        "diffusers, InvokeAI, Midjourney",
        "The scale follows the file: --image-prompt photo.png:0.6.",
    ),
    OptionRow(
        "image_prompt",
        "image_prompt_model ip_adapter_model ip_adapter_name ip_adapter_masks image_prompt_mask",
        "diffusers, InvokeAI",
        "Adapter and mask follow the file: --image-prompt photo.png:0.6,mask=left.png,model=sd15-plus.",
    ),
    OptionRow("control_guess", "guess controlnet_guess_mode", "diffusers"),
    OptionRow("lora", "loras lora_paths lora_path lora_name lora_model adapter adapters", "mflux, dgenerate"),
    OptionRow(
        "lora",
        "weight lora_scale lora_scales lora_weight lora_weights lora_strength",
        "mflux",
        "The scale follows the file: --lora FILE:0.8.",
    ),
    OptionRow("embedding", "textual_inversion textual_inversions ti embeddings embd", "diffusers, dgenerate, ComfyUI"),
    OptionRow(
        "vae",
        "vae_path vae_name sd_vae vae_model vaes custom_vae forge_additional_modules",
        "A1111, sd.cpp, ComfyUI",
    ),
    OptionRow(
        "refiner",
        "sdxl_refiner refiner_model refiner_checkpoint refiner_model_name sdxl_refiner_model refine",
        "A1111, dgenerate, Fooocus",
    ),
    OptionRow(
        "refiner",
        "refiner_switch refiner_switch_at high_noise_fraction sdxl_high_noise_fractions denoising_end "
        "refiner_start",
        "A1111, Fooocus, diffusers",
        "The fraction follows the model: --refiner MODEL:0.8.",
    ),
    OptionRow("style", "styles style_preset style_name style_selections preset_style prompt_style", "A1111, Fooocus"),
    OptionRow("clip_skip", "clip_stop_at_last_layers clip_skips skip_clip clip_set_last_layer clip_layer", "A1111"),
    OptionRow("prompt_weights", "prompt_weighter prompt_weighting weighting emphasis prompt_syntax", "dgenerate"),
    OptionRow("long_prompt", "max_sequence_length max_length token_limit prompt_truncation", "diffusers"),
    OptionRow("filter", "filters content_filter output_filter moderation blocklist banned_words", "services"),
    OptionRow("safety_checker", "nsfw nsfw_check nsfw_checker safety safe_mode check_nsfw nsfw_filter", "InvokeAI"),
    OptionRow(
        "safety_checker=false",
        "disable_safety_checker no_safety no_nsfw skip_safety no_nsfw_filter disable_nsfw safety_off allow_nsfw",
        "Replicate, diffusers",
    ),
    OptionRow("output", "outdir outpath out outfile output_path output_dir output_folder", "InvokeAI, CompVis"),
    OptionRow("output", "output_file output_name save save_path save_to save_dir dest destination", "dgenerate, mflux"),
    OptionRow(
        "output",
        "filename filename_prefix output_prefix prefix fnformat filename_pattern name "
        "samples_filename_pattern",
        "ComfyUI, A1111",
        "A template of names: --output '{seed}-{prompt}.png'.",
    ),
    OptionRow(
        "format",
        "image_format output_format ext extension samples_format file_format default_output_format filetype "
        "output_type",
        "A1111, dgenerate, Fooocus",
    ),
    OptionRow("format=png", "png", "A1111"),
    OptionRow("format=jpeg", "jpg jpeg", "A1111"),
    OptionRow("format=webp", "webp", "A1111"),
    OptionRow(
        "quality",
        "jpeg_quality jpg_quality webp_quality output_quality compression_quality",
        "A1111, Replicate",
    ),
    OptionRow("png_level", "png_compression compression compress_level", "InvokeAI"),
    OptionRow("overwrite", "force yes clobber replace output_overwrite overwrite_existing", "dgenerate, ffmpeg"),
    OptionRow("sign", "c2pa content_credentials sign_image signature", "c2patool"),
    OptionRow("metadata=none", "no_metadata disable_metadata strip_metadata disable_png_info", "ComfyUI"),
    OptionRow("metadata=full", "save_metadata embed_metadata png_info enable_pnginfo metadata_export", "mflux, A1111"),
    OptionRow("device", "backend accelerator dev gpu_id device_id hardware", "dgenerate, A1111"),
    OptionRow("device=cpu", "cpu use_cpu force_cpu no_gpu always_cpu cpu_only no_cuda", "ComfyUI, A1111, Fooocus"),
    OptionRow("device=cuda", "gpu use_gpu cuda nvidia always_gpu gpu_only", "Fooocus, ComfyUI"),
    OptionRow("device=mps", "mps metal apple directml", "ComfyUI"),
    OptionRow("dtype", "precision torch_dtype data_type compute_dtype weight_dtype", "InvokeAI, diffusers"),
    OptionRow("dtype=fp16", "fp16 half half_precision float16 f16 force_fp16 fp16_unet", "ComfyUI, diffusers"),
    OptionRow("dtype=bf16", "bf16 bfloat16 bf16_unet", "ComfyUI"),
    OptionRow(
        "dtype=fp32",
        "fp32 float32 f32 full_precision no_half force_fp32 fp32_vae no_half_vae upcast_sampling upcast fp32_unet",
        "A1111, ComfyUI",
    ),
    OptionRow(
        "offload",
        "lowvram novram medvram low_memory lowram offload_to_cpu cpu_offload "
        "model_cpu_offload enable_model_cpu_offload enable_sequential_cpu_offload model_offload sequential_offload "
        "vram save_memory always_low_vram always_no_vram clip_on_cpu vae_on_cpu medvram_sdxl reserve_vram "
        "memory_saving offload_mode sequential_cpu_offload group_offload",
        "A1111, ComfyUI, Fooocus, diffusers, stable-diffusion.cpp",
        "--offload auto selects the first mode that fits.",
    ),
    OptionRow("memory_budget", "max_vram gpu_memory max_memory vram_limit vram_budget max_cache_vram", "InvokeAI"),
    OptionRow(
        "quantize",
        "quantization quant quantizer weight_type load_in_8bit load_in_4bit bits int8 8bit 4bit nf4 fp8_e4m3fn "
        "unet_in_fp8_e4m3fn quantization_config",
        "mflux, stable-diffusion.cpp, ComfyUI, diffusers",
    ),
    OptionRow("quantize=fp8", "fp8 unet_fp8 float8", "ComfyUI, Forge"),
    OptionRow("vae_tiling", "tiled_vae vae_tile vae_tile_size tiled_decode enable_vae_tiling decode_tiled", "ComfyUI"),
    OptionRow(
        "hires",
        "hires_fix highres highres_fix enable_hr hr hr_scale hires_upscale hires_scale hires_strength",
        "A1111, InvokeAI, stable-diffusion.cpp",
    ),
    OptionRow("hires_in", "latent_upscale upscale_in", "ComfyUI"),
    OptionRow("hires_model", "hr_upscaler hires_upscaler", "A1111"),
    OptionRow("hires_steps", "hr_steps hr_second_pass_steps", "A1111"),
    OptionRow("panorama", "multi_diffusion tiled_diffusion", "diffusers"),
    OptionRow("seamless=both", "tile tiling tileable circular seamless_tiling texture", "A1111, Midjourney, Fooocus"),
    OptionRow("seamless", "seamless_axes tile_axes", "InvokeAI"),
    OptionRow("seamless=x", "tile_x seamless_x", "InvokeAI"),
    OptionRow("seamless=y", "tile_y seamless_y", "InvokeAI"),
    OptionRow("acceleration", "compile torch_compile optimize optimization cuda_graphs speedup", "diffusers"),
    OptionRow("acceleration=openvino", "openvino ov use_openvino openvino_model openvino_device", "SD.Next, Krita"),
    OptionRow("fast", "speed turbo deepcache teacache hidiffusion tiny_vae taesd cache", "dgenerate"),
    OptionRow("frames", "save_intermediates stepwise stepwise_image_output_dir save_steps video gif mp4", "mflux"),
    OptionRow("frame_interval", "every_n_steps preview_interval live_previews_every", "A1111"),
    OptionRow("fps", "framerate frames_per_second animation_fps", "dgenerate"),
    OptionRow("show", "display view print_image show_image imgcat sixel viu chafa inline", "imgcat, viu, chafa"),
    OptionRow("open", "launch viewer open_image xdg_open open_viewer view_image", "command lines"),
    OptionRow("preview", "live_preview live_previews_enable latent_preview preview_method", "A1111, ComfyUI"),
    OptionRow("offline", "local local_files_only offline_mode no_download no_internet hf_offline", "diffusers"),
    OptionRow("quiet", "silent no_progress no_progress_bar hide_progress s_mode no_output disable_progress", "mflux"),
    OptionRow("verbose", "debug vv log_level trace", "stable-diffusion.cpp, InvokeAI"),
    OptionRow("dry_run", "simulate check preview_only plan validate no_generate test n_dry dry", "package managers"),
    OptionRow("json", "as_json output_json json_output machine_readable print_json", "command lines"),
    OptionRow("sweep", "xyz xyz_plot xy_plot grid_search matrix param_sweep x_axis y_axis z_axis", "A1111"),
    OptionRow("combinatorial", "all_combinations combinations combinatorial_generation permutations", "A1111"),
    OptionRow("max_side", "max_size max_resolution longest_side max_dimension", "dgenerate"),
    OptionRow(
        "model_folders",
        "models_dir models_path model_dir ckpt_dir model_folder models_folder",
        "A1111, InvokeAI",
    ),
    OptionRow("lora_folder", "lora_dir lora_model_dir loras_dir", "A1111, stable-diffusion.cpp"),
    OptionRow("embedding_folder", "embeddings_dir embd_dir embedding_dir", "A1111, stable-diffusion.cpp"),
    OptionRow("wildcard_folder", "wildcards wildcard_dir wildcards_dir", "A1111"),
    OptionRow("style_folder", "styles_file styles_dir style_dir", "A1111"),
    OptionRow("civitai_token", "civitai_key civitai_api_key civitai_api_token", "dgenerate, InvokeAI"),
    OptionRow("worker", "daemon resident persistent keep_loaded keep_model_loaded use_worker", "mflux, Ollama"),
    OptionRow("keep_alive", "keepalive idle_timeout keep_alive_time model_keep_alive", "Ollama"),
    OptionRow("max_loaded", "max_loaded_models checkpoints_limit sd_checkpoints_limit max_models", "Ollama, A1111"),
    OptionRow("workers", "threads_per_job jobs num_workers num_gpus gpus parallel_jobs", "make, Ray"),
    OptionRow("cache_limit", "cache_size max_cache_size cache_max_size model_cache_size", "InvokeAI"),
    OptionRow("preset", "presets profile profiles template use_preset", "Fooocus, command lines"),
    OptionRow(
        "train_steps",
        "epochs num_epochs num_train_epochs max_train_epochs epoch",
        "kohya, diffusers",
        "An epoch has as many steps as the number of images divided by the batch size.",
    ),
    OptionRow("train_steps", "max_steps num_train_steps max_train_steps training_steps", "kohya"),
    OptionRow("learning_rate", "unet_lr rate", "kohya"),
    OptionRow("rank", "network_dim lora_rank network_rank dim_rank", "kohya, diffusers"),
    OptionRow("alpha", "network_alpha lora_alpha", "kohya, peft"),
    OptionRow("resolution", "train_resolution", "kohya"),
    OptionRow("train_batch_size", "batch_size_train", "kohya"),
    OptionRow("trigger", "instance_prompt trigger_word class_prompt concept placeholder_token", "diffusers"),
    OptionRow("caption_dropout", "caption_dropout_rate proportion_empty_prompts", "kohya, diffusers"),
    OptionRow("folder", "train_data_dir instance_data_dir dataset data_dir", "kohya, diffusers"),
    OptionRow("gradient_accumulation_steps", "accumulate grad_accum gradient_accumulation", "kohya"),
    OptionRow("lr_warmup_steps", "warmup warmup_steps", "kohya"),
    OptionRow("checkpoint_every", "save_every_n_steps checkpointing_steps save_every", "kohya, diffusers"),
    OptionRow("resume", "resume_from_checkpoint resume_from continue", "kohya, diffusers"),
    OptionRow("snapshot_prompts", "sample_prompts validation_prompt", "kohya, diffusers"),
    OptionRow("snapshot_every", "sample_every_n_steps validation_steps", "kohya, diffusers"),
    OptionRow("snr_gamma", "min_snr_gamma", "kohya"),
    OptionRow("sigma", "noise noise_level noise_sigma sigma_level", "diffusers, image editors"),
    OptionRow("background", "background_color bg bgcolor", "image editors"),
    OptionRow("class_label", "class_id class_labels label", "diffusers, dgenerate"),
)  # fmt: skip
"""Words for options, and for the keys of prompt files and configuration files."""

SHORT_OPTIONS = {
    "-A": "sampling_method", "-C": "cfg", "-G": "cfg", "-I": "init_img", "-N": "n_iter", "-O": "outdir", "-P": "text",
    "-S": "seeds", "-b": "batch_count", "-d": "backend", "-f": "force", "-j": "jobs", "-k": "k_sampler", "-l": "loras",
    "-t": "threads", "-w": "image_width", "-y": "force",
    "-i": "init_img", "--c": "chaos", "--q": "stylize", "--r": "repeat", "--s": "stylize", "--v": "version_number",
    "--w": "image_width", "--h": "image_height", "--p": "personalize",
}  # fmt: skip
"""Short options of other tools, whose case has a meaning -> word of `OPTION_ROWS` or of `UNSUPPORTED_ROWS`."""
