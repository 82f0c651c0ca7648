"""Define the command `artgen doctor`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_result
from artgen.cli.json_output import JsonOutput
from artgen.system.counts import counted
from artgen.system.optional_packages import install_command, missing_extras

if TYPE_CHECKING:
    from artgen.api.doctor import DoctorReport


def _declare_json() -> type:
    from artgen.api.doctor import DoctorReport

    return DoctorReport


OUTPUT = JsonOutput(_declare_json, is_list=False)


@OUTPUT
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Check the installation: versions, devices and models.

    The output ends with instructions for each problem, and with the next step.

    artgen doctor
    artgen doctor --json
    """
    from artgen.api.doctor import doctor as inspect_installation

    report = inspect_installation()
    if as_json:
        OUTPUT.print(report)
    else:
        for name, value in _lines(report):
            print_result(f"{name:<16} {value}", hanging_indent=17)
        for line in (*report.errors, *report.advice) or ["No problems found."]:
            print_result(f"- {line}")
        for line in _suggestions(report):
            print_result(f"- {line}")
    if report.bundled_model != "intact":
        raise typer.Exit(5)


def _lines(report: "DoctorReport") -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each line."""
    from artgen.api.doctor import PROMPT_FOLDERS, folder_exists
    from artgen.registry.model_folders import DESCRIPTIONS

    yield "artgen", report.artgen
    yield "python", report.python
    for name, version in report.packages.items():
        yield name, version or "missing"
    yield "device", f"cuda, {report.cuda_devices} found" if report.device == "cuda" else report.device
    yield "torch built for", f"CUDA {report.torch_cuda}" if report.torch_cuda else "the CPU"
    yield "cores", f"{report.cores or 'unknown'}"
    yield "memory", _gib(report.memory_bytes)
    yield "bundled model", report.bundled_model
    counts = [counted(count, text) for kind, text in DESCRIPTIONS.items() if (count := report.files.get(kind))]
    folders = ", ".join(map(str, report.model_folders)) or "none"
    yield "model folders", f"{folders} ({', '.join(counts) or 'no files'})"
    for name in PROMPT_FOLDERS:
        folder = getattr(report, name)
        yield name.replace("_", " "), f"{folder or 'none'}{'' if folder_exists(folder) else ' (does not exist)'}"
    yield "model cache", f"{report.model_cache or 'unknown'}"
    yield "model cache free", _gib(report.model_cache_free_bytes)
    yield "history", _history(report)
    yield "configuration", f"{report.configuration}{'' if report.configuration_exists else ' (does not exist)'}"
    yield "default model", report.default_model or "unknown"
    if report.image_seconds is not None:
        yield "time of an image", f"about {max(report.image_seconds, 0.1):.1f} s, after the model is loaded"


def _history(report: "DoctorReport") -> str:
    if report.history is None:
        return "off"
    entries = "cannot be read" if report.history_entries is None else counted(report.history_entries, "image")
    return f"{report.history} ({entries})"


def _suggestions(report: "DoctorReport") -> Iterator[str]:
    """Yield suggestions that are not instructions for a problem."""
    other_devices = {"nf4": report.device != "cuda", "openvino": report.device != "cpu"}
    missing = [extra for extra in missing_extras() if not other_devices.get(extra.name)]
    if missing:
        names = ", ".join(f"{extra.name} ({extra.use})" for extra in missing)
        yield f"Not installed: {names}. To install: {install_command([extra.package for extra in missing])}"
    if report.next_step:
        from artgen.registry import BUNDLED_MODEL

        is_demonstration = report.default_model == BUNDLED_MODEL
        kind = "is a small demonstration model" if is_demonstration else "is not on this computer"
        yield f"The default model '{report.default_model}' {kind}. {report.next_step}"


def _gib(num_bytes: int | None) -> str:
    return "unknown" if num_bytes is None else f"{num_bytes / 2**30:.0f} GiB"
