"""What a layer did, and what an embedding rests on.

`observe` returns gate activity, squeeze-and-excitation and attention maps of FAConvLSTM, `activity` their means
over many sequences; `occlusion` how far an embedding moves when a variable or a region is hidden from it. All
compute without derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_whole
from models.layers.axial import LineAttention
from models.layers.base import RecurrentLayer, Stack
from models.layers.faconvlstm import FAConvLSTM, FAConvLSTMState
from models.layers.mixing import SqueezeExcitation


class Observation(NamedTuple):
    """What FAConvLSTM did in one sequence.

    Maps of attention are those of the steps after which it acts, in their order; M tokens a line.
    """

    hidden: Tensor  # (B, T, F, H, W)
    gates: Tensor  # (B, T, 4, F, H, W): sig(i), sig(f), tanh(g), sig(o)
    excitation: Tensor | None  # (B, T, C_b); None where squeeze-and-excitation is off
    steps: tuple[int, ...]  # steps of this sequence, from 0, after which attention acted
    rows: Tensor | None  # (B, steps, H, heads, W, M); None where it never acted
    columns: Tensor | None  # (B, steps, W, heads, H, M)


@torch.no_grad()
def observe(layer: FAConvLSTM, x: Tensor, state: FAConvLSTMState | None = None) -> Observation:
    """Run the layer over `x (B, T, C, H, W)` and return what its parts did.

    Raises:
        ModelError: for another layer, or fields that the layer does not take.
    """
    if not isinstance(layer, FAConvLSTM):
        raise ModelError(f"observe takes a FAConvLSTM, received a {type(layer).__name__}: give that layer.")
    layer._check(x, ("B", "T", "C", "H", "W"))
    state = layer.start(x) if state is None else state
    hidden_maps, gates, steps = [], [], []
    with _Tap(layer) as tap:
        for t, projected in enumerate(layer.project_input(x).unbind(1)):
            gates.append(torch.stack(layer.gate_values(projected, state), dim=1))
            tap.excitation.clear()
            hidden, state = layer.advance(projected, state)
            tap.keep()
            hidden_maps.append(hidden)
            if layer.attention is not None and state.steps % layer.attention_every == 0:
                steps.append(t)
    stacked = [torch.stack(maps, dim=1) if maps else None for maps in (tap.kept, tap.rows, tap.columns)]
    return Observation(
        torch.stack(hidden_maps, dim=1), torch.stack(gates, dim=1), stacked[0], tuple(steps), *stacked[1:]
    )


class _Tap:
    """Listens to the parts of a layer while it runs."""

    def __init__(self, layer: FAConvLSTM) -> None:
        self.layer = layer
        self.excitation: list[Tensor] = []
        self.kept: list[Tensor] = []
        self.rows: list[Tensor] = []
        self.columns: list[Tensor] = []

    def __enter__(self) -> _Tap:
        self.handles: list[Any] = []
        for module in self.layer.modules():
            if isinstance(module, SqueezeExcitation):
                self._listen(module, SqueezeExcitation.excitation, self.excitation)
        if self.layer.attention is not None:
            self._listen(self.layer.attention.rows, LineAttention.attention_map, self.rows)
            self._listen(self.layer.attention.columns, LineAttention.attention_map, self.columns)
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def keep(self) -> None:
        """Keep the excitation of the step that was just taken."""
        self.kept.extend(self.excitation)

    def _listen(self, module: nn.Module, look: Callable[[Any, Tensor], Tensor], kept: list[Tensor]) -> None:
        self.handles.append(
            module.register_forward_hook(lambda module, given, _: kept.append(look(module, given[0])))
        )


class Activity(NamedTuple):
    """What FAConvLSTM did over many sequences; a part that is off is None.

    The candidate gate, tanh(g), counts by its size |tanh(g)|, since its two signs would cancel.
    """

    gates: Tensor  # (4, H, W): i, f, |g|, o; mean over sequences, steps and channels
    gate_mean: Tensor  # (4, F): mean over sequences, steps and the map
    gate_spread: Tensor  # (4, F): standard deviation over the same
    excitation_mean: Tensor | None  # (C_b): mean over sequences and steps
    excitation_spread: Tensor | None  # (C_b): standard deviation over the same
    rows: Tensor | None  # (H, M): share that each row gives to each token; mean over all else, sums to 1
    columns: Tensor | None  # (W, M): the same for columns


@torch.no_grad()
def activity(layer: RecurrentLayer, x: Tensor, weight: Tensor | None = None) -> Activity:
    """Observe a FAConvLSTM, or the topmost one of a stack, over `x (B, T, C, H, W)`, and average.

    Sequences are observed one at a time, so that memory does not grow with their number.

    Args:
        layer: the layer, or a stack of such layers.
        x: sequences from the initial state.
        weight: `(H, W)` weights of the pixels in means over the map; None for equal ones.

    Raises:
        ModelError: as `observe`.
    """
    layers: Any = layer.layers if isinstance(layer, Stack) else [layer]
    *beneath, top = layers
    share = x.new_ones(x.shape[-2:]) if weight is None else weight.to(x.dtype)
    gathered = _Sums(share / share.sum())
    for sequence in x.split(1):
        for lower in beneath:
            sequence, _ = lower(sequence)
        gathered.add(observe(top, sequence))
    return gathered.activity()


class _Sums:
    """Sums over sequences, in float64; `share (H, W)` are the weights of the pixels, of sum 1."""

    def __init__(self, share: Tensor) -> None:
        self.share = share.double()
        self.count = 0
        self.maps: Tensor | Any = 0
        self.means: Tensor | Any = 0
        self.squares: Tensor | Any = 0
        self.excitation: list[Tensor] = []
        self.lines: dict[str, list[Tensor]] = {"rows": [], "columns": []}

    def add(self, seen: Observation) -> None:
        gates = seen.gates.abs().double()  # of i, f and o the same
        self.count += 1
        self.maps = self.maps + gates.mean((0, 1, 3))
        self.means = self.means + torch.einsum("btgfhw,hw->gf", gates, self.share) / gates.shape[1]
        self.squares = self.squares + torch.einsum("btgfhw,hw->gf", gates**2, self.share) / gates.shape[1]
        if seen.excitation is not None:
            self.excitation.append(seen.excitation.double().flatten(0, 1))
        for name, kept in self.lines.items():
            attention = getattr(seen, name)
            if attention is not None:
                kept.append(attention.double().mean((0, 1, 3, 4)))

    def activity(self) -> Activity:
        mean = self.means / self.count
        spread = (self.squares / self.count - mean**2).clamp(min=0).sqrt()
        excitation = torch.cat(self.excitation) if self.excitation else None
        rows, columns = (torch.stack(kept).mean(0).float() if kept else None for kept in self.lines.values())
        return Activity(
            (self.maps / self.count).float(),
            mean.float(),
            spread.float(),
            None if excitation is None else excitation.mean(0).float(),
            None if excitation is None else excitation.std(0, correction=0).float(),
            rows,
            columns,
        )


class Occlusion(NamedTuple):
    """How far the embedding moves, relative to its own spread, when something is hidden."""

    by_variable: Tensor  # (C,)
    by_region: Tensor  # (rows, columns) of regions, from the first latitude and longitude


@torch.no_grad()
def occlusion(embed: Callable[[Tensor], Tensor], x: Tensor, region: Sequence[int] = (4, 4)) -> Occlusion:
    """Hide each variable, and each region of all variables, and measure what becomes of the embedding.

    Hidden points are set to 0, the mean of the normalised fields, which is also what missing points hold. The
    measure is the root-mean-square change of the embedding over its root-mean-square distance from its mean;
    0 where nothing rests on what was hidden.

    Args:
        embed: `(B, T, C, H, W) -> (B, T, D)`, such as `lambda x: autoencoder.embed(x, season)`.
        x: the fields.
        region: height and width of a region, in points; those at the far edges may be smaller.

    Raises:
        ModelError: for a region of no points.
    """
    for side in region:
        check_whole("a side of the region", side, 1)
    whole = embed(x)
    spread = (whole - whole.mean((0, 1))).square().mean().sqrt().clamp(min=torch.finfo(whole.dtype).tiny)

    def change(*hidden: Any) -> Tensor:
        occluded = x.clone()
        occluded[hidden] = 0
        return (embed(occluded) - whole).square().mean().sqrt() / spread

    every = slice(None)
    by_variable = [change(every, every, c) for c in range(x.shape[2])]
    by_region = [
        [
            change(..., slice(top, top + region[0]), slice(left, left + region[1]))
            for left in range(0, x.shape[4], region[1])
        ]
        for top in range(0, x.shape[3], region[0])
    ]
    return Occlusion(torch.stack(by_variable), torch.stack([torch.stack(row) for row in by_region]))
