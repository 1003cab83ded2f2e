"""The exception for what a user of the data package can mend: a file, an option, a date, a unit.

Its message is one sentence that says what is wrong, where, and what to do; the command line prints that
sentence and ends with status 2. Anything else that is raised is a bug.
"""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """Something about the data or the dataset's options that the user can mend, in one sentence."""


class DamagedError(DataError):
    """What lies on the disk is not what was written there.

    Args:
        path: of the file or store.
        reason: what was found.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # as they are, so that it can be sent from one process to another
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} is damaged ({self.reason}): remove it and make it again."
