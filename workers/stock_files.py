"""Files of stock: CSV or JSON Lines, plain or `.gz`, read strictly, each error with its line.

A row has `sku`, `location` (unless the whole import is of one), and `on_hand` or `delta`, and with
the latter perhaps a `reason`. Columns that mean nothing here are refused, not dropped.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from oms.fields import ID_PATTERN

Json = dict[str, Any]

MAX_UNITS = 10**9
_FIELDS = ("sku", "location", "on_hand", "delta", "reason")
_ID = re.compile(ID_PATTERN)
_NUMBER = re.compile(r"-?\d{1,12}", re.ASCII)


class LineError(NamedTuple):
    """What is wrong in one line."""

    line: int
    field: str
    code: str
    detail: str


@dataclass
class StockFile:
    """A file as it was read: rows with the lines they stand in, and all that is wrong.

    `content`: the hash of what is in it, however it was compressed.
    """

    rows: list[Json] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    content: str = ""

    @property
    def has_deltas(self) -> bool:
        """Whether it holds corrections, as its first row tells."""
        return bool(self.rows) and "delta" in self.rows[0]

    @property
    def locations(self) -> set[str]:
        """The places it names."""
        return {row["location"] for row in self.rows if "location" in row}


def read_stock(path: Path) -> StockFile:
    """Read a file of stock.

    Raises:
        OSError: it cannot be read.
    """
    read = StockFile()
    try:
        with _open(path) as text:
            whole = text.read()
    except (EOFError, zlib.error) as fault:
        raise OSError(f"damaged: {fault}") from fault
    read.content = hashlib.sha256(whole.encode(errors="replace")).hexdigest()
    is_json = whole.lstrip()[:1] in ("{", "[")
    for line, found in (_json_rows if is_json else _csv_rows)(io.StringIO(whole, newline="")):
        row, errors = _row(line, found) if isinstance(found, dict) else ({}, [found])
        read.errors += errors
        read.rows.append(row)
        read.lines.append(line)
    return read


def check(read: StockFile, kind: str, location: str | None) -> list[LineError]:
    """Give all that is wrong with a file as an import of this kind, by line."""
    errors = list(read.errors)
    if not read.rows:
        # An export that went wrong looks like this, and a snapshot of it would empty a place.
        errors.append(LineError(1, "", "empty", "There are no rows."))
    wanted, other = ("delta", "on_hand") if kind == "deltas" else ("on_hand", "delta")
    first_at: dict[tuple[str, str], int] = {}
    for line, row in zip(read.lines, read.rows, strict=True):
        if "sku" not in row:
            continue  # said already
        if wanted not in row and not any(e.line == line for e in read.errors):
            errors.append(LineError(line, wanted, "required", f"Rows of {kind} have it."))
        if other in row:
            errors.append(LineError(line, other, "not_allowed", f"Rows of {kind} have none."))
        if "reason" in row and kind != "deltas":
            errors.append(LineError(line, "reason", "not_allowed", "A count needs no reason."))
        place = row.get("location", location)
        if place is None:
            errors.append(LineError(line, "location", "required", "Name it, or give --location."))
            continue
        if location not in (None, place):
            errors.append(LineError(line, "location", "not_allowed", f"Not of {location}."))
        first = first_at.setdefault((row["sku"], place), line)
        if first != line:
            detail = f"Line {first} names the same article at the same place."
            errors.append(LineError(line, "sku", "repeated", detail))
    return sorted(errors)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _csv_rows(text: Iterable[str]) -> Iterator[tuple[int, Json | LineError]]:
    rows = csv.DictReader(text, restkey="", strict=True)
    try:
        unknown = [name for name in rows.fieldnames or () if name not in _FIELDS]
        if unknown or "sku" not in (rows.fieldnames or ()):
            detail = (
                f"The first line names {', '.join(_FIELDS)}; not {', '.join(unknown) or 'sku'}."
            )
            yield 1, LineError(1, "", "unknown_field" if unknown else "required", detail)
            return
        for row in rows:
            if "" in row or None in row.values():
                detail = "Its cells are not those of the first line."
                yield rows.line_num, LineError(rows.line_num, "", "malformed", detail)
            else:
                yield rows.line_num, {name: cell for name, cell in row.items() if cell != ""}
    except csv.Error as fault:
        yield rows.line_num, LineError(rows.line_num, "", "malformed", str(fault))


def _json_rows(text: Iterable[str]) -> Iterator[tuple[int, Json | LineError]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as fault:
            yield number, LineError(number, "", "malformed", str(fault))
            continue
        unknown = sorted(row.keys() - set(_FIELDS)) if isinstance(row, dict) else []
        if not isinstance(row, dict):
            yield number, LineError(number, "", "wrong_type", "Not an object.")
        elif unknown:
            yield number, LineError(number, unknown[0], "unknown_field", "There is no such field.")
        else:
            yield number, {name: value for name, value in row.items() if value is not None}


def _row(line: int, found: Json) -> tuple[Json, list[LineError]]:
    """Check each field; a row with an error keeps only what is right of it."""
    row: Json = {}
    errors = []
    if "sku" not in found:
        errors.append(LineError(line, "sku", "required", "A row is about an article."))
    for name, value in found.items():
        said = _wrong(name, value)
        if said:
            errors.append(LineError(line, name, *said))
        else:
            row[name] = int(value) if name in ("on_hand", "delta") else value
    return row, errors


def _wrong(name: str, value: Any) -> tuple[str, str] | None:
    if name in ("on_hand", "delta"):
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
            return "wrong_type", f"{value!r} is no whole number."
        if abs(int(value)) > MAX_UNITS or (name == "on_hand" and int(value) < 0):
            return "out_of_range", f"{value} is not from 0 to {MAX_UNITS}."
    elif name == "reason":
        # Where the file was no UTF-8, a sign stands that says so.
        is_text = isinstance(value, str) and value.isprintable() and "\ufffd" not in value
        if not is_text or not 1 <= len(value) <= 255:
            return "not_allowed", "1 to 255 printable characters are wanted."
    elif not (isinstance(value, str) and _ID.fullmatch(value)):
        return "not_allowed", f"{value!r} is no id."
    return None
