"""A retailer read from files: `oms demo --data DIR`.

`DIR` holds `locations.jsonl`, `products.jsonl`, `stock.csv`, `orders.jsonl` and `postal_codes.csv`,
each plain or compressed (`.gz`). Lines of `orders.jsonl` are `{"at", "order"}`, the order as
`POST /v1/orders` takes it. Fields the API does not know are dropped, and named at the end.
`returns.jsonl`, if there is one, says what came back: `{"reference", "line", "quantity"}`, with the
reference of an order, or null for what was never sold.
"""

import csv
import gzip
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

from workers.demo.catalogue import Catalogue, Json, StockRow

LOCATION_FIELDS = frozenset({
    "name", "kind", "address", "latitude", "longitude", "time_zone", "cutoff", "opening_hours",
    "serves", "channels", "groups", "daily_capacity", "handling_minor", "currency", "active",
})  # fmt: skip
PRODUCT_FIELDS = frozenset({
    "name", "gtin", "weight_g", "dimensions_mm", "tags", "sellable", "image_url",
})  # fmt: skip

_DAYS = {
    "mon": "mon", "tue": "tue", "wed": "wed", "thu": "thu", "thurs": "thu", "fri": "fri",
    "sat": "sat", "sun": "sun",
}  # fmt: skip
_HOURS = re.compile(r"(\w+):\s*(\d{1,2})(?::(\d{2}))?\s*-\s*(\d{1,2})(?::(\d{2}))?")


class DataMissing(Exception):
    """The directory lacks a file, or a file cannot be read as what its name says."""


def read_retailer(directory: Path, *, orders: int) -> Catalogue:
    """Read a retailer and the first `orders` of its orders.

    Raises:
        DataMissing: a file is missing or broken; the message names it and the line.
    """
    dropped: set[str] = set()
    try:
        placed = tuple(line["order"] for line in islice(_rows(directory, "orders.jsonl"), orders))
        channels = {order["channel"]: order["channel"] for order in placed}
    except KeyError as fault:
        raise DataMissing(f"orders.jsonl: an order lacks {fault}") from fault
    return Catalogue(
        channels=channels,
        locations={
            row.pop("id"): _known(_with_opening_hours(row), LOCATION_FIELDS, dropped)
            for row in _rows(directory, "locations.jsonl")
        },
        products={
            row.pop("sku"): _known(row, PRODUCT_FIELDS, dropped)
            for row in _rows(directory, "products.jsonl")
        },
        stock=tuple(_stock(directory)),
        orders=placed,
        postal_table=_find(directory, "postal_codes.csv"),
        returns=tuple(_returns(directory)),
        dropped=frozenset(dropped),
    )


def opening_hours(written: str) -> dict[str, list[str]] | None:
    """Read hours as shops write them, `Mon: 10-9; Sun: 11-8`, or None where that cannot be done.

    Shops open in the morning or at noon and close after noon, so no "pm" is needed to tell.
    """
    hours: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, written.split(";"))):
        match = _HOURS.fullmatch(part)
        day = _DAYS.get(match[1].lower()) if match else None
        if match is None or day is None:
            return None
        opens, closes = int(match[2]), int(match[4]) + 12
        if not (1 <= opens <= 12 and opens < closes <= 23):
            return None
        hours[day] = [f"{opens:02d}:{match[3] or '00'}", f"{closes:02d}:{match[5] or '00'}"]
    return hours or None


def _with_opening_hours(location: Json) -> Json:
    written = location.pop("hours", None)
    hours = opening_hours(written) if isinstance(written, str) else None
    return location | {"opening_hours": hours} if hours else location


def _known(row: Json, fields: frozenset[str], dropped: set[str]) -> Json:
    dropped.update(row.keys() - fields)
    return {key: value for key, value in row.items() if key in fields}


def _stock(directory: Path) -> Iterator[StockRow]:
    path = _find(directory, "stock.csv")
    with _open(path) as text:
        rows = csv.DictReader(text, restval="")
        for row in rows:
            try:
                yield StockRow(row["sku"], row["location"], int(row["on_hand"]))
            except (KeyError, ValueError) as fault:
                raise DataMissing(f"{path.name}, line {rows.line_num}: {fault!r}") from fault


def _returns(directory: Path) -> Iterator[Json]:
    """What came back, if the retailer says so: `{"reference", "line", "quantity"}` a line."""
    if any((directory / f"returns.jsonl{end}").is_file() for end in ("", ".gz")):
        for number, row in enumerate(_rows(directory, "returns.jsonl"), start=1):
            if not {"reference", "quantity"} <= row.keys():
                raise DataMissing(f"returns.jsonl, line {number}: reference or quantity is missing")
            yield row


def _rows(directory: Path, name: str) -> Iterator[Json]:
    path = _find(directory, name)
    with _open(path) as text:
        for number, line in enumerate(text, start=1):
            try:
                yield json.loads(line)
            except ValueError as fault:
                raise DataMissing(f"{path.name}, line {number}: {fault}") from fault


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataMissing(f"{directory} holds neither {name} nor {name}.gz")


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")
