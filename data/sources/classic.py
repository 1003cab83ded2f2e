"""How long a classic NetCDF file has to be, from its header.

The NetCDF library reads what is missing at the end of a truncated classic file as zeros, without a word (seen
with netCDF4 1.7.5), so the length is checked here. Supports CDF-1, CDF-2 and CDF-5, as in the NetCDF classic
format specification. NetCDF-4 files need none of this: HDF5 refuses them when they are cut.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_STREAMING = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # the number of records is not written down


class HeaderError(ValueError):
    """The header is cut or makes no sense."""


@dataclass(frozen=True)
class _Array:
    shape: tuple[int, ...]  # 0 stands for the record dimension, which comes first
    itemsize: int
    begin: int

    @property
    def is_record(self) -> bool:
        return bool(self.shape) and self.shape[0] == 0

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, or of one record of it."""
        return math.prod(self.shape[1:] if self.is_record else self.shape) * self.itemsize


class _Header:
    """Reads a header's numbers and lists, in the order of the format."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        version = self._bytes(4)[3]
        self._count = ">Q" if version == 5 else ">I"
        self._offset = ">I" if version == 1 else ">Q"

    def _bytes(self, n: int) -> bytes:
        if n > 2**31:
            raise HeaderError("its header holds impossible lengths")
        data = self._stream.read(n)
        if len(data) < n:
            raise HeaderError("its header is cut")
        return data

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._bytes(struct.calcsize(form)))[0])

    def count(self) -> int:
        return self._number(self._count)

    def _items(self) -> range:
        self._number(">I")  # the tag of the list
        return range(self.count())

    def _skip(self, nbytes: int) -> None:
        self._bytes(nbytes + -nbytes % 4)

    def skip_attributes(self) -> None:
        for _ in self._items():
            self._skip(self.count())  # the name
            kind = self._number(">I")
            self._skip(self.count() * self._itemsize(kind))

    def dimensions(self) -> list[int]:
        lengths = []
        for _ in self._items():
            self._skip(self.count())
            lengths.append(self.count())
        return lengths

    def arrays(self, lengths: list[int]) -> list[_Array]:
        return [self._array(lengths) for _ in self._items()]

    def _array(self, lengths: list[int]) -> _Array:
        self._skip(self.count())
        axes = [self.count() for _ in range(self.count())]
        self.skip_attributes()
        kind = self._number(">I")
        self.count()  # the padded size, which overflows for large arrays
        if any(axis >= len(lengths) for axis in axes):
            raise HeaderError("its header names a dimension that it does not have")
        return _Array(tuple(lengths[a] for a in axes), self._itemsize(kind), self._number(self._offset))

    @staticmethod
    def _itemsize(kind: int) -> int:
        if kind not in _TYPE_BYTES:
            raise HeaderError("its header holds an impossible type")
        return _TYPE_BYTES[kind]


def expected_bytes(path: Path) -> int:
    """The smallest length at which every array of a classic NetCDF file is whole.

    Raises:
        HeaderError: the header itself is cut or damaged.
    """
    with path.open("rb") as stream:
        header = _Header(stream)
        records = header.count()
        lengths = header.dimensions()
        header.skip_attributes()
        arrays = header.arrays(lengths)
    records = 0 if records in _STREAMING else records
    return max((_end(array, arrays, records) for array in arrays), default=0)


def _end(array: _Array, arrays: list[_Array], records: int) -> int:
    if not array.is_record:
        return array.begin + array.nbytes
    if records == 0:
        return 0
    together = [other.nbytes for other in arrays if other.is_record]
    # One record array alone is not padded to 4 bytes.
    stride = together[0] if len(together) == 1 else sum(n + -n % 4 for n in together)
    return array.begin + (records - 1) * stride + array.nbytes
