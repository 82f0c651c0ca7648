"""List the words of other tools for features that artgen does not have. See `artgen.spec.synonyms.options`."""

from typing import NamedTuple


class UnsupportedRow(NamedTuple):
    """Represent words for a feature that artgen does not have.

    Attributes:
        feature: name of the feature, the subject of "... is not supported".
        words: words of other tools, separated by spaces.
        tools: tools that have the words.
        alternative: sentences about what to use in its place.
    """

    feature: str
    words: str
    tools: str
    alternative: str


UNSUPPORTED_ROWS = (
    UnsupportedRow(
        "Upscaling in this command",
        "upscale upscale_repeats esrgan real_esrgan "
        "embiggen upscaling upscaled hd uhd super_resolution 4x 2x enlarge upscale_models "
        "uov ultimate_sd_upscale",
        "A1111, InvokeAI, stable-diffusion.cpp, Fooocus",
        "To enlarge an image, run `artgen upscale IMAGE --by 2`.",
    ),
    UnsupportedRow(
        "Face identity",
        "photomaker pulid instantid face_id ip_adapter_faceid oref ow",
        "diffusers, ComfyUI, Fooocus, Midjourney",
        "To take content and style from an image, use --image-prompt photo.png:0.6,model=sd15-plus-face.",
    ),
    UnsupportedRow(
        "Face restoration",
        "restore_faces face_restoration gfpgan codeformer facetool fix_faces gfpgan_strength codeformer_fidelity "
        "adetailer face_detailer face_restore face_fix reactor",
        "A1111, InvokeAI",
        "To repaint a face, use `artgen inpaint IMAGE PROMPT --mask MASK`.",
    ),
    UnsupportedRow(
        "Noise of another size",
        "seed_resize seed_resize_from_w seed_resize_from_h seed_resize_from",
        "A1111",
        "Remove the option.",
    ),
    UnsupportedRow(
        "A list of variations",
        "variations variation_count with_variations",
        "InvokeAI",
        "For similar images, run `artgen variations IMAGE --count 4`.",
    ),
    UnsupportedRow(
        "A choice of the attention implementation",
        "xformers opt_sdp_attention sdp attention flash_attention diffusion_fa flash_attn sage_attention "
        "use_sage_attention opt_split_attention attention_slicing use_pytorch_cross_attention enable_xformers "
        "force_enable_xformers opt_sdp_no_mem_attention opt_channelslast use_split_cross_attention "
        "enable_attention_slicing split_attention use_flash_attention attention_type use_quad_cross_attention sdpa "
        "fa",
        "A1111, ComfyUI, InvokeAI, stable-diffusion.cpp",
        "artgen uses scaled dot-product attention of PyTorch. Remove the option.",
    ),
    UnsupportedRow(
        "Token merging",
        "tome token_merging token_merging_ratio tomesd",
        "A1111",
        "For approximations, use --fast.",
    ),
    UnsupportedRow(
        "A setting for the sampler's noise",
        "s_churn s_noise s_tmin s_tmax eta_ddim ddim_eta eta_noise_seed_delta eta ensd initial_noise_multiplier "
        "noise_multiplier noise_offset perlin threshold dynamic_threshold dynamic_thresholding cpu_rng rng "
        "use_cpu_noise",
        "A1111, InvokeAI, stable-diffusion.cpp",
        "Remove the option.",
    ),
    UnsupportedRow(
        "A regional prompt",
        "regional regional_prompt region regions regional_prompter latent_couple area_conditioning",
        "A1111, ComfyUI",
        "To change a part of an image, use `artgen inpaint IMAGE PROMPT --mask MASK`.",
    ),
    UnsupportedRow(
        "A resize mode",
        "resize_mode resize resize_to fit no_aspect crop_mode resize_method center_crop fill_mode just_resize",
        "A1111, InvokeAI, dgenerate",
        "Set the size of the result with --size.",
    ),
    UnsupportedRow(
        "Prompt enhancement",
        "enhance enhance_prompt magic_prompt prompt_upsampling prompt_upscale prompt_magic expand_prompt "
        "improve_prompt prompt_upscaler fooocus_v2 raw personalize",
        "dgenerate, Fooocus, Midjourney, Replicate",
        "Styles add words to a prompt: `artgen styles`.",
    ),
    UnsupportedRow(
        "This option of Midjourney",
        "stylize stylise chaos weird niji uplight upbeta stop mj version_number relax creative exp draft",
        "Midjourney",
        "Remove the option. --guidance-scale sets how closely the image follows the prompt.",
    ),
    UnsupportedRow(
        "An option of a server",
        "listen port host share api api_key api_server nowebui autolaunch gradio server_name in_browser "
        "enable_cors_header cors_allow_origins gradio_auth ngrok base_url endpoint url",
        "A1111, ComfyUI, Fooocus",
        "Only `artgen serve` has options of a server: docs/server.md.",
    ),
    UnsupportedRow(
        "An option for the number of threads",
        "threads num_threads n_threads omp_num_threads cpu_threads",
        "stable-diffusion.cpp",
        "Set the environment variable OMP_NUM_THREADS.",
    ),
    UnsupportedRow(
        "A hypernetwork",
        "hypernet hypernetwork hypernetworks hypernetwork_dir",
        "A1111",
        "Use --lora or --embedding.",
    ),
    UnsupportedRow(
        "A separate text encoder",
        "clip clip_l clip_g clip_name t5xxl t5 text_encoder text_encoders clip_path clip_vision llm qwen2vl "
        "dual_clip tokenizer text_encoder_2",
        "stable-diffusion.cpp, ComfyUI, diffusers",
        "Put the components into a folder in the layout of diffusers, and use --model FOLDER.",
    ),
    UnsupportedRow(
        "Video",
        "video_frames num_frames animate animatediff video_length svd motion motion_bucket_id vid_gen video_model "
        "loop",
        "ComfyUI, diffusers, stable-diffusion.cpp",
        "To save the steps of one image as an animation, use --frames.",
    ),
    UnsupportedRow(
        "A grid of the results",
        "grid save_grid n_rows individual no_grid output_grid grid_format grids",
        "A1111, InvokeAI, CompVis",
        "Arrange images with `artgen sheet FOLDER`.",
    ),
    UnsupportedRow(
        "A watermark",
        "watermark invisible_watermark add_watermarker nowatermark logo",
        "diffusers, CompVis",
        'artgen writes the mark "AI-generated" into the metadata, and --sign adds a signed manifest.',
    ),
    UnsupportedRow(
        "A callback or precomputed embeddings",
        "callback callback_steps callback_on_step_end prompt_embeds negative_prompt_embeds pooled_prompt_embeds "
        "latents return_dict cross_attention_kwargs joint_attention_kwargs timesteps num_timesteps original_size "
        "crops_coords_top_left",
        "diffusers",
        "Use diffusers for these arguments.",
    ),
    UnsupportedRow(
        "Training of this kind",
        "network_module optimizer optimizer_type mixed_precision network_train_unet_only lr_scheduler_num_cycles "
        "repeats_per_image dreambooth prior_preservation "
        "with_prior_preservation class_data_dir use_8bit_adam enable_bucket report_to",
        "kohya, diffusers",
        "`artgen train --help` lists the options.",
    ),
    UnsupportedRow(
        "This option of diffusers",
        "trust_remote_code custom_pipeline use_safetensors disable_safe_unpickle safetensors",
        "diffusers, A1111",
        "artgen loads safetensors files only, and no remote code.",
    ),
    UnsupportedRow(
        "A separate option for the revision", "revision variant subfolder version_id", "diffusers",
        "Use -m OWNER/NAME@REVISION.",
    ),
    UnsupportedRow(
        "An access token as an option", "token hf_token auth_token use_auth_token", "diffusers",
        "`hf auth login` sets the token.",
    ),
    UnsupportedRow(
        "An option for the mode", "mode run_mode pipeline task_type", "stable-diffusion.cpp",
        "The command sets the mode: artgen txt2img, artgen img2img, artgen inpaint.",
    ),
    UnsupportedRow(
        "A second prompt", "prompt_2 second_prompt negative_prompt_2 sdxl_second_prompt prompt_3", "diffusers",
        "All text encoders of the model receive --prompt.",
    ),
    UnsupportedRow(
        "A prompt file as an option", "prompt_file prompts_file from_file prompts_from_file input_prompts batch_file "
        "file",
        "InvokeAI, CompVis, mflux", "To generate the images of a file: artgen batch FILE",
    ),
    UnsupportedRow(
        "An option for the configuration file", "config config_file configuration settings config_path profile_file",
        "stable-diffusion.cpp, mflux", "`artgen config set NAME VALUE` sets defaults; --preset NAME uses a preset.",
    ),
    UnsupportedRow(
        "An option for the cache folder", "cache_dir hf_home hf_cache cache_folder download_dir", "diffusers",
        "Set the environment variable HF_HOME.",
    ),
    UnsupportedRow(
        "VAE slicing as an option", "vae_slicing enable_vae_slicing", "diffusers, dgenerate",
        "artgen uses it after an out-of-memory error. --vae-tiling saves more memory.",
    ),
    UnsupportedRow(
        "A method of this kind",
        "freeu hypertile shift flow_shift mu skip_layers slg self_attention_guidance sag",
        "A1111, ComfyUI, diffusers, stable-diffusion.cpp", "Remove the option.",
    ),
    UnsupportedRow(
        "This option of a web interface",
        "ui_settings_file theme no_gradio_queue skip_torch_cuda_test skip_version_check skip_install "
        "reinstall_xformers update_check extra_model_paths_config windows_standalone_build dark_theme",
        "A1111, ComfyUI",
        "Remove the option.",
    ),
)  # fmt: skip
"""Words for features that artgen does not have."""
