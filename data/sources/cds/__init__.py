"""ERA5 from the Climate Data Store: planned in months, brought exactly once, checked, reduced to daily means.

plan: what to ask for; credential, service, faults: how the service is spoken to; journal: what is known of every
part, on disk; courier, transfer, check: bringing the parts; assemble, source: the record as the raw store has it.
Supports the hourly datasets on single and pressure levels and their daily statistics, as NetCDF or GRIB. Does not
support ensemble members, ERA5-Land (another accumulation rule) and monthly means.
"""

from data.sources.cds.source import CdsSource, from_options

__all__ = ["CdsSource", "from_options"]
