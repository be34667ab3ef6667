"""Counts that arrive as files: the file, its parts, its rows, and what was noted."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import BIGINT, BYTEA, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import when


class StockImportRow(SQLModel, table=True):
    """A file of counts or corrections, staged in parts and applied once and whole.

    `scope` is empty for operators, else the credential whose references these are. `state`: `open`
    while parts come, then `applied`, or `refused` until it is opened again. Counts say what was
    there at `taken_at`. What was applied is in the ledger under `count:{id}` or `delta:{id}`;
    `moved` is how many places that are.
    """

    __tablename__ = "stock_imports"
    __table_args__ = (
        UniqueConstraint("scope", "reference", name="import_reference_once"),
        CheckConstraint("kind IN ('snapshot', 'counts', 'deltas')", name="import_kind"),
        CheckConstraint("missing IN ('report', 'zero')", name="import_missing"),
        CheckConstraint("state IN ('open', 'applied', 'refused')", name="import_state"),
        CheckConstraint(
            "(kind = 'snapshot') <= (location IS NOT NULL)", name="snapshot_of_a_location"
        ),
        Index("imports_by_age", "opened_at", "id"),
        Index("imports_counted", "taken_at", postgresql_where=text("state = 'applied'")),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    scope: str
    reference: str
    kind: str
    location: str | None = None
    taken_at: datetime = Field(sa_column=when(nullable=False))
    missing: str = "report"
    state: str = "open"
    opened_at: datetime = Field(sa_column=when(nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=when())
    moved: int | None = None
    unchanged: int | None = None
    superseded: int | None = None
    vanished: int | None = None
    units_added: int | None = Field(default=None, sa_column=Column(BIGINT))
    units_removed: int | None = Field(default=None, sa_column=Column(BIGINT))
    errors: int | None = None
    version: int = 1


class StockImportPartRow(SQLModel, table=True):
    """A part of an import that has come, known by the hash of its content."""

    __tablename__ = "stock_import_parts"
    import_id: str = Field(sa_column=Column(TEXT, ForeignKey("stock_imports.id"), primary_key=True))
    part: int = Field(primary_key=True)
    hash: bytes = Field(sa_column=Column(BYTEA, nullable=False))
    rows: int


class StockImportStagedRow(SQLModel, table=True):
    """A row as it was sent. `units`: on hand, or the correction.

    No foreign key: a hundred thousand rows are copied at once, after the part that names them.
    """

    __tablename__ = "stock_import_rows"
    import_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    part: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    sku: str
    location: str
    units: int = Field(sa_column=Column(BIGINT, nullable=False))
    reason: str | None = None


class StockImportNoteRow(SQLModel, table=True):
    """What is to be said of a row beside its movement: why it is refused, or has no effect.

    `vanished`: an article with stock that a snapshot does not name; it follows all parts.
    """

    __tablename__ = "stock_import_notes"
    __table_args__ = (
        CheckConstraint("outcome IN ('refused', 'superseded', 'vanished')", name="note_outcome"),
    )
    import_id: str = Field(sa_column=Column(TEXT, primary_key=True))
    part: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    code: str = Field(sa_column=Column(TEXT, primary_key=True))
    outcome: str
    sku: str
    location: str
    field: str | None = None
    detail: str
