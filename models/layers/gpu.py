"""The loops of `models.layers.sequence` on a GPU, by passes in Triton, which torch's builds for GPUs bring along.

What a pass computes stands in `models/layers/kernels/passes.py`. Here time goes into reading and writing maps, so the
gates of a step stay in registers, and their 4F channels are written once, in the derivative. Kept for the derivative
of a step are H, C, U and SiLU(LN(M)), and of an attention its maps before and what its projections gave. Maps have the
type of the input, or that of autocast; cells are float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from models.layers import eager
from models.layers.blend import Excitation, Norm
from models.layers.convolution import PAD_MODES, check_reach
from models.layers.layout import taps_of
from models.layers.lines import LineWeights, Tokens

if TYPE_CHECKING:
    from models.layers.sequence import Weights

TYPES = (torch.float32, torch.bfloat16, torch.float16)
PIXELS = 64  # that a program takes at once
CELL_CHANNELS = 64  # hidden channels that a program takes at once, of the cell
GATE_CHANNELS = 128  # of the gates, of the derivative by V
TAP_PIXELS, TAP_PROGRAMS = 128, 64  # of the derivative by one tap of the branches
ROWS = 64  # of sums that are read at once
SMALLEST = 16  # side of a matrix that is multiplied
MOST_TOKENS = 64  # of a line that the passes can do
MOST_CHANNELS = 256  # of maps whose lines the passes can do


def serves(x: Tensor) -> bool:
    """Whether the loops over these fields are the ones here."""
    return x.is_cuda


@cache
def obstacle() -> str | None:
    """Say why there are no passes, in a clause; None where there are."""
    try:
        from models.layers.kernels import passes
    except ImportError:
        return "Triton is not installed"
    try:  # compiles, which needs a C compiler and a GPU that Triton knows
        passes.probe[(1,)](torch.zeros(1, device="cuda"))
    except Exception as error:  # whatever it is, torch's own operations can do without
        return f"Triton cannot compile here ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return None


class Launch:
    """Starts one pass again and again with arguments of the same kinds.

    Triton looks at every argument of every call, which takes longer than a small pass itself. So the compiled pass is
    kept, by what Triton compiles for: types, whole numbers, and whether addresses are multiples of 16.
    """

    _compiled: dict[Any, Callable[..., None]] = {}  # noqa: RUF012  # of the whole process

    def __init__(self, kernel: Any, *grid: int, **constants: Any) -> None:
        self.kernel, self.grid, self.constants = kernel, (*grid, *(1,) * (3 - len(grid))), constants
        self.last = [constants[name] for name in kernel.arg_names if name in constants]
        self.known: dict[tuple[bool, ...], Callable[..., None]] = {}

    def __call__(self, *arguments: Tensor | int) -> None:
        """Start it."""
        aligned = tuple([part.data_ptr() % 16 == 0 for part in arguments if isinstance(part, Tensor)])
        run = self.known.get(aligned) or self._find(aligned, arguments)
        if run is None:
            compiled = self.kernel[self.grid](*arguments, **self.constants)
            if compiled is not None:  # an interpreter compiles nothing
                self.known[aligned] = self._compiled[self._key(aligned, arguments)] = compiled[self.grid]
        else:
            run(*arguments, *self.last)

    def _find(self, aligned: tuple[bool, ...], arguments: tuple[Tensor | int, ...]) -> Callable[..., None] | None:
        found = self._compiled.get(self._key(aligned, arguments))
        if found is not None:
            self.known[aligned] = found
        return found

    def _key(self, aligned: tuple[bool, ...], arguments: tuple[Tensor | int, ...]) -> Any:
        kinds = [part.dtype if isinstance(part, Tensor) else part for part in arguments]
        device = next(part.device for part in arguments if isinstance(part, Tensor))
        return self.kernel, self.grid, tuple(self.constants.items()), aligned, tuple(kinds), device


class Squeezed(NamedTuple):
    """What the excitation computed of a map, `(B, .)` each, float32."""

    mean: Tensor
    inner: Tensor
    excitation: Tensor


class Kept(NamedTuple):
    """What the derivative needs of a step beside H, C and U."""

    a: Tensor  # (B, H, W, C_b), SiLU(LN(M))
    squeezed: Squeezed


class _Passes(eager.Loop):
    """What both loops tell the passes."""

    def prepare(self) -> None:
        from models.layers.kernels import passes

        self.passes, weights, core = passes, self.weights, self.core
        self.taps = taps_of(weights.kernels, self.plan.dilations)
        check_reach(self.height, self.width, max(self.branches.reaches()), self.plan.pad_mode)
        self.places = self.taps.places.int()
        one = torch.ones(self.inner, device=self.x.device)
        self.norm = weights.norm or Norm(one, one)
        even = one.new_full((self.pixels,), 1 / self.pixels)
        self.share = even if self.plan.share is None else self.plan.share.float().contiguous()
        self.matrix, self.bias = core.matrix[:-1].to(self.plan.dtype).contiguous(), core.matrix[-1]
        self.peephole = one if core.peephole is None else core.peephole.contiguous()
        self.excitation = None
        if weights.excitation is not None:
            self.excitation = Excitation(*(part.contiguous() for part in weights.excitation))
        self.squeezed = 1 if self.excitation is None else len(self.excitation.squeeze)
        self.blocks, self.lanes = math.ceil(self.pixels / PIXELS), power(self.inner)
        self.sums = self.vectors(self.blocks, self.inner)
        self.sizes = self.height, self.width, self.inner
        self.switches = {"EXCITED": self.excitation is not None, "PRECISION": "ieee"}
        self.blending = {
            "TAPS": len(self.places), "PAD": PAD_MODES.index(self.plan.pad_mode), "PIXELS": PIXELS, "LANES": self.lanes,
        }  # fmt: skip
        self.exciting = {"ROWS": ROWS, "LANES": self.lanes, "SQUEEZED": power(self.squeezed)}

    def make_lines(self, weights: LineWeights, tokens: Tokens, *, columns: bool) -> Any:
        if weights.bias.shape[2] > MOST_TOKENS or self.channels > MOST_CHANNELS:
            return super().make_lines(weights, tokens, columns=columns)
        return Lines(weights, tokens, (self.batch, self.height, self.width), columns=columns)

    def update_launch(self, kernel: Any) -> Launch:
        """Return a pass over blocks of pixels and of hidden channels."""
        part = min(CELL_CHANNELS, power(self.channels))
        return Launch(
            kernel, self.blocks, math.ceil(self.channels / part), self.batch, **self.switches,
            PEEPHOLE=self.core.peephole is not None, PIXELS=PIXELS, LANES=self.lanes, CHANNELS=part,
        )  # fmt: skip

    def vectors(self, *shape: int) -> Tensor:
        """Return room for float32 vectors `(B, ...)`."""
        return torch.empty((self.batch, *shape), device=self.x.device)


class Forward(_Passes, eager.Forward):
    """The loop forward."""

    def prepare(self) -> None:
        super().prepare()
        normed, grid = self.weights.norm is not None, (self.blocks, self.batch)
        self.blend = Launch(self.passes.blend, *grid, NORMED=normed, **self.blending)
        self.excite = Launch(self.passes.excite, self.batch, **self.exciting)
        self.advance = self.update_launch(self.passes.update)

    def update(self, u: Tensor, cell: Tensor, hidden: Tensor) -> Kept:
        """Write C_t and H_t, all `(B, H, W, .)`; return what the derivative needs beside them."""
        a = self.map(self.inner)
        squeezed = Squeezed(*(self.vectors(n) for n in (self.inner, self.squeezed, self.inner)))
        self.blend(u, self.taps.kernel, self.places, *self.norm, self.share, a, self.sums, *self.sizes)
        if self.excitation is not None:
            self.excite(self.sums, *self.excitation, *squeezed, self.blocks, self.inner, self.squeezed)
        self.advance(
            a, squeezed.excitation, self.matrix, self.bias, self.peephole, self.before.contiguous(), cell, hidden,
            hidden.stride(0), self.pixels, self.inner, self.channels,
        )  # fmt: skip
        return Kept(a, squeezed)


class Backward(_Passes, eager.Backward):
    """The loop backward. Each program adds to a row of totals; the rows are added up at the end."""

    def prepare(self) -> None:
        super().prepare()
        self.d_z = self.map(4 * self.channels)
        self.v, self.d_v, self.d_m = (self.map(self.inner) for _ in range(3))
        self.d_excite, self.d_squeeze = (
            self.share.new_zeros(self.length, self.batch, size) for size in (self.inner, self.squeezed)
        )
        self.d_mean = self.vectors(self.inner)
        self.cell_totals = self.vectors(self.blocks, 7, self.channels).zero_()
        self.norm_totals = self.vectors(self.blocks, 2, self.inner).zero_()
        self.tap_blocks = math.ceil(self.pixels / TAP_PIXELS)
        programs = min(TAP_PROGRAMS, self.batch * self.tap_blocks)
        self.tap_totals = self.share.new_zeros(programs, len(self.places), self.inner)
        self.d_matrix = self.share.new_zeros(self.matrix.shape)
        self._launches()

    def _launches(self) -> None:
        passes, grid, normed = self.passes, (self.blocks, self.batch), self.weights.norm is not None
        self.retreat = self.update_launch(passes.update_back)
        part = min(GATE_CHANNELS, power(4 * self.channels))
        self.gather = Launch(
            passes.gather, *grid, **self.switches, PIXELS=PIXELS, LANES=self.lanes, CHANNELS=part
        )
        self.excite_back = Launch(passes.excite_back, self.batch, **self.exciting)
        self.blend_back = Launch(
            passes.blend_back, *grid, NORMED=normed, EXCITED=self.excitation is not None, **self.blending
        )
        self.spread = Launch(passes.spread, *grid, **self.blending)
        taps = {**self.blending, "PIXELS": TAP_PIXELS}
        del taps["TAPS"]
        self.kernel_back = Launch(passes.kernel_back, *self.tap_totals.shape[:2], **taps)

    def update_back(self, t: int, before: Tensor) -> None:
        """Turn the derivatives by H_t and C_t into those by U_t and C_(t-1), written over that by C_t."""
        u, (a, squeezed), kernel = self.us[t], self.kept[t], self.taps.kernel
        self.retreat(
            a, squeezed.excitation, self.matrix, self.bias, self.peephole, before.contiguous(), self.cells[t],
            self.d_hidden, self.d_cell, self.d_z, self.cell_totals, self.pixels, self.inner, self.channels,
        )  # fmt: skip
        self.gather(
            a, squeezed.excitation, self.matrix, self.d_z, self.v, self.d_v, self.sums, self.pixels, self.inner,
            4 * self.channels,
        )  # fmt: skip
        v = a if self.excitation is None else self.v
        self.d_matrix.add_(v.view(-1, self.inner).T @ self.d_z.view(-1, 4 * self.channels))
        if self.excitation is not None:
            self.excite_back(
                self.sums, self.excitation.squeeze, self.excitation.excite, *squeezed[1:], self.d_excite[t],
                self.d_squeeze[t], self.d_mean, self.blocks, self.inner, self.squeezed,
            )  # fmt: skip
        self.blend_back(
            u, kernel, self.places, *self.norm, self.share, squeezed.excitation, self.d_mean, self.d_v, self.d_m,
            self.norm_totals, *self.sizes,
        )  # fmt: skip
        self.spread(self.d_m, kernel, self.places, self.d_us[t], *self.sizes)
        self.kernel_back(u, self.d_m, self.places, self.tap_totals, *self.sizes, self.tap_blocks, self.batch)

    def finish_update(self, found: Weights) -> Weights:
        """Put in the derivatives that `update_back` gathered."""
        cell, norm, taps = self.cell_totals.sum((0, 1)), self.norm_totals.sum((0, 1)), self.tap_totals.sum(0)
        core = found.core._replace(
            matrix=torch.cat([self.d_matrix, cell[:4].view(1, -1)]),
            peephole=None if found.core.peephole is None else cell[4:],
        )
        kernels = tuple(
            taps[of_branch].T.reshape(kernel.shape)
            for kernel, of_branch in zip(found.kernels, self.taps.of_branch, strict=True)
        )
        return found._replace(
            core=core,
            kernels=kernels,
            norm=None if found.norm is None else Norm(*norm),
            excitation=None if found.excitation is None else self._excitation(),
        )

    def _excitation(self) -> Excitation:
        """Return the derivatives by both maps of the squeeze-and-excitation, over all steps."""
        d_excite, d_squeeze = self.d_excite.flatten(0, 1), self.d_squeeze.flatten(0, 1)
        kept = [kept.squeezed for kept in self.kept]
        mean, inner = torch.cat([part.mean for part in kept]), torch.cat([part.inner for part in kept])
        return Excitation(d_squeeze.T @ mean, d_squeeze.sum(0), d_excite.T @ inner, d_excite.sum(0))


class LineKept(NamedTuple):
    """What the derivative needs of one call."""

    h: Tensor  # (B, H, W, F), before it
    projected: Tensor  # (B, P, 3D)
    rstd: Tensor  # (B, P)
    attended: Tensor  # (B, P, D)


class Lines:
    """`models.layers.lines.Lines` by passes: attention along rows or columns, and its derivative.

    Args:
        weights: of the maps' type.
        tokens: see there; of a line at most `MOST_TOKENS`.
        grid: B, H, W.
        columns: whether the lines are the columns.
    """

    def __init__(self, weights: LineWeights, tokens: Tokens, grid: tuple[int, int, int], *, columns: bool) -> None:
        from models.layers.kernels import passes

        (self.batch, height, width), (heads, count, most) = grid, weights.bias.shape
        self.weights, self.pixels = weights, height * width
        self.lines = width if columns else height
        self.channels, self.width = weights.project.shape[0], weights.project.shape[1] // 3
        like = weights.project
        share = torch.eye(count, device=like.device, dtype=like.dtype)[None] if tokens.share is None else tokens.share
        self.share = share.contiguous()
        self.absent = None if tokens.absent is None else tokens.absent.to(torch.int8).contiguous()
        self.project, self.output = like.contiguous(), weights.output[:-1].contiguous()
        self.project_bias, self.output_bias = weights.project_bias.contiguous(), weights.output[-1].contiguous()
        self.bias = weights.bias.contiguous()
        self.strides = (
            most * count if len(self.share) > 1 else 0,
            most if self.absent is not None and len(self.absent) > 1 else 0,
        )
        steps = (1, width) if columns else (width, 1)
        self.sizes = *self.strides, *steps, count, self.pixels, most, self.width, self.channels, heads
        blocks = math.ceil(self.pixels / PIXELS)
        form = {
            "PRECISION": "ieee", "PIXELS": PIXELS, "LANES": power(self.width), "CHANNELS": power(self.channels),
        }  # fmt: skip
        holes = {"HOLES": self.absent is not None, "TOKENS": power(most)}
        self.project_ = Launch(passes.project, blocks, self.batch, **form)
        self.attend = Launch(passes.attend, self.lines, self.batch, **form, **holes)
        self.attend_back = Launch(passes.attend_back, self.lines, self.batch, **form, **holes)
        self.project_back = Launch(passes.project_back, blocks, self.batch, **form)
        self.d_weights = [torch.zeros_like(part, dtype=torch.float32) for part in (self.project, self.output, self.bias)]
        self.d_project_bias = like.new_zeros((self.batch, self.lines, 3 * self.width), dtype=torch.float32)
        self.d_output_bias = like.new_zeros((self.batch, blocks, self.channels), dtype=torch.float32)

    @property
    def derivatives(self) -> LineWeights:
        """That of the weights, over all calls."""
        project, output, bias = self.d_weights
        output_bias = self.d_output_bias.sum((0, 1))[None]
        return LineWeights(project, self.d_project_bias.sum((0, 1)), torch.cat([output, output_bias]), bias)

    def forward(self, h: Tensor) -> LineKept:
        """Refine the map `h (B, H, W, F)` in place."""
        kept = LineKept(
            h.clone(memory_format=torch.contiguous_format),
            h.new_empty(self.batch, self.pixels, 3 * self.width),
            h.new_empty((self.batch, self.pixels), dtype=torch.float32),
            h.new_empty(self.batch, self.pixels, self.width),
        )
        before, projected, rstd, attended = kept
        stride = self.pixels * self.channels
        self.project_(
            before, self.project, self.project_bias, projected, rstd, stride, self.pixels, self.width, self.channels
        )
        absent = self.share if self.absent is None else self.absent
        self.attend(
            before, projected, self.share, absent, self.bias, self.output, self.output_bias, attended, h,
            stride, h.stride(0), *self.sizes,
        )  # fmt: skip
        return kept

    def backward(self, kept: LineKept, d: Tensor) -> None:
        """Turn the derivative by the refined map, `(B, H, W, F)`, into that by the map before, in place."""
        before, projected, rstd, attended = kept
        d_projected = torch.empty_like(projected)
        heads, count, most = self.bias.shape
        d_bias = rstd.new_empty(self.batch, self.lines, heads, count, most)
        absent = self.share if self.absent is None else self.absent
        self.attend_back(
            d, projected, rstd, self.share, absent, self.bias, self.output, d_projected, d_bias,
            self.d_project_bias, *self.sizes,
        )  # fmt: skip
        d_project, d_output, total_bias = self.d_weights
        d_output.add_(attended.view(-1, self.width).T @ d.view(-1, self.channels))
        d_project.add_(before.view(-1, self.channels).T @ d_projected.view(-1, 3 * self.width))
        total_bias.add_(d_bias.sum((0, 1)))
        self.project_back(
            before, d, self.project, self.project_bias, projected, d_projected, rstd, self.d_output_bias,
            self.pixels * self.channels, self.pixels, self.width, self.channels,
        )  # fmt: skip


def power(size: int) -> int:
    """Return the power of two that a matrix of this side is filled up to."""
    return max(SMALLEST, 2 ** math.ceil(math.log2(size)))
