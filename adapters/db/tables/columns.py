"""Columns that many tables have."""

from typing import Any

from sqlalchemy import Column, DateTime, ForeignKey, text
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, JSONB, TEXT


def when(*, nullable: bool = True) -> Any:
    """A moment, with its zone."""
    return Column(DateTime(timezone=True), nullable=nullable)


def as_json(*, nullable: bool = False) -> Any:
    """A document, as `oms` writes it."""
    return Column(JSONB, nullable=nullable)


def texts() -> Any:
    """Texts, none at first."""
    return Column(ARRAY(TEXT), nullable=False, server_default=text("'{}'"))


def transaction() -> Any:
    """The number of the transaction that writes the row, as PostgreSQL counts them for good."""
    current = text("pg_current_xact_id()::text::bigint")
    return Column(BIGINT, nullable=False, server_default=current)


def no_units() -> Any:
    """Units of an article, none at first."""
    return Column(BIGINT, nullable=False, server_default="0")


def of_order(*, primary_key: bool = False, nullable: bool = False, index: bool = False) -> Any:
    """The number of the order that the row belongs to."""
    return Column(
        TEXT,
        ForeignKey("orders.number"),
        primary_key=primary_key,
        nullable=nullable,
        index=index,
    )
