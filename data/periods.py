"""Which time steps of a record are for training, validation and test, and which its statistics are fitted on.

Statistics see training steps alone: those of the reference period where one is given, and of the whole year also
where one season is used. A reference period that reaches into validation or test is refused, since these would no
longer be unseen. Steps with a running mean share days, so the gaps between the periods grow by as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data import split, windows
from data.errors import DataError
from data.fields import Fields


class Periods:
    """The periods of a record.

    Args:
        fields: the record.
        settings: of the split, as data.split takes them.
        window: steps of a window.

    Attributes:
        times: the steps that are used.
        codes: the period of each of them (time,), as data.split has them.
        fitted: which of all steps of the record the statistics are fitted on.

    Raises:
        DataError: if a period holds no window, or the reference period holds steps that are to stay unseen.
    """

    def __init__(self, fields: Fields, settings: Mapping[str, Any], window: int) -> None:
        self._every = fields.times
        self._used = fields.used
        self._window = window
        self.times = fields.times[fields.used]
        gap = settings["gap"] + fields.options.running_mean_days - 1
        self.codes = split.split_by_date(self.times, window=window, **{**settings, "gap": gap})
        self._check_windows()
        training = self.times[self.codes == split.TRAIN]
        self.fitted = np.asarray((self._every >= training[0]) & (self._every <= training[-1]))
        self._limit(fields.options.reference())

    def _limit(self, reference: tuple[pd.Timestamp, pd.Timestamp] | None) -> None:
        if reference is None:
            return
        first, last = reference
        inside = (self.times >= first) & (self.times <= last)
        unseen = self.times[inside & np.isin(self.codes, (split.VALIDATION, split.TEST))]
        training = self.times[self.codes == split.TRAIN]
        ours = f"the training period, {training[0]:%Y-%m-%d} to {training[-1]:%Y-%m-%d}"
        if len(unseen):
            raise DataError(
                f"the reference period holds {len(unseen)} steps of validation and test ({unseen[0]:%Y-%m-%d} to "
                f"{unseen[-1]:%Y-%m-%d}), which then could not be scored as unseen: choose dataset.reference_start "
                f"and dataset.reference_end within {ours}."
            )
        self.fitted &= np.asarray((self._every >= first) & (self._every <= last))
        if not self.fitted.any():
            raise DataError(
                "the reference period holds no training step: choose dataset.reference_start and "
                f"dataset.reference_end within {ours}."
            )

    @property
    def seen(self) -> pd.DatetimeIndex:
        """The steps that the statistics are fitted on."""
        return self._every[self.fitted]

    @property
    def kept(self) -> pd.DatetimeIndex:
        """The steps that are in some period."""
        return self.times[self.codes >= 0]

    def leave_out(self, present: NDArray[np.bool_], some: NDArray[np.bool_]) -> int:
        """Takes steps without data out of all periods; returns how many those are.

        Args:
            present: whether every variable has data, for all steps of the record.
            some: whether any has, so that its statistics saw the step.

        Raises:
            DataError: if a period is left without a window.
        """
        lacking = ~present[self._used] & (self.codes >= 0)
        self.codes[lacking] = split.UNUSED
        self.fitted &= some
        self._check_windows()
        return int(lacking.sum())

    def _check_windows(self) -> None:
        for period, name in enumerate(split.NAMES):
            if not (self.codes == period).any():
                raise DataError(f"no day of the {name} period has data: check the raw store's missing days.")
            windows.starts(self.times, self.codes, period=period, length=self._window)
