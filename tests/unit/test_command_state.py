"""Check that each module value that a command can change is reset between two commands of the worker."""

import ast
from collections.abc import Iterator
from pathlib import Path

import artgen

RESET = {
    "outputs/training_facts.py:_found",
    "metadata/content_credentials/keys.py:_loaded_keys",
    "metadata/content_credentials/signing.py:_checked_keys",
    "cli/console.py:stderr_console",
    "cli/interrupts.py:_exit_lock",
    "cli/status_line.py:status_line",
    "engine/acceleration/apply.py:_failed_models",
    "engine/derived_inputs.py:_map_cache",
    "engine/image_prompts/encoder.py:_cache",
    "engine/loading/loaded_models.py:_store",
    "engine/sampling/text_encoder_offload.py:_embedding_cache",
    "engine/text_masks/compute.py:_cache",
    "image_history/recording.py:_writer",
    "images/contact_sheet.py:label_font",
    "images/mask_fill.py:_last_biharmonic",
    "metadata/input_marks.py:_marks_of_file",
    "registry/single_file_configs.py:_temporary_folder",
    "spec/selected_filters.py:_read_words",
    "spec/selected_filters.py:_received",
    "system/cache_folders.py:_descriptors",
    "system/input_files.py:_pipe_contents",
    "system/input_files.py:_stdin_content",
    "system/input_files.py:_stdin_error",
}
"""Values that `command_state` resets at the end of a command."""

PURE = {
    "cli/completion/setting_values.py:declared_settings",
    "cli/help.py:_eager_parameter",
    "cli/options.py:_bare_values",
    "cli/options.py:_flag_aliases",
    "cli/options.py:_multi_value_settings",
    "cli/options.py:_switch_variables",
    "engine/loading/processors.py:_without_video",
    "gallery_site/folder.py:asset_files",
    "images/color_profiles.py:_gray_table",
    "images/color_profiles.py:_parse_profile",
    "jobs/prompt_notes.py:_options",
    "jobs/prompt_plan.py:_plan",
    "jobs/trained_words.py:_read_words",
    "queue/prompt_line.py:option_flags",
    "images/color_profiles.py:_SAME_VALUE",
    "registry/catalog.py:builtin_aliases",
    "registry/catalog.py:builtin_models",
    "registry/preprocessors.py:preprocessor_entries",
    "registry/config_checks.py:_pipeline_modules",
    "registry/control_nets/net_table.py:net_entries",
    "registry/image_prompts/adapter.py:_table",
    "registry/image_prompts/adapter.py:adapter_entries",
    "registry/image_prompts/adapter.py:encoder_entries",
    "registry/mask_models.py:mask_model_entries",
    "registry/upscalers/upscaler.py:upscaler_entries",
    "registry/net_names.py:_table",
    "registry/score_models.py:score_model_entries",
    "registry/pipelines.py:_table",
    "registry/pipelines.py:architecture_entry",
    "registry/pipelines.py:pipeline_entries",
    "registry/pipelines.py:supported_families",
    "registry/single_file_configs.py:_clip_files",
    "spec/fields.py:_declarations",
    "spec/fields.py:_options",
    "spec/fields.py:_path_settings",
    "spec/python_text.py:_choices",
    "spec/python_text.py:_keywords",
    "spec/synonyms/__init__.py:_option_words",
    "spec/wildcards.py:parse",
    "system/terminal_images.py:_color_256",
    "engine/metrics.py:_load_encoder",
}
"""Caches of functions that depend only on their arguments and on the files of the installation."""

KEYED_BY_IDENTITY = {
    "engine/loading/preflight.py:_checked",
    "engine/acceleration/decoders.py:_load_tiny_decoder",
    "engine/sampling/prompts.py:tokenizer_for",
    "jobs/prompt_chunks.py:_count_cached",
    "registry/clip_tokenizer.py:clip_tokenizers",
    "registry/embeddings/embedding_file.py:_read_cached",
    "registry/lora/compatibility.py:model_layer_shapes",
    "registry/lora/lora_file.py:_read_cached",
    "registry/memory.py:parameter_counts",
}
"""Caches whose key contains the inode, the size and the modification time of each file."""

OF_OBJECTS = {
    "cli/console.py:_closed_streams",
    "engine/acceleration/apply.py:_applied",
    "engine/acceleration/decoders.py:_bf16_decoders",
    "engine/acceleration/openvino/runner.py:_compiled_models",
    "engine/loading/embeddings.py:_copies",
    "engine/loading/lora.py:_active_loras",
    "engine/sampling/prompt_embeddings.py:_embedding_caches",
    "system/memory_file.py:_named_files",
    "queue/locks.py:_files",
    "system/temporary.py:_own_paths",
}
"""Values of objects that exist: streams, loaded models, open files. They are removed with the object."""

OF_PROCESS = {
    "engine/acceleration/cuda_graphs.py:_capture_stream",
    "engine/acceleration/openvino/library.py:openvino_core",
    "image_history/sqlite_file.py:_abandoned",
    "server/security.py:_machine_names",
    "system/attempt.py:_first",
    "system/attempt.py:_random",
    "system/attempt.py:_send",
    "system/command_state.py:_resets",
    "system/hardware.py:cuda_device_count",
    "system/process.py:_end_command",
    "system/process.py:_exit_code",
    "system/process.py:_initial_environment",
    "system/process.py:_is_abandoned",
    "system/process.py:_owns_process",
    "system/process.py:_start_time",
}
"""Values of the process and its devices, and values that the worker sets at the start of each command."""

MUTABLE_TYPES = {
    "set",
    "dict",
    "list",
    "OrderedDict",
    "WeakSet",
    "WeakKeyDictionary",
    "WeakValueDictionary",
    "_Store",
    "_Writer",
    "StatusLine",
}


def name_of(node: ast.expr) -> str:
    return ast.unparse(node).split("(")[0].split(".")[-1]


def stored_values(path: Path) -> Iterator[str]:
    """Yield the names of the caches, the global values and the mutable module values of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and {"cache", "lru_cache"} & set(map(name_of, node.decorator_list)):
            yield node.name
        elif isinstance(node, ast.Global):
            yield from node.names
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            is_empty = isinstance(value, ast.Dict | ast.List) and not ast.unparse(value).strip("{}[]")
            if is_empty or (isinstance(value, ast.Call) and name_of(value.func) in MUTABLE_TYPES):
                yield ast.unparse(target)


def test_each_stored_value_is_reset_or_stays_valid() -> None:
    folder = Path(artgen.__file__).parent
    found = {
        f"{path.relative_to(folder).as_posix()}:{name}"
        for path in folder.rglob("*.py")
        for name in stored_values(path)
        if path.parts[len(folder.parts)] != "worker_process"
    }
    known = RESET | PURE | KEYED_BY_IDENTITY | OF_OBJECTS | OF_PROCESS
    assert sorted(found - known) == [], "Reset it with `artgen.system.command_state`, or add it to a set of this test."
    assert sorted(known - found) == [], "Remove the name from this test."
