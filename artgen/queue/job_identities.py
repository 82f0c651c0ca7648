"""Compute the seeds and the fingerprints of the jobs of a batch."""

import hashlib
from collections.abc import Callable, Container, Mapping
from typing import Any

from artgen.queue.plan import JobTemplate
from artgen.spec.best_of import num_candidates
from artgen.spec.seeds import expand_seeds, hash_seed
from artgen.spec.settings import SeriesSettings


class JobIdentities:
    """Compute seeds and fingerprints from the settings and the prompts of lines. Count repeated lines."""

    def __init__(self, known_fingerprints: Container[str]) -> None:
        """Store the fingerprints of the ledger; see `Planner`."""
        self._known_fingerprints = known_fingerprints
        self._digest_counts: dict[bytes, int] = {}

    def of_line(
        self, template: JobTemplate, prompts: Mapping[str, Any], series: SeriesSettings
    ) -> list[tuple[int, str]]:
        """Return the seed and the fingerprint of each job of a line, of an earlier version if its ledger has them."""
        text, candidates = prompts_text(prompts), num_candidates(template.request)
        for digest in dict.fromkeys(template.former_digests):
            if digest == template.settings_digest:
                continue
            former = self._identify(digest + text, series, candidates)
            if any(fingerprint in self._known_fingerprints for _, fingerprint in former):
                return former
        return self._identify(template.settings_digest + text, series, candidates)

    def is_known(
        self, find_template: Callable[[], JobTemplate], prompts: Mapping[str, Any], series: SeriesSettings
    ) -> bool:
        """Return whether the ledger contains a job of a line with these prompts."""
        if not self._known_fingerprints:
            return False
        others = JobIdentities(())  # the line is not counted
        template = find_template()
        digest = template.settings_digest + prompts_text(prompts)
        found = others._identify(digest, series, num_candidates(template.request))
        return any(fingerprint in self._known_fingerprints for _, fingerprint in found)

    def _identify(self, digest_and_prompts: bytes, series: SeriesSettings, candidates: int) -> list[tuple[int, str]]:
        """Return the seed and the fingerprint of each job of a line, given its settings digest and prompts."""
        line_digest = hashlib.sha256(digest_and_prompts).digest()
        found = []
        for seed in expand_seeds(series, lambda: self._derive_seed(line_digest), candidates):
            found.append((seed, self.fingerprint(line_digest, seed)))
        return found

    def fingerprint(self, line_digest: bytes, seed: int) -> str:
        """Return the fingerprint of a job. A repetition of the job has another fingerprint."""
        job = hashlib.sha256(line_digest + str(seed).encode())
        if repetition := self._count_previous(job.digest()):
            job.update(str(repetition).encode())
        return job.hexdigest()

    def _derive_seed(self, line_digest: bytes) -> int:
        """Return a seed computed from a line, 0 to 2**32 - 1. A repetition of the line has another seed."""
        salt = self._count_previous(line_digest + b"seed")
        return hash_seed(line_digest + str(salt).encode())

    def _count_previous(self, digest: bytes) -> int:
        """Return the number of earlier calls of this method with `digest`."""
        count = self._digest_counts.get(digest, 0)
        self._digest_counts[digest] = count + 1
        return count


def prompts_text(prompts: Mapping[str, Any]) -> bytes:
    """Return the part of the fingerprint for prompts and styles."""
    text = f"{prompts.get('prompt', '')}\0{prompts.get('negative_prompt', '')}"
    return "\0".join((text, *prompts.get("style", ()))).encode()
