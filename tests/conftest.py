"""What many tests share: the real data, where they are, and a place for runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples in every run: quick, and a failure comes again; HYPOTHESIS_PROFILE=search looks further
settings.register_profile("same", derandomize=True, deadline=None, max_examples=40, database=None)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Where several run tests at once, each and the processes that it starts have one thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _has_gpu() -> bool:
    import torch  # not before the number of threads is said

    return torch.cuda.is_available()


# Triton reads this when it is imported, which torch may do before a test asks for it.
if not _has_gpu():
    os.environ.setdefault("TRITON_INTERPRET", "1")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of genuine reanalysis files beside the checkout; they are not part of the project."""
    if not REAL_DATA.exists():
        pytest.skip(
            f"the reanalysis sample data are not in ../shared/data beside {REAL_DATA.parents[1].name}"
        )
    return REAL_DATA
