"""Public holidays by country and region, from the `holidays` library: dates only, no clock."""

from datetime import date
from functools import cache, lru_cache

import holidays

from oms.promises import IsHoliday


@lru_cache(maxsize=4096)
def public_holidays(country: str, region: str | None = None) -> IsHoliday:
    """Tell the public holidays of a country, and of a region where it names one of the country's.

    `region`: as an address says it: `CA`, `US-CA`, `California`. What is none there is ignored, and
    so is a country that the library does not know: it has no holidays then.
    """
    part = _subdivision(country, region)

    def is_holiday(day: date) -> bool:
        return day in _of_year(country, part, day.year)

    return is_holiday


def _subdivision(country: str, region: str | None) -> str | None:
    """The library's code of a region."""
    if region is None or not region.strip():
        return None
    said = region.strip().upper().removeprefix(f"{country}-")
    return _subdivisions(country).get(said)


@cache
def _subdivisions(country: str) -> dict[str, str]:
    """The codes of a country's regions, by code and by name, in capitals."""
    try:
        known = holidays.country_holidays(country, years=())
    except NotImplementedError:
        return {}
    names = {name.upper(): code for name, code in known.subdivisions_aliases.items()}
    return names | {code.upper(): code for code in known.subdivisions}


@lru_cache(maxsize=4096)
def _of_year(country: str, part: str | None, year: int) -> frozenset[date]:
    try:
        return frozenset(holidays.country_holidays(country, subdiv=part, years=year))
    except NotImplementedError:
        return frozenset()
