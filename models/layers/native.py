"""The passes of `models/layers/kernels`, compiled on first use where there is a C compiler, and called by ctypes.

Compiled once for a processor, a compiler and a type into the user's cache folder (`~/.cache/faconvlstm`, or
`$XDG_CACHE_HOME/faconvlstm`), in a few seconds. Without a compiler, or where anything of this fails, there are none,
which is logged at level info; `models.layers.sequence` and `minimal` then do the same with torch's operations. So
they do everywhere with `FACONVLSTM_NATIVE=0`. POSIX systems only. Several threads need torch's OpenMP to be GNU's or
LLVM's with its entry points, since they run in torch's own pool: elsewhere there are passes for one thread alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

SOURCES = Path(__file__).parent / "kernels"
# No flag that takes numbers to be finite: what is not a number must come out as such.
FLAGS = ("-O2", "-march=native", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
DEFINES = {torch.float32: (), torch.float64: ("-DDOUBLE",)}
NAMES = ("prepare", "ready", "forward", "backward", "finish", "remember", "remember_back")
STRUCTURES = ("Parameters", "LineParameters", "Plan", "Lines", "Sequence", "Sweep")
LONGEST = 64  # bytes of a vector
SECONDS = 120  # that a compiler may take
SWITCH = "FACONVLSTM_NATIVE"

_log = logging.getLogger(__name__)


class Pool(NamedTuple):
    """Addresses of what starts torch's threads and tells them apart; None where they were not found."""

    parallel: int | None
    thread: int | None
    threads: int | None


class Passes(NamedTuple):
    """The compiled passes for one type, and the structures that they take."""

    library: Any
    vector_bytes: int
    lanes: int  # numbers in a vector; rows are padded to a multiple
    wide_lanes: int  # the same of what attention along lines takes
    parameters: type[ctypes.Structure]
    line_parameters: type[ctypes.Structure]
    plan: type[ctypes.Structure]
    lines: type[ctypes.Structure]
    sequence: type[ctypes.Structure]
    sweep: type[ctypes.Structure]


def passes(dtype: torch.dtype, threads: int, inner: int = 0, channels: int = 0) -> Passes | None:
    """Return the passes for a type, compiled if need be; None where there are none for so many threads.

    Where C_b (`inner`) leaves half of the longest vectors empty, they are for vectors of half the length; along F
    (`channels`) and along lines for whole ones all the same, if F is a multiple.
    """
    if os.environ.get(SWITCH) == "0" or (threads > 1 and pool().parallel is None):
        return None
    found = _load(dtype)
    if found is None or found.vector_bytes != LONGEST or not 0 < inner % found.lanes <= found.lanes // 2:
        return found
    wide = [f"-DWIDE_BYTES={LONGEST}"] if channels and channels % found.lanes == 0 else []
    return _load(dtype, f"-DVECTOR_BYTES={LONGEST // 2}", *wide) or found


@cache
def pool() -> Pool:
    """Find torch's pool of threads in this process."""
    try:
        known = ctypes.CDLL(None)
        names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        return Pool(*(ctypes.cast(getattr(known, name), c_void_p).value for name in names))
    except (AttributeError, OSError, TypeError):
        return Pool(None, None, None)


def team(numbers: int, a_thread: int) -> dict[str, Any]:
    """Return the fields of Plan that say how many threads share so much work, at least so much each, and by whom."""
    start, number, count = pool()
    most = 1 if start is None else torch.get_num_threads()
    return {
        "threads": max(1, min(most, numbers // a_thread)),
        "start": start,
        "number": number,
        "count": count,
    }


@cache
def _load(dtype: torch.dtype, *defines: str) -> Passes | None:
    try:
        library = ctypes.CDLL(str(_compiled((*FLAGS, *DEFINES[dtype], *defines))))
        for name in NAMES:
            getattr(library, name).restype = None
        sizes = library.vector_bytes, library.wide_bytes
        for size in sizes:
            size.restype = c_int64
        lanes = (size() // torch.empty(0, dtype=dtype).element_size() for size in sizes)
        structures = map(_structure, STRUCTURES)
        return Passes(library, library.vector_bytes(), *lanes, *structures)
    except (OSError, AttributeError, KeyError, RuntimeError, subprocess.SubprocessError) as error:
        _log.info("layers run without compiled passes, more slowly: %s", error)
        return None


def _structure(name: str) -> type[ctypes.Structure]:
    """Return a structure of passes.h: its fields are `int64_t` or pointers, 8 bytes each."""
    header = re.sub(r"/\*.*?\*/", "", (SOURCES / "passes.h").read_text(), flags=re.DOTALL)
    bodies = {
        found[2]: found[1] for found in re.finditer(r"typedef struct \{(.*?)\} (\w+);", header, re.DOTALL)
    }
    fields = []
    for line in filter(str.strip, bodies[name].split(";")):
        kind = c_int64 if line.split()[0] == "int64_t" else c_void_p
        fields += [(field.split()[-1].lstrip("*"), kind) for field in line.split(",")]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _compiled(flags: Sequence[str]) -> Path:
    """Return the library for these flags, made now unless the cache has it.

    It is written under another name and renamed: nobody sees half of it, and of two that make it one wins.
    """
    compiler = _compiler()
    path = cache_folder() / f"{_digest(compiler, flags)}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        _call([compiler, *flags, str(SOURCES / "passes.c"), "-o", str(made)])
        made.replace(path)
    return path


def cache_folder() -> Path:
    """Return where compiled passes are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faconvlstm"


def _compiler() -> str:
    if os.name != "posix":
        raise RuntimeError("compiled for POSIX systems only")
    found = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if found is None:
        raise RuntimeError("no C compiler found (cc, gcc, clang or $CC)")
    return found


def _digest(compiler: str, flags: Sequence[str]) -> str:
    """Return what stands for sources, flags, compiler and processor."""
    parts = [compiler, _call([compiler, "--version"]), *flags, *_processor()]
    parts += [path.read_text() for path in sorted(SOURCES.glob("*.[ch]"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _processor() -> list[str]:
    """Return the name of the processor and what it can do."""
    about = Path("/proc/cpuinfo")
    told = about.read_text().splitlines() if about.exists() else []
    lines = {line for line in told if line.split("\t")[0] in ("model name", "flags", "Features", "CPU part")}
    return [platform.system(), platform.machine(), platform.processor(), *sorted(lines)]


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  # our own words and CC's
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[:500]}")
    return done.stdout
