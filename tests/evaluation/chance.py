"""Weather that is known to be noise, and fields around it."""

from __future__ import annotations

import numpy as np

from evaluation.fields import Fields


def red_noise(rng: np.random.Generator, shape: tuple[int, ...], memory: float | np.ndarray) -> np.ndarray:
    """AR(1) along the first axis with variance 1 and the given lag-1 autocorrelation."""
    noise = rng.standard_normal(shape)
    for step in range(1, len(noise)):
        noise[step] = memory * noise[step - 1] + np.sqrt(1 - np.square(memory)) * noise[step]
    return noise


def chain(rng: np.random.Generator, days: int, k: int, stay: float) -> np.ndarray:
    """Labels of a Markov chain that stays with a probability and otherwise goes anywhere."""
    labels = rng.integers(k, size=days)
    for day in np.flatnonzero(rng.random(days) < stay):
        labels[day] = labels[max(day - 1, 0)]
    return labels


def make_fields(
    x: np.ndarray,
    *,
    latitude: np.ndarray | None = None,
    longitude: np.ndarray | None = None,
    variables: tuple[str, ...] = ("z500", "t850"),
    first: str = "2001-01-01",
    mask: np.ndarray | None = None,
) -> Fields:
    """Fields of daily values (time, variable, latitude, longitude), all of them training days."""
    days, count, rows, columns = x.shape
    latitude = np.linspace(60, 30, rows) if latitude is None else latitude
    units = {"z500": "m**2 s**-2", "z": "m**2 s**-2", "t850": "K"}
    names = variables[:count]
    return Fields(
        times=np.datetime64(first) + np.arange(days).astype("timedelta64[D]"),
        split=np.zeros(days, dtype=np.int8),
        x=x.astype(np.float32),
        mask=np.ones(x.shape[1:], dtype=bool) if mask is None else mask,
        area_weight=np.cos(np.deg2rad(latitude)),
        scale=np.ones(x.shape[1:]),
        variables=names,
        units={name: units[name] for name in names},
        long_names={name: f"Field {name}" for name in names},
        latitude=latitude,
        longitude=np.linspace(-20, 20, columns) if longitude is None else longitude,
        seasonal_cycle="removed",
    )
