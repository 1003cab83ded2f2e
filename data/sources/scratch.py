"""A temporary folder that lives as long as something refers to it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any


class Scratch:
    """A folder for unpacked archives and indices, removed with the last reference to it and when Python ends.

    It lies where TMPDIR says. A copy in another process (pickled for a dask worker) refers to the folder
    without removing it.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="faconvlstm-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def folder(self) -> Path:
        """A new folder inside."""
        return Path(tempfile.mkdtemp(dir=self.path))
