"""What the outside remembers: its books, and the work that outlives a restart."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, party TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL,
    reference TEXT NOT NULL, amount_minor INTEGER, currency TEXT, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entries_of ON entries (party, reference);
CREATE TABLE IF NOT EXISTS answers (
    party TEXT NOT NULL, key TEXT NOT NULL, operation TEXT NOT NULL, request TEXT NOT NULL,
    answer TEXT NOT NULL, PRIMARY KEY (party, key));
CREATE TABLE IF NOT EXISTS authorizations (
    id TEXT PRIMARY KEY, reference TEXT NOT NULL, token TEXT NOT NULL, currency TEXT NOT NULL,
    authorized INTEGER NOT NULL, captured INTEGER NOT NULL DEFAULT 0,
    voided INTEGER NOT NULL DEFAULT 0, refunded INTEGER NOT NULL DEFAULT 0,
    CHECK (captured + voided <= authorized), CHECK (refunded <= captured), CHECK (refunded >= 0));
CREATE TABLE IF NOT EXISTS settlements (key TEXT PRIMARY KEY, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (
    tracking_number TEXT PRIMARY KEY, reference TEXT NOT NULL, fulfillment_order TEXT NOT NULL,
    known INTEGER NOT NULL DEFAULT 0, scripted INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS parcels_of ON parcels (fulfillment_order);
CREATE TABLE IF NOT EXISTS scans (
    seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, tracking_number TEXT NOT NULL,
    status TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS scans_of ON scans (tracking_number);
CREATE TABLE IF NOT EXISTS offers (
    fulfillment_order TEXT PRIMARY KEY, location TEXT NOT NULL, reference TEXT NOT NULL,
    method TEXT NOT NULL, lines TEXT NOT NULL, stage TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cancellations (
    key TEXT PRIMARY KEY, fulfillment_order TEXT NOT NULL, location TEXT NOT NULL,
    accepted INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS behaviours (location TEXT PRIMARY KEY, behaviour TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, party TEXT NOT NULL, stream TEXT NOT NULL,
    path TEXT NOT NULL, body TEXT NOT NULL);
"""


def now() -> str:
    """Give the real time in UTC, as RFC 3339."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Store:
    """One SQLite file, or memory. Every effect is one transaction; nothing awaits inside one."""

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False
        )
        self._db.row_factory = sqlite3.Row
        # Survives a killed process; only a power cut may take the last entries.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def tx(self) -> Iterator[None]:
        """All or nothing. Joins the transaction that is open already."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def run(self, sql: str, *args: object) -> None:
        """Run one statement."""
        self._db.execute(sql, args)

    def all(self, sql: str, *args: object) -> list[Row]:
        """Give all rows as dictionaries."""
        return [dict(row) for row in self._db.execute(sql, args)]

    def one(self, sql: str, *args: object) -> Row | None:
        """Give the first row, or None."""
        return next(iter(self.all(sql, *args)), None)

    def enter(
        self,
        party: str,
        key: str,
        kind: str,
        reference: str,
        *,
        amount_minor: int | None = None,
        currency: str | None = None,
    ) -> None:
        """Write an effect into the books; entries are never changed."""
        self.run(
            "INSERT INTO entries (party, key, kind, reference, amount_minor, currency, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            party,
            key,
            kind,
            reference,
            amount_minor,
            currency,
            now(),
        )

    def books(self, party: str, reference: str | None = None) -> list[Row]:
        """Give a party's entries, oldest first."""
        return self.all(
            "SELECT key, kind, reference, amount_minor, currency, at FROM entries"
            " WHERE party = ? AND (? IS NULL OR reference = ?) ORDER BY seq",
            party,
            reference,
            reference,
        )

    def remember(
        self, party: str, key: str, operation: str, request: Row, answer: dict[str, object]
    ) -> None:
        """Keep what was answered under a key, so that a repeat is answered the same."""
        self.run(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
            party,
            key,
            operation,
            json.dumps(request, sort_keys=True),
            json.dumps(answer),
        )

    def answered(self, party: str, key: str) -> Row | None:
        """Give `operation`, `request` and `answer` of a key used before."""
        row = self.one("SELECT * FROM answers WHERE party = ? AND key = ?", party, key)
        if row is None:
            return None
        return row | {"request": json.loads(row["request"]), "answer": json.loads(row["answer"])}
