"""FAConvLSTM against ConvLSTM on a GPU, under bfloat16 autocast: `python -m tests.benchmarks.gpu [PREFIX]`.

Times and memory of the forward pass and of a training step, side by side in every round, at three grids and three
widths; those whose label begins with the prefix. The ConvLSTMs are ours and the textbook's, in both layouts of
memory, with cuDNN choosing its fastest algorithm. Prints ratios to the fastest of them, and to the most frugal.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch

from tests.benchmarks.contestants import Contestant, Setting, convlstms, faconvlstm
from tests.benchmarks.timing import fastest, interleave, ratio

SETTINGS = [
    Setting(*grid, channels) for grid in ((121, 240), (41, 41), (21, 24)) for channels in (128, 64, 32)
]
ROUNDS = 11
ROW = "{:15s} {:>8s} {:>8s} {:>8s} {:>8s}  {}\n"


def main(prefix: str = "") -> None:
    torch.backends.cudnn.benchmark = True
    sys.stdout.write(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    sys.stdout.write(ROW.format("", "forward", "step", "memory", "ms", "against"))
    for setting in SETTINGS:
        label = setting.label().removesuffix(".t1")
        if label.startswith(prefix):
            sys.stdout.write(ROW.format(label, *_measure(setting)))
            sys.stdout.flush()


def _measure(setting: Setting) -> list[str]:
    """Return the ratios of time forward, of a step and of memory, our milliseconds a step, and whom we met."""
    contestants = {name: on_gpu(make()) for name, make in makers(setting).items()}
    found, against = [], []
    for name in ("forward", "train_step"):
        runs = {who: settled(getattr(contestant, name)) for who, contestant in contestants.items()}
        seconds = interleave(runs, ROUNDS)
        mine = seconds.pop("faconvlstm")
        best = fastest(seconds)
        found.append(f"{ratio(seconds[best], mine)['ratio']:.2f}")
        against.append(f"{best} {1000 * statistics.median(seconds[best]):.2f} ms")
    peaks = {who: memory(contestant.train_step) for who, contestant in contestants.items()}
    mine_peak = peaks.pop("faconvlstm")
    share = f"{mine_peak / min(peaks.values()):.2f}"
    return [*found, share, f"{1000 * statistics.median(mine):.2f}", ", ".join(against)]


def makers(setting: Setting) -> dict[str, Callable[[], Contestant]]:
    """Return makers of FAConvLSTM and of all ConvLSTMs; the textbook's in both layouts."""
    theirs = {name: make for name, make in convlstms(setting).items() if name != "keras"}
    textbook = theirs["textbook"]
    return {
        "faconvlstm": lambda: faconvlstm(setting),
        **theirs,
        "textbook channels-last": lambda: _channels_last(textbook()),
    }


def _channels_last(contestant: Contestant) -> Contestant:
    contestant.module.to(memory_format=torch.channels_last)
    x = contestant.x.detach().movedim(2, -1).contiguous().movedim(-1, 2)
    return contestant._replace(x=x.requires_grad_())


def on_gpu(contestant: Contestant) -> Contestant:
    """Take a contestant to the GPU, under autocast."""
    contestant.module.cuda()

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return contestant.run(x)

    return Contestant(run, contestant.module, contestant.x.detach().cuda().requires_grad_())


def settled(run: Callable[[], None]) -> Callable[[], None]:
    """Return the run with a wait for the GPU at its end."""

    def whole() -> None:
        run()
        torch.cuda.synchronize()

    whole()  # compiles, and lets cuDNN choose
    return whole


def memory(run: Callable[[], None]) -> int:
    """Return the bytes by which a run's peak lies above what was held before it."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


if __name__ == "__main__":
    main(*sys.argv[1:])
