"""Read the graphs that ComfyUI embeds in images.

`graph.py` reads the API format and `editor.py` the format of the editor. `sampling.py` follows the saved image back to
its samplers, `conditioning.py` the links of a sampler to its prompts, and `weights.py` to its model; `record.py`
combines them. The first pass gives the settings: it determines the composition, and artgen has one pass.

`sd-parsers` also reads ComfyUI's graphs. artgen has its own reader because sd-parsers ignores the output slots of
links, requires the `workflow`, and reads neither custom samplers nor primitives; `docs/other-tools.md` compares both.
"""

from artgen.metadata.comfy.editor import read_workflow_graph
from artgen.metadata.comfy.graph import read_prompt_graph, with_output_names
from artgen.metadata.comfy.record import read_record
from artgen.metadata.comfy.sampling import find_passes
from artgen.metadata.comfy.walk import Walker
from artgen.metadata.external_record import ExternalRecord

__all__ = ["parse_comfy"]


def parse_comfy(prompt: object, workflow: object = None) -> ExternalRecord | None:
    """Read a decoded ComfyUI `prompt`, or `workflow` if `prompt` has no sampler. Either may have the other format.

    Returns:
        The record of the first pass; None if neither graph has a sampler. The function raises no errors.
    """
    editor_graph = read_workflow_graph(workflow)
    for graph, is_editor in (
        (with_output_names(read_prompt_graph(prompt), editor_graph), False),
        (editor_graph, True),
        (read_workflow_graph(prompt), True),
        (read_prompt_graph(workflow), False),
    ):
        walker = Walker(graph)
        if passes := find_passes(walker):
            return read_record(walker, passes, is_editor=is_editor)
    return None
