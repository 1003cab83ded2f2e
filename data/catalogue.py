"""The variables that the project knows: names at each source, units, kind, level and plausible values.

Supports the ERA5 variables that are commonly clustered, on single levels and on pressure levels, under their
ECMWF short names, GRIB and CDS names, and the names used by CMIP, NCEP and the public Zarr copies. Fields on
pressure levels are called by short name and level in hPa (`z500`, `t850`). Does not support model levels,
wave spectra, ocean depths.

Vertical fluxes count downwards, as at ECMWF. Upward fluxes of other producers (CMIP `hfss`, NCEP `shtfl`) are
left out on purpose: taken as aliases they would come in with the wrong sign.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from data.errors import DataError

Kind = Literal["instant", "accumulated", "mean"]
LevelType = Literal["single", "pressure"]
Range = tuple[float, float]

GRAVITY = 9.80665  # m s-2: geopotential in m2 s-2 is height in geopotential metres times this

# Geopotential height (m) of pressure levels (hPa) in the standard atmosphere.
_STANDARD_HEIGHT = {
    1100: -698, 1000: 111, 925: 762, 850: 1457, 700: 3012, 600: 4206, 500: 5574, 400: 7185, 300: 9164,
    250: 10363, 200: 11784, 150: 13608, 100: 16180, 70: 18442, 50: 20576, 30: 23849, 20: 26481, 10: 31055,
    5: 35776, 2: 42440, 1: 47820,
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """One variable: `short` is its ECMWF short name, `cds` its name in requests, `units` the raw store's."""

    short: str
    cds: str
    long_name: str
    standard_name: str | None
    units: str
    plausible: Range
    aliases: tuple[str, ...] = ()
    param_id: int | None = None
    kind: Kind = "instant"
    level: LevelType = "single"

    def names(self) -> tuple[str, ...]:
        """Every name under which the variable is found, the short name first."""
        return (self.short, self.cds, *self.aliases)

    def plausible_at(self, level: float | None = None) -> Range:
        """Smallest and largest value (in `units`) that could be real, at `level` hPa where that matters."""
        if self.short != "z" or level is None:
            return self.plausible
        pressures = np.array(sorted(_STANDARD_HEIGHT))
        heights = np.array([_STANDARD_HEIGHT[p] for p in pressures])
        height = float(np.interp(np.log(level), np.log(pressures), heights))
        # Seen are 4600 to 6050 m at 500 hPa, 27.5 to 32.5 km at 10 hPa: a margin that grows with height.
        margin = 1000 + 0.13 * abs(height)
        return (GRAVITY * (height - margin), GRAVITY * (height + margin))


def _single(short: str, cds: str, long_name: str, standard: str | None, units: str, plausible: Range,
            aliases: str = "", param_id: int | None = None, kind: Kind = "instant") -> Variable:  # fmt: skip
    return Variable(short, cds, long_name, standard, units, plausible, tuple(aliases.split()), param_id, kind)


def _pressure(short: str, cds: str, long_name: str, standard: str | None, units: str, plausible: Range,
              aliases: str = "", param_id: int | None = None) -> Variable:  # fmt: skip
    return Variable(short, cds, long_name, standard, units, plausible, tuple(aliases.split()), param_id,
                    level="pressure")  # fmt: skip


_ENERGY = (-2e9, 2e9)  # J m-2: a month's sum of a strong flux is 1e9
_FLUX = (-3000.0, 3000.0)  # W m-2
_WATER = (-0.01, 5.0)  # m; int16 packing makes tiny negative values
_FRACTION = (-0.01, 1.01)
_GUST = (-120.0, 120.0)

CATALOGUE: tuple[Variable, ...] = (
    _single("t2m", "2m_temperature", "2 metre temperature", "air_temperature", "K", (170, 340),
            "2t t2 tas temperature_2m air_temperature_at_2_metres", 167),
    _single("d2m", "2m_dewpoint_temperature", "2 metre dewpoint temperature", "dew_point_temperature", "K",
            (150, 320), "2d dewpoint_temperature_2m tdps", 168),
    _single("mx2t", "maximum_2m_temperature_since_previous_post_processing", "Maximum 2 metre temperature",
            "air_temperature", "K", (170, 340), "tasmax", 201),
    _single("mn2t", "minimum_2m_temperature_since_previous_post_processing", "Minimum 2 metre temperature",
            "air_temperature", "K", (170, 340), "tasmin", 202),
    _single("skt", "skin_temperature", "Skin temperature", "surface_temperature", "K", (150, 370), "", 235),
    _single("stl1", "soil_temperature_level_1", "Soil temperature, 0 to 7 cm", "soil_temperature", "K", (170, 350),
            "", 139),
    _single("sst", "sea_surface_temperature", "Sea surface temperature", "sea_surface_temperature", "K", (260, 320),
            "sstk tos", 34),
    _single("siconc", "sea_ice_cover", "Sea ice area fraction", "sea_ice_area_fraction", "1", _FRACTION,
            "ci icec sea_ice_area_fraction", 31),
    _single("u10", "10m_u_component_of_wind", "10 metre U wind component", "eastward_wind", "m s-1", _GUST,
            "10u uas u10m u_component_of_wind_10m eastward_wind_at_10_metres", 165),
    _single("v10", "10m_v_component_of_wind", "10 metre V wind component", "northward_wind", "m s-1", _GUST,
            "10v vas v10m v_component_of_wind_10m northward_wind_at_10_metres", 166),
    _single("u100", "100m_u_component_of_wind", "100 metre U wind component", "eastward_wind", "m s-1", (-150, 150),
            "100u", 228246),
    _single("v100", "100m_v_component_of_wind", "100 metre V wind component", "northward_wind", "m s-1", (-150, 150),
            "100v", 228247),
    _single("sp", "surface_pressure", "Surface pressure", "surface_air_pressure", "Pa", (25000, 112000),
            "ps pres_sfc", 134),
    _single("msl", "mean_sea_level_pressure", "Mean sea level pressure", "air_pressure_at_mean_sea_level", "Pa",
            (85000, 112000), "mslp slp psl prmsl air_pressure_at_mean_sea_level", 151),
    _single("tcc", "total_cloud_cover", "Total cloud cover", "cloud_area_fraction", "1", _FRACTION, "", 164),
    _single("tcwv", "total_column_water_vapour", "Total column water vapour",
            "atmosphere_mass_content_of_water_vapor", "kg m-2", (-1, 150), "prw total_column_water_vapor", 137),
    _single("blh", "boundary_layer_height", "Boundary layer height", "atmosphere_boundary_layer_thickness", "m",
            (-10, 12000), "", 159),
    _single("cape", "convective_available_potential_energy", "Convective available potential energy",
            "atmosphere_convective_available_potential_energy", "J kg-1", (-10, 25000), "", 59),
    _single("sd", "snow_depth", "Snow depth (water equivalent)", "lwe_thickness_of_surface_snow_amount", "m",
            (-0.01, 1000), "", 141),
    _single("swvl1", "volumetric_soil_water_layer_1", "Volumetric soil water, 0 to 7 cm",
            "volume_fraction_of_condensed_water_in_soil", "1", _FRACTION, "", 39),
    _single("lsm", "land_sea_mask", "Land-sea mask", "land_area_fraction", "1", _FRACTION, "land sftlf", 172),
    _single("tp", "total_precipitation", "Total precipitation", "lwe_thickness_of_precipitation_amount", "m", _WATER,
            "total_precipitation_1hr", 228, "accumulated"),
    _single("lsp", "large_scale_precipitation", "Large-scale precipitation",
            "lwe_thickness_of_stratiform_precipitation_amount", "m", _WATER, "", 142, "accumulated"),
    _single("cp", "convective_precipitation", "Convective precipitation",
            "lwe_thickness_of_convective_precipitation_amount", "m", _WATER, "", 143, "accumulated"),
    _single("sf", "snowfall", "Snowfall (water equivalent)", "lwe_thickness_of_snowfall_amount", "m", _WATER, "",
            144, "accumulated"),
    _single("e", "evaporation", "Evaporation (negative where water leaves the surface)", None, "m", (-5, 5), "", 182,
            "accumulated"),
    _single("sshf", "surface_sensible_heat_flux", "Time-integrated surface sensible heat flux, downwards",
            "integral_wrt_time_of_surface_downward_sensible_heat_flux", "J m-2", _ENERGY, "", 146, "accumulated"),
    _single("slhf", "surface_latent_heat_flux", "Time-integrated surface latent heat flux, downwards",
            "integral_wrt_time_of_surface_downward_latent_heat_flux", "J m-2", _ENERGY, "", 147, "accumulated"),
    _single("ssr", "surface_net_solar_radiation", "Surface net short-wave radiation, downwards",
            "integral_wrt_time_of_surface_net_downward_shortwave_flux", "J m-2", _ENERGY, "", 176, "accumulated"),
    _single("str", "surface_net_thermal_radiation", "Surface net long-wave radiation, downwards",
            "integral_wrt_time_of_surface_net_downward_longwave_flux", "J m-2", _ENERGY, "", 177, "accumulated"),
    _single("ssrd", "surface_solar_radiation_downwards", "Surface short-wave radiation downwards",
            "integral_wrt_time_of_surface_downwelling_shortwave_flux_in_air", "J m-2", _ENERGY, "", 169,
            "accumulated"),
    _single("strd", "surface_thermal_radiation_downwards", "Surface long-wave radiation downwards",
            "integral_wrt_time_of_surface_downwelling_longwave_flux_in_air", "J m-2", _ENERGY, "", 175,
            "accumulated"),
    _single("ttr", "top_net_thermal_radiation", "Top net long-wave radiation, downwards", None, "J m-2", _ENERGY, "",
            179, "accumulated"),
    _single("avg_ishf", "mean_surface_sensible_heat_flux", "Mean surface sensible heat flux, downwards",
            "surface_downward_sensible_heat_flux", "W m-2", _FLUX, "msshf", 235033, "mean"),
    _single("avg_slhtf", "mean_surface_latent_heat_flux", "Mean surface latent heat flux, downwards",
            "surface_downward_latent_heat_flux", "W m-2", _FLUX, "mslhf", 235034, "mean"),
    _single("avg_sdswrf", "mean_surface_downward_short_wave_radiation_flux",
            "Mean surface short-wave radiation flux, downwards", "surface_downwelling_shortwave_flux_in_air",
            "W m-2", _FLUX, "msdwswrf rsds", 235035, "mean"),
    _single("avg_sdlwrf", "mean_surface_downward_long_wave_radiation_flux",
            "Mean surface long-wave radiation flux, downwards", "surface_downwelling_longwave_flux_in_air", "W m-2",
            _FLUX, "msdwlwrf rlds", 235036, "mean"),
    _single("avg_snswrf", "mean_surface_net_short_wave_radiation_flux",
            "Mean surface net short-wave radiation flux, downwards", "surface_net_downward_shortwave_flux", "W m-2",
            _FLUX, "msnswrf", 235037, "mean"),
    _single("avg_snlwrf", "mean_surface_net_long_wave_radiation_flux",
            "Mean surface net long-wave radiation flux, downwards", "surface_net_downward_longwave_flux", "W m-2",
            _FLUX, "msnlwrf", 235038, "mean"),
    _single("avg_tprate", "mean_total_precipitation_rate", "Mean total precipitation rate", "precipitation_flux",
            "kg m-2 s-1", (-1e-3, 0.3), "mtpr pr", 235055, "mean"),
    _pressure("z", "geopotential", "Geopotential", "geopotential", "m2 s-2", (-30000, 600000),
              "gh hgt zg phi geopotential_height gpt", 129),
    _pressure("t", "temperature", "Temperature", "air_temperature", "K", (130, 345), "ta air tmp", 130),
    _pressure("u", "u_component_of_wind", "U component of wind", "eastward_wind", "m s-1", (-220, 220),
              "ua uwnd ugrd", 131),
    _pressure("v", "v_component_of_wind", "V component of wind", "northward_wind", "m s-1", (-220, 220),
              "va vwnd vgrd", 132),
    _pressure("q", "specific_humidity", "Specific humidity", "specific_humidity", "kg kg-1", (-0.005, 0.06),
              "hus shum spfh", 133),
    _pressure("r", "relative_humidity", "Relative humidity", "relative_humidity", "%", (-50, 200), "rh rhum hur",
              157),
    _pressure("w", "vertical_velocity", "Vertical velocity", "lagrangian_tendency_of_air_pressure", "Pa s-1",
              (-100, 100), "omega wap vvel", 135),
    _pressure("vo", "vorticity", "Vorticity (relative)", "atmosphere_relative_vorticity", "s-1", (-0.05, 0.05),
              "relative_vorticity", 138),
    _pressure("d", "divergence", "Divergence", "divergence_of_wind", "s-1", (-0.05, 0.05), "", 155),
)  # fmt: skip

_HEIGHT_PARAM_ID = 156  # GRIB `gh`, geopotential height: the same field as z, in metres
_LEVELLED = re.compile(r"(?P<base>.*?[a-z])[ _@-]?(?P<level>\d{1,4}(?:\.\d+)?)(?P<unit> ?(?:hpa|mb))?")
_NUMBERED = re.compile(r"(?:var|p)(\d+)(?:\.128)?")  # how CDO calls a parameter that it does not know


@cache
def _by_name() -> dict[str, Variable]:
    return {name.casefold(): variable for variable in CATALOGUE for name in variable.names()}


@cache
def _by_param_id() -> dict[int, Variable]:
    table = {variable.param_id: variable for variable in CATALOGUE if variable.param_id is not None}
    return table | {_HEIGHT_PARAM_ID: table[129]}


def find(name: str) -> Variable | None:
    """The variable of any of its names, whatever the case, or None."""
    key = name.strip().casefold().removeprefix("var_")
    if numbered := _NUMBERED.fullmatch(key):
        return find_param_id(int(numbered.group(1)))
    return _by_name().get(key)


def find_param_id(param_id: int) -> Variable | None:
    """The variable of an ECMWF parameter number, or None."""
    return _by_param_id().get(param_id)


def find_standard_name(standard_name: str) -> Variable | None:
    """The variable of a CF standard name where just one variable has it, else None."""
    matches = [variable for variable in CATALOGUE if variable.standard_name == standard_name]
    return matches[0] if len(matches) == 1 else None


def lookup(name: str) -> Variable:
    """The variable of any of its names.

    Raises:
        DataError: nothing is known by that name; the message offers the nearest names.
    """
    variable = find(name)
    if variable is None:
        raise DataError(f"variable '{name}' is not known ({suggestion(name)}).")
    return variable


def find_field(name: str) -> tuple[Variable, float | None] | None:
    """The variable and the level in hPa (None where not stated) of a field's name such as `z500`, or None."""
    if variable := find(name):
        return variable, None
    match = _LEVELLED.fullmatch(name.strip().casefold())
    base = find(match["base"]) if match else None
    if match is None or base is None or base.level != "pressure" or not 0 < float(match["level"]) <= 1100:
        return None
    return base, float(match["level"])


def parse(name: str) -> tuple[Variable, float | None]:
    """The variable and the level in hPa of a field's name: `z500` is (z, 500.0), `msl` is (msl, None).

    Raises:
        DataError: the name is not known; the message offers the nearest names.
    """
    found = find_field(name)
    if found is None:
        raise DataError(f"variable '{name}' is not known ({suggestion(name)}).")
    return found


def field_name(variable: Variable, level: float | None = None) -> str:
    """The name in the raw store: the short name, with the level in hPa appended on pressure levels.

    Wind at 10 and 100 hPa is `u10hPa` and the like, because `u10` is the wind at 10 metres.
    """
    if level is None:
        return variable.short
    name = f"{variable.short}{level:g}"
    return f"{name}hPa" if name in _by_name() else name


def order(names: Iterable[str]) -> list[str]:
    """Field names in the catalogue's order, levels from the highest pressure down."""
    position = {variable.short: i for i, variable in enumerate(CATALOGUE)}

    def key(name: str) -> tuple[int, float]:
        variable, level = parse(name)
        return position[variable.short], -(level or np.inf)

    return sorted(names, key=key)


def suggestion(name: str) -> str:
    """What to say after an unknown name: what it is derived from, the nearest known names, else all short names."""
    from data import derived  # which is built on this

    if made := derived.find(name):
        inputs = ",".join(made.inputs)
        return f"it is derived: set dataset.variables=[{inputs}] and dataset.fields=[{made.name}]"
    known = [*_by_name(), *(field_name(v, p) for v in CATALOGUE if v.level == "pressure" for p in (850, 500))]
    near = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known are {', '.join(variable.short for variable in CATALOGUE)}"
