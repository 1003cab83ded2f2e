"""How a raw record is prepared: the options of a dataset that prepare knows, checked and in one canonical form.

What an option does not change in the result is left at its neutral value, so that two ways to write the same settings
lead to the same prepared store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data import daymeans, region, season
from data.errors import DataError

NEUTRAL_SMOOTHING = 1  # days, where no calendar-day mean is smoothed
CHOICES = {
    "frequency": ("native", "daily"),
    "climatology": ("harmonics", "daily_mean"),
    "standardise": ("variable", "cell"),
}


@dataclass(frozen=True)
class Options:
    """The options, of which each stands under dataset.<name>; see conf/dataset/base.yaml.

    Attributes:
        fields: names of raw or derived fields, in the order of the variable axis; None for all of the raw store.
        region: north, west, south, east in degrees, or None.
        coarsen: cells of a block each way.
        frequency: native, or daily for values of UTC days.
        running_mean_days: days of a centred running mean, odd.
        season: months that are used, or None for the whole year.
        deseasonalise: whether the climatology is subtracted.
        climatology: harmonics or daily_mean.
        harmonics: annual harmonics that are fitted.
        smoothing_days: calendar days of the daily mean's running mean.
        detrend: whether a linear trend is subtracted.
        standardise: by variable, or by grid cell.
        reference_start: first date of the steps that statistics are fitted on, within the training period.
        reference_end: last date of them.
    """

    fields: tuple[str, ...] | None = None
    region: tuple[float, float, float, float] | None = None
    coarsen: int = 1
    frequency: str = "native"
    running_mean_days: int = 1
    season: tuple[int, ...] | None = None
    deseasonalise: bool = True
    climatology: str = "harmonics"
    harmonics: int = 3
    smoothing_days: int = 31
    detrend: bool = False
    standardise: str = "variable"
    reference_start: str | None = None
    reference_end: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Options:
        """The options out of a dataset's settings, in canonical form.

        Raises:
            DataError: naming the option that cannot be.
        """
        given = {f.name: settings[f.name] for f in fields(cls) if f.name in settings}
        given["fields"] = None if given.get("fields") is None else tuple(map(str, given["fields"]))
        given["region"] = None if given.get("region") is None else region.check(given["region"])
        given["season"] = season.months(given.get("season"))
        given["smoothing_days"] = given.get("smoothing_days") or NEUTRAL_SMOOTHING
        found = cls(**given)
        found._check()
        return found._canonical()

    def _check(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise DataError(
                    f"dataset.{name} must be one of {', '.join(choices)}. Received: {getattr(self, name)}."
                )
        for name in ("running_mean_days", "smoothing_days"):
            days = getattr(self, name)
            if not 1 <= days <= 365 or days % 2 == 0:
                raise DataError(
                    f"dataset.{name} must be an odd number of days between 1 and 365, so that it has a middle. "
                    f"Received: {days}."
                )
        if self.coarsen < 1:
            raise DataError(f"dataset.coarsen must be at least 1. Received: {self.coarsen}.")
        if self.fields is not None and len(set(self.fields)) < max(len(self.fields), 1):
            raise DataError(f"dataset.fields must name each field once. Received: {list(self.fields)}.")
        self.reference()

    def _canonical(self) -> Options:
        neutral = Options()
        changed: dict[str, Any] = {}
        if not self.deseasonalise:
            changed["climatology"] = neutral.climatology
        daily = self.deseasonalise and self.climatology == "daily_mean"
        if not daily:
            changed["smoothing_days"] = NEUTRAL_SMOOTHING
        if not self.detrend and (daily or not self.deseasonalise):
            changed["harmonics"] = 0
        return Options(**(asdict(self) | changed))

    def settings(self) -> dict[str, Any]:
        """The options as JSON values, from which `of` makes the same ones again."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def reference(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """First and last moment of the reference period; None where none is given.

        Raises:
            DataError: if the dates cannot be read or are in the wrong order.
        """
        if self.reference_start is None and self.reference_end is None:
            return None
        first = _date(self.reference_start, "reference_start")
        last = _date(self.reference_end, "reference_end")
        start = pd.Timestamp.min if first is None else first.start_time
        end = pd.Timestamp.max if last is None else (last + 1).start_time - pd.Timedelta(1, "ns")
        if end < start:
            raise DataError(
                f"dataset.reference_end {self.reference_end} lies before dataset.reference_start "
                f"{self.reference_start}: swap them."
            )
        return start, end

    def uses_calendar_days(self) -> NDArray[np.bool_]:
        """Which of the 366 calendar days are in the season."""
        return season.within(pd.date_range("2000-01-01", periods=daymeans.DAYS), self.season)


def _date(text: str | None, option: str) -> pd.Period | None:
    if text is None:
        return None
    try:
        return pd.Period(str(text))
    except ValueError as error:
        raise DataError(f"dataset.{option} '{text}' is not a date: write it as 2006-12-31.") from error
