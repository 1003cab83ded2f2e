"""Progress of long work: a bar with rate and remaining time on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0


def track(items: Any, label: str) -> Iterator[Any]:
    """Goes through items of known number and shows how far it is."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label)
        return
    started = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said > SECONDS_BETWEEN_LINES:
            left = (now - started) / done * (len(items) - done)
            log.info("%s: %d of %d, about %.0f s left", label, done, len(items), left)
            said = now
        yield item
