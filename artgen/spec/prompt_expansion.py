"""Define the facts about the expansion of a request's prompts: wildcards, variants, styles and tags."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptExpansion:
    """Store what the prompts were before their wildcards, variants, styles and tags were replaced.

    A request with an expansion has final prompts: no part of them is looked up again. The requests of image records
    have an expansion.

    Attributes:
        template: prompt as typed; empty if it is equal to the prompt.
        negative_template: negative prompt as typed; empty if it is equal to the negative prompt.
        choices: text of each wildcard and variant and its choice, `__color__=red`, in the order of the template.
        styles: names of the styles.
        optional_embeddings: values of `embedding` that are used only if the model supports them, because ordinary words
            of the prompts select them. They are not recorded.
        has_tags: whether LoRA tags and names of embeddings are not replaced yet, because a server replaces them.
    """

    template: str = ""
    negative_template: str = ""
    choices: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    optional_embeddings: tuple[str, ...] = ()
    has_tags: bool = False
