"""How patiently and how fast the service is spoken to; nothing of it changes what is in the raw store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Transfer:
    """Times in seconds unless the name says otherwise.

    Attributes:
        in_flight: requests of this dataset that the service holds at one time; it rejects more than one or two.
        poll_seconds: longest time between two looks at a request's state.
        cool_off_seconds: wait after a rejection for too many requests.
        retry_seconds: first wait after an error of the network or the service; it doubles from try to try.
        retry_max_seconds: longest such wait.
        tries: errors in a row after which the download ends.
        timeout_seconds: of one connection that gives nothing.
        deadline_hours: how long a request may stay queued or running, and a file's transfer may take.
        checksum: whether the file's md5 has to be the one that the service states.
    """

    in_flight: int = 2
    poll_seconds: float = 30
    cool_off_seconds: float = 180
    retry_seconds: float = 5
    retry_max_seconds: float = 600
    tries: int = 30
    timeout_seconds: float = 60
    deadline_hours: float = 24
    checksum: bool = True
