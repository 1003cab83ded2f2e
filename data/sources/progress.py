"""What can be seen of every part while the parts are brought."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Status:
    """Where a part is.

    Attributes:
        label: the part's name, such as 2021-03 instant.
        month: such as 2021-03.
        state: waiting, queued, running, downloading, checking, verified, cooling off, retrying or failed.
        since: time.monotonic() at which it came into the state.
        done: bytes that have arrived.
        total: bytes of its file, 0 where not known yet.
    """

    label: str
    month: str
    state: str = "waiting"
    since: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0

    def to(self, state: str) -> None:
        """Changes the state, if it is another one."""
        if state != self.state:
            self.state, self.since = state, time.monotonic()


Watch = Callable[[Sequence[Status]], None]


def nobody(statuses: Sequence[Status]) -> None:
    """Watches nothing."""
