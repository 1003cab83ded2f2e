"""Reads the raw store back and looks for what is wrong: times, missing values, ranges, checksums, parts.

It names what is wrong and what to fetch again, and sees to it that the next download does just that. It changes no
data: a raw store that is found wrong loses its manifest, a part its note in the journal.
"""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig

from data import inspect, store
from data.inspect import Finding
from data.sources import InParts, Source
from pipeline import command, locks
from pipeline.download import build_source, raw_artifact, raw_path, require_raw
from pipeline.errors import PipelineError

log = logging.getLogger(__name__)


def verify(cfg: DictConfig) -> None:
    """Checks the raw store of a dataset and the parts it was made from.

    Raises:
        PipelineError: something is wrong.
    """
    manifest = require_raw(cfg)
    with locks.holding(raw_path(cfg)):
        _verify(cfg, manifest)


def _verify(cfg: DictConfig, manifest: dict[str, Any]) -> None:
    source = build_source(cfg)
    raw = store.open_store(raw_path(cfg))
    findings = inspect.inspect(raw[manifest["variables"]], manifest.get("checksums", {}))
    again = list(source.damaged()) if isinstance(source, InParts) else []
    told = [*(str(finding) for finding in findings), *(f"{label}: the file is damaged" for label in again)]
    if not told:
        parts = ", nor with the parts it was made from" if isinstance(source, InParts) else ""
        log.info("verify: nothing is wrong with %s%s.", raw_path(cfg), parts)
        return
    for line in told:
        log.info("verify: %s", line)
    again += _condemn(source, findings)
    if findings:
        raw_artifact(cfg, source).manifest_path.unlink(missing_ok=True)
    what = f" fetches {', '.join(dict.fromkeys(again))} again and" if again else ""
    raise PipelineError(
        f"{len(told)} faults in {raw_path(cfg)}, the first: {told[0]}: "
        f"{command.hint('download')}{what} makes it anew."
    )


def _condemn(source: Source, findings: list[Finding]) -> list[str]:
    """The parts that gave wrong values; what went wrong after the writing is only to be written again."""
    if not isinstance(source, InParts):
        return []
    wrong = dict.fromkeys((finding.month, finding.name) for finding in findings if not finding.decayed)
    decayed = {(finding.month, finding.name) for finding in findings if finding.decayed}
    return [
        label
        for month, name in wrong
        if (month, name) not in decayed
        for label in source.condemn(month, name)
    ]


if __name__ == "__main__":
    command.run(verify)
