"""The peak memory of one training step, in a process of its own: `python -m tests.benchmarks.peak NAME SETTING`.

Prints the bytes by which the resident set rises above what it was before the step.
"""

from __future__ import annotations

import json
import subprocess
import sys

import torch

from models.cost import memory_is_told as available
from models.cost import resident_rise
from tests.benchmarks.contestants import Setting, maker

__all__ = ["available", "measure"]


def measure(name: str, setting: Setting) -> int:
    """Return the peak in bytes, measured in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.peak", name, json.dumps(setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main(name: str, setting: Setting) -> int:
    """Take a step on a tiny grid, to have all libraries loaded, then the one that is measured."""
    torch.set_num_threads(setting.threads)
    maker(name, setting._replace(height=6, width=6, length=2))().train_step()
    contestant = maker(name, setting)()
    return resident_rise(contestant.train_step)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], Setting(*json.loads(sys.argv[2])))}\n")
