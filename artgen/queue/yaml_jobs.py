"""Parse the jobs of a YAML prompt file: a list, or the sections `defaults` and `jobs`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import yaml

from artgen.errors import InputFileError, UsageError
from artgen.queue.entries import Entry, LineError
from artgen.queue.job_settings import entry_or_error, parse_defaults, parse_settings
from artgen.queue.keys import Keys
from artgen.system.yaml_values import YamlError, compose, line_of, to_value


def parse_yaml(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the entries of a YAML file in order, and an error for each invalid job.

    Args:
        source: name of the file in messages.
        data: content of the file.
        keys: keys to ignore.
    """
    try:
        top = compose(data.decode("utf-8"))
    except UnicodeDecodeError as decode_error:
        line = data.count(b"\n", 0, decode_error.start) + 1
        yield LineError(source, line, InputFileError("Cannot decode the file as UTF-8.", "Save the file as UTF-8."))
        return
    except YamlError as error:
        yield LineError(source, error.line, UsageError(f"Cannot parse the file as YAML: {error}."))
        return
    if top is None:
        return
    defaults = Entry(source, 0, {})
    jobs = top
    if isinstance(top, yaml.MappingNode):
        sections, errors = _find_sections(source, top)
        yield from errors
        if "defaults" in sections:
            item = _parse_job(source, sections["defaults"], keys, parse_defaults)
            if isinstance(item, LineError):
                yield item
            else:
                defaults = item
        jobs = sections.get("jobs", top)
    if not isinstance(jobs, yaml.SequenceNode):
        hint = "Write a list, or a list under jobs:."
        yield LineError(source, line_of(jobs), UsageError("Cannot find the list of jobs.", hint))
        return
    for node in jobs.value:
        item = _parse_job(source, node, keys)
        if isinstance(item, Entry):
            item = replace(item, defaults=defaults.setting_values)
        yield item


def _find_sections(source: str, top: yaml.MappingNode) -> tuple[dict[str, yaml.Node], list[LineError]]:
    """Return the nodes of `defaults` and `jobs`, and an error for each other or repeated section."""
    sections: dict[str, yaml.Node] = {}
    errors = []
    for key, node in top.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        if name not in ("defaults", "jobs"):
            error = UsageError(f"Cannot use the section {name!r}: it is unknown.", "Use defaults: and jobs:.")
            errors.append(LineError(source, line_of(key), error))
        elif name in sections:
            error = UsageError(f"Cannot use the section '{name}' twice.", "Merge the two sections.")
            errors.append(LineError(source, line_of(key), error))
        else:
            sections[name] = node
    return sections, errors


def _parse_job(
    source: str, node: yaml.Node, keys: Keys, parse: Callable[..., dict[str, Any]] = parse_settings
) -> Entry | LineError:
    try:
        value = to_value(node)
    except YamlError as error:
        return LineError(source, error.line, UsageError(f"Cannot parse the job as YAML: {error}."))
    return entry_or_error(source, line_of(node), parse, {"prompt": value} if isinstance(value, str) else value, keys)
