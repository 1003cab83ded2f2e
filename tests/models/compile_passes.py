"""Compiles passes in Triton for a kind of GPU, without one: `python -m tests.models.compile_passes 80 < launches`.

Takes names, arguments (types or whole numbers) and constants as JSON; prints, as JSON, the name of each, its shared
memory in bytes, and the bytes a thread that its registers cannot hold.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models.layers.kernels import passes

OPTIONS = ("num_warps", "num_stages")


def main(capability: int) -> None:
    made = [compiled(*launch, GPUTarget("cuda", capability, 32)) for launch in json.load(sys.stdin)]
    json.dump(made, sys.stdout)


def compiled(name: str, arguments: dict[str, Any], constants: dict[str, Any], target: GPUTarget) -> Any:
    """Compile one pass as Triton does where it is started: whole numbers of 1 and multiples of 16 are known."""
    kernel = getattr(passes, name)
    options = {option: constants.pop(option) for option in OPTIONS if option in constants}
    constants |= {argument: 1 for argument, value in arguments.items() if value == 1}
    kinds = {
        **{key: _kind(value) for key, value in arguments.items()},
        **dict.fromkeys(constants, "constexpr"),
    }
    signature = {argument: kinds[argument] for argument in kernel.arg_names}
    known, aligned = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            known[(place,)] = constants[argument]
        elif kinds[argument].startswith("*") or arguments[argument] % 16 == 0:
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, known, aligned)
    made = triton.compile(source, target=target, options=options)
    return name, made.metadata.shared, _spilled(made.asm["cubin"])


def _kind(value: int | str) -> str:
    return value if isinstance(value, str) else "i32" if value < 2**31 else "i64"


def _spilled(cubin: bytes) -> int:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return int(re.search(r"STACK:(\d+)", told.stdout).group(1))  # type: ignore[union-attr]


if __name__ == "__main__":
    main(int(sys.argv[1]))
