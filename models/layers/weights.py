"""The parameters of FAConvLSTM and FA-MinConv as their modules have them, and as loops over a sequence use them.

The derivative of `models.layers.sequence` is taken by the first. Compiled passes make the second in C; for the
loops of torch's operations and for those on a GPU `prepare` does, and `by_parameters` takes the derivative back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from models.layers.blend import Excitation, Norm
from models.layers.cell import gate_matrix, gate_matrix_back
from models.layers.lines import (
    LineParameters,
    LineWeights,
    Tokens,
    line_weights,
    line_weights_back,
)


class Start(NamedTuple):
    """Input, and state before the first step."""

    x: Tensor  # (B, T, C, H, W)
    hidden: Tensor  # (B, H, W, F)
    cell: Tensor  # (B, H, W, F); of a minimal memory it is H


class GateParameters(NamedTuple):
    """All of the gate path but the mixing in space; None for a part that is off."""

    from_x: Tensor  # (C_b, C), P_x
    from_x_bias: Tensor  # (C_b,)
    from_hidden: Tensor | None  # (C_b, F), P_h
    gates: Tensor  # (4F, C_b) to i, f, g, o; (F, C_b) to k of a minimal memory
    gates_bias: Tensor
    candidate: Tensor | None  # (F, C_b) to c of a minimal memory
    candidate_bias: Tensor | None
    peephole: Tensor | None  # (3, F, 1, 1)


class Parameters(NamedTuple):
    """All tensors that the derivative is taken by."""

    start: Start
    gates: GateParameters
    kernels: tuple[Tensor, ...]
    norm: Norm | None
    excitation: Excitation | None
    lines: tuple[LineParameters, ...]  # rows and columns; none where no step attends

    def flat(self) -> tuple[list[Tensor | None], tuple[int, ...]]:
        """Return all tensors in one row, as `Function.apply` takes them, and what `restored` needs."""
        groups = (self.start, self.gates, self.kernels, self.norm or (), self.excitation or (), *self.lines)
        return [tensor for group in groups for tensor in group], tuple(len(group) for group in groups)

    @classmethod
    def restored(cls, flat: Sequence[Tensor], form: tuple[int, ...]) -> Parameters:
        """Return what was flat."""
        left = iter(flat)
        start, gates, kernels, norm, excitation, *lines = ([next(left) for _ in range(n)] for n in form)
        return cls(
            start=Start(*start),
            gates=GateParameters(*gates),
            kernels=tuple(kernels),
            norm=Norm(*norm) if norm else None,
            excitation=Excitation(*excitation) if excitation else None,
            lines=tuple(LineParameters(*line) for line in lines),
        )


class Core(NamedTuple):
    """Input, state and the weights that every step uses, ready to use; None for a part that is off."""

    x: Tensor  # (B, T, C, H, W)
    hidden: Tensor  # (B, H, W, F), before the first step
    cell: Tensor  # (B, H, W, F)
    from_x: Tensor  # (C, C_b), P_x
    from_x_bias: Tensor  # (C_b,)
    from_hidden: Tensor | None  # (F, C_b), P_h
    matrix: Tensor  # (C_b + 1, 4F), see gate_matrix
    peephole: Tensor | None  # (3, F)


class Weights(NamedTuple):
    """All that the loops of a cell use, and the derivatives by it."""

    core: Core
    kernels: tuple[Tensor, ...]
    norm: Norm | None
    excitation: Excitation | None
    lines: tuple[LineWeights, ...]


def prepare(given: Parameters, tokens: Sequence[Tokens]) -> Weights:
    """Make the weights of the parameters of a cell, given the tokens of rows and columns."""
    gates = given.gates
    core = Core(
        *given.start,
        from_x=gates.from_x.T,
        from_x_bias=gates.from_x_bias,
        from_hidden=_turned(gates.from_hidden),
        matrix=gate_matrix(gates.gates, gates.gates_bias),
        peephole=None if gates.peephole is None else gates.peephole.flatten(1),
    )
    lines = tuple(line_weights(*line) for line in zip(given.lines, tokens, strict=False))
    return Weights(core, given.kernels, given.norm, given.excitation, lines)


def by_parameters(given: Parameters, tokens: Sequence[Tokens], by: Weights) -> Parameters:
    """Return the derivatives by the parameters from those by the weights."""
    core, gates = by.core, given.gates
    d_gates, d_gates_bias = gate_matrix_back(core.matrix)
    return Parameters(
        start=Start(core.x, core.hidden, core.cell),
        gates=GateParameters(
            from_x=core.from_x.T,
            from_x_bias=core.from_x_bias,
            from_hidden=_turned(core.from_hidden),
            gates=d_gates,
            gates_bias=d_gates_bias,
            candidate=None,
            candidate_bias=None,
            peephole=None if gates.peephole is None else core.peephole.reshape(gates.peephole.shape),  # type: ignore[union-attr]  # both are there
        ),
        kernels=by.kernels,
        norm=by.norm,
        excitation=by.excitation,
        lines=tuple(line_weights_back(*line) for line in zip(given.lines, tokens, by.lines, strict=False)),
    )


def _turned(matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else matrix.T
