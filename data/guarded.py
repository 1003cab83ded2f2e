"""Stores whose damage is an error as soon as it is read: chunks that are not there, and chunks with wrong checksums.

Zarr reads a chunk that is not there as missing values, and tells wrong checksums by errors that do not name the
store. Since data.store writes every chunk, one that is not there is damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.abc.store import Store
from zarr.storage import WrapperStore

from data import places
from data.errors import DamagedError

# what reading a damaged or truncated store raises
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, zarr.errors.BaseZarrError)


class WholeStore(WrapperStore[Store]):
    """A store, read only, in which a chunk that is not there is an error.

    Args:
        path: where it lies; see data.places.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(places.store_at(path))
        self.path = path

    async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
        """Bytes of a file, None where a file of metadata is not there.

        Raises:
            DamagedError: if a chunk is not there.
        """
        found = await super().get(key, *arguments, **options)
        if found is None and "c" in key.split("/")[1:]:  # not zarr.json
            raise DamagedError(self.path, f"its file {key} is not there")
        return found


class Guarded(BackendArray):
    """A lazy variable whose damage is told with the store and the variable.

    Args:
        variable: of a store.
        path: the store.
        name: the variable's.
    """

    def __init__(self, variable: xr.Variable, path: Path, name: str) -> None:
        self.variable, self.path, self.name = variable, path, name
        self.shape, self.dtype = variable.shape, variable.dtype

    @classmethod
    def all_of(cls, dataset: xr.Dataset, path: Path) -> xr.Dataset:
        """A dataset with all of its lazy variables guarded."""
        lazy = {n: v for n, v in dataset.variables.items() if n not in dataset.indexes}
        guarded = {name: cls(variable, path, str(name)).lazily() for name, variable in lazy.items()}
        return dataset.assign({n: v for n, v in guarded.items() if n in dataset.data_vars}).assign_coords(
            {n: v for n, v in guarded.items() if n in dataset.coords}
        )

    def lazily(self) -> xr.Variable:
        """The variable itself, read as it is used and then kept, as xarray does."""
        lazy: Any = indexing.LazilyIndexedArray(self)
        data = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))
        found = xr.Variable(self.variable.dims, data, self.variable.attrs, fastpath=True)
        found.encoding = self.variable.encoding
        return found

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        with damage_told(self.path, self.name):
            return np.asarray(self.variable[key].values)


@contextmanager
def damage_told(path: Path, what: str) -> Iterator[None]:
    """Turns what Zarr raises where it meets damage into an error that names the store.

    What the operating system refuses (a permission, a failing disk) is left as it is.

    Args:
        path: the store.
        what: of it is read.

    Raises:
        DamagedError: if it is damaged.
    """
    try:
        yield
    except DamagedError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError(path, f"{what}: {one_line(error)}") from error


def one_line(why: object) -> str:
    """An error's words on a line of bounded length."""
    return " ".join(str(why).split())[:200]
