"""Reading ahead: chunks decoded by a few threads, each once for all that need it soon, batches put together in order.

The order of what comes out is that of what was asked for, whatever the threads do. Memory is bounded by the chunks
that are still needed and the batches ahead.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Part = TypeVar("Part")
Item = TypeVar("Item")
Whole = TypeVar("Whole")


class Prefetcher(Generic[Key, Part, Item, Whole]):
    """Makes items ahead of their use, each from parts that it shares with others.

    Args:
        needs: the parts that an item needs, each as often as it needs it.
        read: gives a part; called once for all items that need it, as long as some that is to come needs it.
        make: gives the item from its parts, of which it keeps none.
        threads: that read; one more makes.
        ahead: items that are made before they are asked for.
    """

    def __init__(
        self,
        needs: Callable[[Item], Sequence[Key]],
        read: Callable[[Key], Part],
        make: Callable[[Item, dict[Key, Part]], Whole],
        *,
        threads: int,
        ahead: int,
    ) -> None:
        self.needs, self.read, self.make = needs, read, make
        self.threads, self.ahead = threads, ahead

    def run(self, items: Sequence[Item]) -> Iterator[Whole]:
        """Gives what is made of each item, in order; what goes wrong in a thread is raised here."""
        keys = [list(dict.fromkeys(self.needs(item))) for item in items]
        left = Counter(key for some in keys for key in some)
        parts: dict[Key, Future[Part]] = {}
        ready: deque[Future[Whole]] = deque()
        readers, maker = ThreadPoolExecutor(self.threads, "read"), ThreadPoolExecutor(1, "make")
        try:
            for item, some in zip(items, keys, strict=True):
                for key in some:
                    if key not in parts:
                        parts[key] = readers.submit(self.read, key)
                ready.append(maker.submit(self._make, item, {key: parts[key] for key in some}))
                _let_go(parts, left, some)
                if len(ready) > self.ahead:
                    yield ready.popleft().result()
            while ready:
                yield ready.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)
            maker.shutdown(cancel_futures=True)

    def _make(self, item: Item, parts: dict[Key, Future[Part]]) -> Whole:
        return self.make(item, {key: future.result() for key, future in parts.items()})


def _let_go(parts: dict[Key, Future[Part]], left: Counter[Key], used: list[Key]) -> None:
    """Forgets what no later item needs; the item that was just asked for still holds it."""
    left.subtract(used)
    for key in used:
        if not left[key]:
            del parts[key], left[key]
