"""Find the embeddings that prompts name: `embedding:NAME`, and names of files of `embedding_folder`."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from artgen.errors import InputFileError, RefusedError
from artgen.events import Listener, Notice
from artgen.registry import embeddings as embedding_files
from artgen.registry import model_folders
from artgen.registry.embeddings import EmbeddingRequest
from artgen.registry.resolved import ResolvedModel
from artgen.spec import config
from artgen.spec.base_requests import PromptRequest
from artgen.spec.embedding import parse_embedding, token_pattern, unescape_brackets

# ComfyUI ends a name at white space; artgen also ends it at a comma and at characters of the syntax of prompts.
_NAME_PATTERN = re.compile(r"(?<!\w)embedding:([^\s,()\[\]{}<>|:]++)", re.IGNORECASE)
_PUNCTUATION = ".;!?'\""
_UNSAFE_PATTERN = re.compile(r"[^\w.+-]+")
_PROMPTS = ("prompt", "negative_prompt")


def apply_embeddings(
    request: PromptRequest, listener: Listener, known_names: Callable[[], Collection[str]]
) -> tuple[PromptRequest, tuple[str, ...]]:
    """Return the request with the embeddings that its prompts name, and the optional values of `embedding`.

    `embedding:NAME` is replaced by the token of the embedding, which is the name of the file. A word of the prompts
    that is the name of a file of `embedding_folder` also selects the embedding, as in AUTOMATIC1111. Such an embedding
    is optional: it is not used if the model does not support it.

    Args:
        request: request with resolved wildcards.
        listener: receives notes.
        known_names: returns `names_in_folder()`.

    Raises:
        InputFileError, RefusedError: an embedding is unknown, ambiguous, a pickle or not valid.
    """
    prompts = {name: str(getattr(request, name)) for name in _PROMPTS}
    if request.prompt_weights == "none":
        if match := next(filter(None, map(_NAME_PATTERN.search, prompts.values())), None):
            listener(Notice(f"'{match[0][:80]}' is text, because prompt_weights is none."))
        return request, ()
    found = list(embedding_files.resolve_embeddings(request.embeddings))
    bare_names = _bare_names(prompts.values(), known_names())
    for name, text in prompts.items():
        prompts[name] = _NAME_PATTERN.sub(lambda match: _use(match[1], found, prompts, bare_names), text)
    optional = _add_bare(found, prompts, bare_names, listener)
    if not found:
        return request, ()
    if any(prompts.values()):
        for note in unused_embedding_notes(found, prompts.values()):
            listener(Notice(note))
    changed = request.replace(**{name: text for name, text in prompts.items() if text != getattr(request, name)})
    return changed.replace(embedding=tuple(map(str, found))), tuple(map(str, optional))


def unused_embedding_notes(embeddings: Iterable[EmbeddingRequest], prompts: Collection[str]) -> Iterator[str]:
    """Yield a note for each embedding whose token final prompts do not contain."""
    for each in embeddings:
        if not any(token_pattern([each.token]).search(text) for text in prompts):
            yield (
                f"The embedding '{each.file.path.name}' has no effect: the prompts do not contain its token "
                f"'{each.token}'."
            )


def final_prompt_notes(request: PromptRequest) -> list[str]:
    """Return a note if a recorded prompt names an embedding that its record does not contain."""
    matches = (_NAME_PATTERN.search(getattr(request, name)) for name in _PROMPTS)
    if request.prompt_weights == "none" or not (match := next(filter(None, matches), None)):
        return []
    return [
        f"'{match[0][:80]}' in the recorded prompt is text: embeddings of records are found by their hash. To use it, "
        "add --set embedding=PATH:TOKEN."
    ]


def _use(name: str, found: list[EmbeddingRequest], prompts: dict[str, str], bare_names: Sequence[str]) -> str:
    """Return the text that takes the place of `embedding:NAME`, and add the embedding."""
    stripped = name.rstrip(_PUNCTUATION)
    for candidate in dict.fromkeys((name, stripped)):
        if same := [each for each in found if each.token.casefold() == candidate.casefold()]:
            return same[0].token + name[len(candidate) :]
    try:
        path, rest = embedding_files.find_named(name), ""
    except InputFileError:
        if not stripped or stripped == name:
            raise
        path, rest = embedding_files.find_named(stripped), name[len(stripped) :]
    file = embedding_files.read_embedding(path)
    if same := [each for each in found if each.file.sha256 == file.sha256]:
        return same[0].token + rest
    stem = _UNSAFE_PATTERN.sub("_", file.name)
    token, number = stem, 1
    # The same word in another place of the prompts is text, unless it also selects the embedding.
    others = " ".join(_NAME_PATTERN.sub(" ", text) for text in prompts.values())
    while (token.casefold() not in bare_names and token_pattern([token]).search(others)) or any(
        each.token.casefold() == token.casefold() for each in found
    ):
        number += 1
        token = f"{stem}-{number}"
    found.append(EmbeddingRequest(file, token))
    return token + rest


def names_in_folder() -> frozenset[str]:
    """Return the names of the files of `embedding_folder`, in lower case."""
    folder = config.embedding_folder()
    names = () if folder is None else (PurePosixPath(file.stem).name for file in model_folders.walk(folder))
    return frozenset(name.casefold() for name in names if name)


def _bare_names(prompts: Iterable[str], known_names: Collection[str]) -> tuple[str, ...]:
    """Return the known names that occur in prompts."""
    text = "\n".join(prompts).casefold().replace("\\", "") if known_names else ""
    return tuple(sorted(name for name in known_names if name in text))


def _add_bare(
    found: list[EmbeddingRequest], prompts: dict[str, str], bare_names: Sequence[str], listener: Listener
) -> list[EmbeddingRequest]:
    """Add the embeddings that words of the prompts select, and return them."""
    tokens = {each.token.casefold() for each in found}
    names = [name for name in bare_names if name not in tokens]
    added: dict[str, EmbeddingRequest] = {}
    pattern = token_pattern([*names, *tokens])
    for text in prompts.values():
        for match in pattern.finditer(text):
            word = unescape_brackets(match[0])
            if word.casefold() in tokens or word.casefold() in added:
                continue
            try:
                file = embedding_files.read_embedding(embedding_files.find_named(word))
            except RefusedError as error:
                message = f"The word '{word}' of the prompts is the name of an embedding. {error.message}"
                raise RefusedError(message, error.hint) from error
            added[word.casefold()] = EmbeddingRequest(file, word)
            listener(
                Notice(
                    f"The word '{word}' of the prompts selects the embedding '{file.path.name}' of embedding_folder, "
                    "as in AUTOMATIC1111."
                )
            )
    found += added.values()
    return list(added.values())


def without_unsupported(request: PromptRequest, model: ResolvedModel) -> tuple[PromptRequest, list[str]]:
    """Return the request without optional embeddings that a model does not support, and a note for each of these."""
    optional = request.expansion.optional_embeddings if request.expansion else ()
    kept, notes = list(request.embedding), []
    for each in embedding_files.resolve_embeddings([parse_embedding(text) for text in optional if text in kept]):
        if reason := embedding_files.mismatch_reason(each.file, model):
            kept.remove(str(each))
            notes.append(f"The word '{each.token}' is text: '{each.file.path.name}' is not used, because {reason}.")
    return (request.replace(embedding=tuple(kept)) if notes else request), notes
