"""The loops of `models.layers.sequence` on a GPU, by passes in Triton, which torch's builds for GPUs bring along.

What a pass computes stands in `models/layers/kernels/passes.py`. Here time goes into reading and writing maps, so the
gates of a step and their derivatives never leave the registers. Kept for the derivative of a step are H, C, U and
SiLU(LN(M)), and of an attention the map before it and what its projections gave. Maps have the type of the input, or
that of autocast; cells are float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from models.layers import lines
from models.layers.blend import Branches, Excitation, Norm
from models.layers.convolution import PAD_MODES, check_reach
from models.layers.eager import StepByStep
from models.layers.layout import taps_of
from models.layers.lines import LineWeights, Tokens

if TYPE_CHECKING:
    from models.layers.sequence import Plan
    from models.layers.weights import Weights

OLDEST = 8, 0  # compute capability
TYPES = (torch.float32, torch.bfloat16, torch.float16)
PIXELS = 64  # that a program takes at once
CELL = 32, 64  # pixels and hidden channels that a program of the cell takes at once
CELL_PROGRAMS = 256  # over all blocks of channels and images
CELL_WEIGHTS = 8192  # bytes of one gate that a program keeps beside it: the smallest GPUs share 99 KB
TAP_PIXELS, TAP_PROGRAMS = 128, 64  # of the derivative by one tap of the branches
PRODUCTS = 128  # into which one of maps of many pixels is cut
ROWS = 64  # of sums that are read at once
SMALLEST = 16  # side of a matrix that is multiplied
MOST_TOKENS = 64  # of a line that the passes can do
MOST_CHANNELS = 128  # of maps whose lines the passes can do
MOST_INNER = 64  # C_b for which a program has room


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
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < OLDEST:
        return "the GPU has no units for bfloat16"
    try:  # compiles, which needs a C compiler and a GPU that Triton knows
        passes.probe[(1,)](torch.zeros(1, device="cuda"))
    except Exception as error:  # whatever it is, torch's own operations can do without
        return f"Triton cannot compile here ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return None


class Launch:
    """Starts one pass again and again with arguments of the same kinds.

    Triton looks at every argument of every call, which takes longer than a small pass itself. So what it compiled is
    kept, by what it compiles for: types, whole numbers, and whether addresses are multiples of 16.
    """

    _compiled: ClassVar[dict[Any, Callable[..., None]]] = {}  # of the whole process

    def __init__(self, kernel: Any, *grid: int, **constants: Any) -> None:
        self.kernel, self.grid, self.constants = kernel, (*grid, *(1,) * (3 - len(grid))), constants
        self.last = [constants[name] for name in kernel.arg_names if name in constants]
        self.known: dict[tuple[int, ...], Callable[..., None]] = {}

    def __call__(self, *arguments: Tensor | int) -> None:
        """Start it."""
        # Addresses in place of tensors, since Triton would ask the driver about every tensor.
        numbers = [part if type(part) is int else part.data_ptr() for part in arguments]  # type: ignore[union-attr]
        rests = tuple([number % 16 for number in numbers])
        run = self.known.get(rests)
        if run is None:
            key = (self.kernel, self.grid, *self.constants.items(), rests, *map(_kind, arguments))
            run = self._compiled.get(key)
            if run is None:
                compiled = self.kernel[self.grid](*arguments, **self.constants)
                if compiled is not None:  # an interpreter compiles nothing
                    self._compiled[key] = compiled[self.grid]
                return
            self.known[rests] = run
        run(*numbers, *self.last)


def _kind(argument: Tensor | int) -> Any:
    return argument if isinstance(argument, int) else (argument.dtype, argument.device)


class Squeezed(NamedTuple):
    """What the excitation computed of a map, `(B, .)` each, float32."""

    mean: Tensor
    inner: Tensor
    excitation: Tensor


class Kept(NamedTuple):
    """What the derivative needs of all steps beside H."""

    cells: Tensor  # (T, B, P, F)
    us: Tensor  # (B, T, P, C_b)
    a: Tensor  # (T, B, P, C_b), SiLU(LN(M))
    squeezed: Squeezed  # (T, B, .)
    lines: dict[int, list[Any]]


class _Loop:
    """What both loops share: weights and fields as the passes take them. P = H W."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        from models.layers.kernels import passes

        core, low = weights.core, plan.dtype
        self.passes, self.plan, self.weights, self.core = passes, plan, weights, core
        self.batch, self.length, _, self.height, self.width = core.x.shape
        self.pixels, self.channels = self.height * self.width, core.matrix.shape[1] // 4
        self.inner = core.from_x.shape[1]
        self.x = core.x.to(low).movedim(2, -1).contiguous().flatten(2, 3)  # (B, T, P, C)
        self.first_hidden = core.hidden.to(low).flatten(1, 2)
        self.from_x = core.from_x.to(low)
        self.from_hidden = None
        if core.from_hidden is not None:
            self.from_hidden = core.from_hidden.to(low).expand(self.batch, -1, -1)
        self.matrix, self.bias = core.matrix[:-1].to(low), core.matrix[-1]
        self._blending()
        self.peephole = self.bias if core.peephole is None else core.peephole.contiguous()
        self.exciting = {"ROWS": ROWS, "LANES": self.lanes, "SQUEEZED": power(self.squeezed)}
        self.lines = [
            self._lines(LineWeights(*(part.to(low) for part in line)), tokens, columns=columns)
            for line, tokens, columns in zip(weights.lines, plan.tokens, (False, True), strict=False)
        ]

    def _blending(self) -> None:
        weights, plan = self.weights, self.plan
        self.taps = taps_of(weights.kernels, plan.dilations)
        branches = Branches(weights.kernels, plan.dilations, plan.pad_mode)
        check_reach(self.height, self.width, max(branches.reaches()), plan.pad_mode)
        self.places = self.taps.places.int()
        one = torch.ones(self.inner, dtype=torch.float32, device=self.x.device)
        self.norm = weights.norm or Norm(one, one)
        even = one.new_full((self.pixels,), 1 / self.pixels)
        self.share = even if plan.share is None else plan.share.float().contiguous()
        self.excitation = None
        if weights.excitation is not None:
            self.excitation = Excitation(*(part.contiguous() for part in weights.excitation))
        self.squeezed = 1 if self.excitation is None else len(self.excitation.squeeze)
        self.blocks, self.lanes = math.ceil(self.pixels / PIXELS), power(self.inner)
        self.sums = self.new(self.batch, self.blocks, self.inner)
        self.sizes = self.height, self.width, self.inner
        self.u_stride = self.length * self.pixels * self.inner
        self.normed = {"NORMED": weights.norm is not None}
        self.blending = {
            "TAPS": len(self.places), "PAD": PAD_MODES.index(plan.pad_mode), "PIXELS": PIXELS, "LANES": self.lanes,
        }  # fmt: skip

    def _lines(self, weights: LineWeights, tokens: Tokens, *, columns: bool) -> Lines | lines.Lines:
        if weights.bias.shape[2] > MOST_TOKENS or self.channels > MOST_CHANNELS:
            return lines.Lines(weights, tokens, columns=columns)
        return Lines(weights, tokens, (self.batch, self.height, self.width), columns=columns)

    def updating(self, kernel: Any, elements: int, stages: int, **more: bool) -> Launch:
        """Return a pass over blocks of pixels and of hidden channels.

        Args:
            kernel: the pass.
            elements: of a thread at once, as many as its registers have room for.
            stages: blocks under way at once, as many as the shared memory has room for.
            more: its other constants.
        """
        fitting = CELL_WEIGHTS // (self.lanes * self.x.element_size())
        pixels, channels = CELL[0], min(CELL[1], fitting, power(self.channels))
        parts = math.ceil(self.channels / channels)
        programs = min(math.ceil(self.pixels / pixels), math.ceil(CELL_PROGRAMS / (parts * self.batch)))
        return Launch(
            kernel, programs, parts, self.batch, **more,
            EXCITED=self.excitation is not None, PEEPHOLE=self.core.peephole is not None,
            PRECISION="ieee", PIXELS=pixels, LANES=self.lanes, CHANNELS=channels,
            num_warps=max(1, pixels * channels // (32 * elements)), num_stages=stages,
        )  # fmt: skip

    def new(self, *shape: int) -> Tensor:
        """Return room for sums, float32."""
        return torch.empty(shape, dtype=torch.float32, device=self.x.device)

    def map(self, channels: int) -> Tensor:
        """Return room for a map `(B, P, channels)`."""
        return self.x.new_empty(self.batch, self.pixels, channels)

    def image(self, flat: Tensor) -> Tensor:
        """View maps `(..., P, channels)` as `(..., H, W, channels)`."""
        return flat.unflatten(-2, (self.height, self.width))


class Forward(_Loop):
    """The loop forward, which keeps what the derivative needs only where one may follow."""

    def __init__(self, plan: Plan, weights: Weights, *, keep: bool) -> None:
        super().__init__(plan, weights)
        self.keep = keep
        grid, low = (self.blocks, self.batch), self.x.dtype
        steps, like = self.length if keep else 1, self.core.cell
        self.hidden_maps = self.x.new_empty(self.batch, self.length, self.pixels, self.channels)
        flat = self.x.flatten(0, 2), self.from_x
        us = torch.addmm(self.core.from_x_bias.to(low), *flat).view(self.batch, self.length, self.pixels, -1)
        room = self.batch, self.pixels, self.channels
        self.cells = (
            like.new_empty(2, *room) if not keep or low != like.dtype else like.new_empty(steps, *room)
        )
        self.kept = Kept(
            cells=self.x.new_empty(steps, *room) if low != like.dtype else self.cells,
            us=us,
            a=self.x.new_empty(steps, self.batch, self.pixels, self.inner),
            squeezed=Squeezed(
                *(self.new(steps, self.batch, n) for n in (self.inner, self.squeezed, self.inner))
            ),
            lines={},
        )
        self.us, self.hiddens = us.unbind(1), self.hidden_maps.unbind(1)
        self.hidden, self.before = self.first_hidden, self.core.cell.contiguous()
        self.steps = list(zip(self.kept.cells, self.kept.a, *self.kept.squeezed, strict=False))
        self.blend = Launch(self.passes.blend, *grid, **self.normed, **self.blending)
        self.excite = Launch(self.passes.excite, self.batch, **self.exciting)
        self.update = self.updating(self.passes.update, 16, 3, KEEP=keep and low != like.dtype)

    def run(self) -> tuple[Tensor, Tensor]:
        """Take all steps; return all hidden maps and the last cell."""
        for t in range(self.length):
            self.step(t)
        return self.image(self.hidden_maps), self.image(self.before.clone())

    def step(self, t: int) -> None:
        """Take step t."""
        u, hidden, cell = self.us[t], self.hiddens[t], self.cells[t % len(self.cells)]
        kept, a, mean, inner, e = self.steps[t % len(self.steps)]
        u.add_(self.hidden) if self.from_hidden is None else u.baddbmm_(self.hidden, self.from_hidden)
        if self.plan.seen is not None:
            u.mul_(self.plan.seen.flatten(0, 1))
        self.blend(
            u, self.u_stride, self.taps.kernel, self.places, *self.norm, self.share, a, self.sums, *self.sizes
        )
        if self.excitation is not None:
            self.excite(self.sums, *self.excitation, mean, inner, e, self.blocks, self.inner, self.squeezed)
        self.update(
            a, e, self.matrix, self.bias, self.peephole, self.before, cell, kept, hidden,
            self.length * self.pixels * self.channels, self.pixels, self.inner, self.channels,
        )  # fmt: skip
        if t in self.plan.attending:
            found = [line.forward(self.image(hidden)) for line in self.lines]
            if self.keep:
                self.kept.lines[t] = found
        self.before, self.hidden = cell, hidden


class Backward(_Loop, StepByStep):
    """The loop backward. Each program adds to a row of totals; the rows are added up at the end."""

    def __init__(self, plan: Plan, weights: Weights, hidden_maps: Tensor, kept: Kept) -> None:
        super().__init__(plan, weights)
        self.hidden_maps, self.kept = hidden_maps.flatten(2, 3), kept
        self.befores = [self.core.cell.to(kept.cells.dtype).contiguous(), *kept.cells]
        self.us, self.steps = kept.us.unbind(1), list(zip(kept.a, *kept.squeezed, strict=True))
        self.d_us = torch.empty_like(kept.us)
        self.d_u = self.d_us.unbind(1)
        self.d_hidden, self.d_m = self.map(self.channels), self.map(self.inner)
        self.d_mean = self.new(self.batch, self.inner)
        self.d_excite, self.d_squeeze = (
            self.new(self.length, self.batch, size).zero_() for size in (self.inner, self.squeezed)
        )
        self._launches()

    def _launches(self) -> None:
        passes, grid = self.passes, (self.blocks, self.batch)
        self.update_back = self.updating(passes.update_back, 8, 2)
        programs, parts, _ = self.update_back.grid
        self.d_v = self.x.new_empty(parts, self.batch, self.pixels, self.inner)
        self.totals = self.new(self.batch * programs, *self.core.matrix.shape).zero_()
        self.peephole_totals = self.new(self.batch * programs, 3, self.channels).zero_()
        self.gather = Launch(passes.gather, *grid, PARTS=parts, PIXELS=PIXELS, LANES=self.lanes)
        self.norm_totals = self.new(self.batch, self.blocks, 2, self.inner).zero_()
        self.tap_blocks = math.ceil(self.pixels / TAP_PIXELS)
        programs = min(TAP_PROGRAMS, self.batch * self.tap_blocks)
        self.tap_totals = self.new(programs, len(self.places), self.inner).zero_()
        self.excite_back = Launch(passes.excite_back, self.batch, **self.exciting)
        excited = self.excitation is not None
        self.blend_back = Launch(passes.blend_back, *grid, **self.normed, EXCITED=excited, **self.blending)
        self.spread = Launch(passes.spread, *grid, **self.blending)
        taps = {**self.blending, "PIXELS": TAP_PIXELS}
        del taps["TAPS"]
        self.kernel_back = Launch(passes.kernel_back, programs, len(self.places), **taps)

    def start(self, d_cell: Tensor | None) -> None:
        """Take the derivative by the last cell."""
        given = torch.zeros_like(self.core.cell) if d_cell is None else d_cell.clone()
        self.d_cell = given.contiguous().flatten(1, 2)

    def step(self, t: int, given: Tensor | None) -> None:
        """Go back over step t, given the loss's derivative by its hidden map `(B, H, W, F)`."""
        self._to_hidden(None if given is None else given.flatten(1, 2), t + 1)
        for line, kept in zip(reversed(self.lines), reversed(self.kept.lines.get(t, [])), strict=False):
            line.backward(kept, self.image(self.d_hidden))
        u, d_u, (a, _, inner, e) = self.us[t], self.d_u[t], self.steps[t]
        self.update_back(
            a, e, self.matrix, self.bias, self.peephole, self.befores[t], self.d_hidden, self.d_cell, self.d_v,
            self.totals, self.peephole_totals, self.pixels, self.inner, self.channels,
        )  # fmt: skip
        if self.excitation is not None or len(self.d_v) > 1:
            self.gather(a, self.d_v, self.sums, self.pixels, self.inner)
        if self.excitation is not None:
            self.excite_back(
                self.sums, self.excitation.squeeze, self.excitation.excite, inner, e, self.d_excite[t],
                self.d_squeeze[t], self.d_mean, self.blocks, self.inner, self.squeezed,
            )  # fmt: skip
        kernel = self.taps.kernel
        self.blend_back(
            u, self.u_stride, kernel, self.places, *self.norm, self.share, e, self.d_mean, self.d_v, self.d_m,
            self.norm_totals, *self.sizes,
        )  # fmt: skip
        self.spread(self.d_m, kernel, self.places, d_u, self.u_stride, *self.sizes)
        self.kernel_back(
            u, self.u_stride, self.d_m, self.places, self.tap_totals, *self.sizes, self.tap_blocks, self.batch
        )
        if self.plan.seen is not None:
            d_u.mul_(self.plan.seen.flatten(0, 1))

    def _to_hidden(self, given: Tensor | None, later: int) -> None:
        """Write the derivative by a hidden map: the one that is given, and what comes from the step after it."""
        if later == self.length:
            self.d_hidden.zero_() if given is None else self.d_hidden.copy_(given)
            return
        d_u = self.d_u[later]
        if self.from_hidden is None:
            self.d_hidden.copy_(d_u) if given is None else torch.add(given, d_u, out=self.d_hidden)
            return
        turned = self.from_hidden.transpose(1, 2)
        if given is None:
            torch.bmm(d_u, turned, out=self.d_hidden)
        else:
            torch.baddbmm(given, d_u, turned, out=self.d_hidden)

    def finish(self) -> Weights:
        """Return the derivatives of all weights."""
        self._to_hidden(None, 0)
        d_u = self.d_us.flatten(0, 2)
        weights, core, taps = self.weights, self.core, self.tap_totals.sum(0)
        d_x = (d_u @ self.from_x.T).view(self.x.shape)
        d_core = core._replace(
            x=self.image(d_x).movedim(-1, 2),
            hidden=self.image(self.d_hidden),
            cell=self.image(self.d_cell),
            from_x=_tall(self.x.flatten(1, 2), self.d_us.flatten(1, 2)).sum(0, dtype=torch.float32),
            from_x_bias=d_u.sum(0, dtype=torch.float32),
            from_hidden=None if core.from_hidden is None else self._by_from_hidden(),
            matrix=self.totals.sum(0),
            peephole=None if core.peephole is None else self.peephole_totals.sum(0),
        )
        kernels = tuple(
            taps[of_branch].T.reshape(kernel.shape)
            for kernel, of_branch in zip(weights.kernels, self.taps.of_branch, strict=True)
        )
        return weights._replace(
            core=d_core,
            kernels=kernels,
            norm=None if weights.norm is None else Norm(*self.norm_totals.sum((0, 1))),
            excitation=None if weights.excitation is None else self._by_excitation(),
            lines=tuple(line.derivatives for line in self.lines),
        )

    def _by_from_hidden(self) -> Tensor:
        """Return the derivative by P_h: the sum of `H_(t-1)^T dU_t` over all images and steps."""
        before, d_u = self.hidden_maps[:, :-1].flatten(1, 2), self.d_us[:, 1:].flatten(1, 2)
        return _total([_tall(self.first_hidden, self.d_u[0]), _tall(before, d_u)])

    def _by_excitation(self) -> Excitation:
        """Return the derivatives by both maps of the squeeze-and-excitation, over all steps."""
        d_excite, d_squeeze = self.d_excite.flatten(0, 1), self.d_squeeze.flatten(0, 1)
        mean, inner = self.kept.squeezed.mean.flatten(0, 1), self.kept.squeezed.inner.flatten(0, 1)
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

    def __init__(
        self, weights: LineWeights, tokens: Tokens, grid: tuple[int, int, int], *, columns: bool
    ) -> None:
        from models.layers.kernels import passes

        (self.batch, height, width), (heads, count, most) = grid, weights.bias.shape
        self.weights, self.pixels = weights, height * width
        self.lines = width if columns else height
        self.channels, self.width = weights.project.shape[0], weights.project.shape[1] // 3
        like = weights.project
        alone = torch.eye(count, device=like.device, dtype=like.dtype)[None]  # every pixel is a token
        self.share = (alone if tokens.share is None else tokens.share).contiguous()
        self.absent = None if tokens.absent is None else tokens.absent.to(torch.int8).contiguous()
        self.project, self.output = like.contiguous(), weights.output[:-1].contiguous()
        self.project_bias, self.output_bias = (
            weights.project_bias.contiguous(),
            weights.output[-1].contiguous(),
        )
        self.bias = weights.bias.contiguous()
        self.strides = (
            most * count if len(self.share) > 1 else 0,
            most if self.absent is not None and len(self.absent) > 1 else 0,
        )
        steps = (1, width) if columns else (width, 1)
        self.sizes = *self.strides, *steps, count, self.pixels, most, self.width, self.channels, heads
        blocks = math.ceil(self.pixels / PIXELS)
        lanes, channels = power(self.width), power(self.channels)
        form = {"PRECISION": "ieee", "PIXELS": PIXELS, "LANES": lanes, "CHANNELS": channels}
        holes = {"HOLES": self.absent is not None, "TOKENS": power(most)}
        self.project_ = Launch(passes.project, blocks, self.batch, **form)
        self.attend = Launch(passes.attend, self.lines, self.batch, **form, **holes)
        # 16 elements a thread of several maps, or 32 of one: registers hold no more
        narrow, wide = max(4, PIXELS * lanes // 512), max(4, PIXELS * channels // 1024)
        self.attend_back = Launch(
            passes.attend_back, self.lines, self.batch, **form, **holes, num_warps=narrow
        )
        self.project_back = Launch(passes.project_back, blocks, self.batch, **form, num_warps=wide)
        self.d_weights: tuple[list[Tensor], ...] = [], [], []  # by project, output and bias, of every call
        self.d_project_bias = like.new_zeros((self.batch, self.lines, 3 * self.width), dtype=torch.float32)
        self.d_output_bias = like.new_zeros((self.batch, blocks, self.channels), dtype=torch.float32)

    @property
    def derivatives(self) -> LineWeights:
        """That of the weights, over all calls."""
        project, output, bias = map(_total, self.d_weights)
        output_bias = self.d_output_bias.sum((0, 1))[None]
        return LineWeights(project, self.d_project_bias.sum((0, 1)), torch.cat([output, output_bias]), bias)

    def forward(self, h: Tensor) -> LineKept:
        """Refine the map `h (B, H, W, F)` in place."""
        kept = LineKept(
            h.new_empty(h.shape),
            h.new_empty(self.batch, self.pixels, 3 * self.width),
            h.new_empty((self.batch, self.pixels), dtype=torch.float32),
            h.new_empty(self.batch, self.pixels, self.width),
        )
        before, projected, rstd, attended = kept
        stride = self.pixels * self.channels
        self.project_(
            h, self.project, self.project_bias, before, projected, rstd,
            h.stride(0), self.pixels, self.width, self.channels,
        )  # fmt: skip
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
        for parts, part in zip(
            self.d_weights,
            (
                _tall(before.flatten(1, 2), d_projected),
                _tall(attended, d.flatten(1, 2)),
                d_bias.flatten(0, 1),
            ),
            strict=True,
        ):
            parts.append(part)
        self.project_back(
            before, d, self.project, self.project_bias, projected, d_projected, rstd, self.d_output_bias,
            self.pixels * self.channels, self.pixels, self.width, self.channels,
        )  # fmt: skip


def _tall(a: Tensor, b: Tensor) -> Tensor:
    """Return products, `(n, M, N)`, whose sum is that of `a_n^T b_n` over images, of maps `(B, P, .)`.

    There are many, since one that sums over all pixels would keep a single multiprocessor busy.
    """
    batch, pixels, _ = a.shape
    cut = next(parts for parts in range(math.ceil(PRODUCTS / batch), 0, -1) if pixels % parts == 0)
    a, b = a.unflatten(1, (cut, -1)), b.unflatten(1, (cut, -1))
    if a.is_contiguous() and b.is_contiguous():
        return torch.bmm(a.flatten(0, 1).mT, b.flatten(0, 1))
    return torch.cat([torch.bmm(x.mT, y) for x, y in zip(a, b, strict=True)])


def _total(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors over their first axis, float32."""
    return torch.cat(list(parts)).sum(0, dtype=torch.float32)


def power(size: int) -> int:
    """Return the power of two that a matrix of this side is filled up to."""
    return max(SMALLEST, 2 ** math.ceil(math.log2(size)))
