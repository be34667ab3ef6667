"""Who may ask, and what was asked or reported: each is answered once."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import BIGINT, BYTEA, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, of_order, texts, when


class ApiKeyRow(SQLModel, table=True):
    """A credential, kept as the SHA-256 of the key. `channels`/`locations` `{*}` reach all."""

    __tablename__ = "api_keys"
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    hash: bytes = Field(sa_column=Column(BYTEA, nullable=False, unique=True))
    role: str
    channels: list[str] = Field(sa_column=texts())
    locations: list[str] = Field(sa_column=texts())
    created_at: datetime = Field(sa_column=when(nullable=False))
    revoked_at: datetime | None = Field(default=None, sa_column=when())


class IdempotencyRow(SQLModel, table=True):
    """A claimed request: in flight while `status_code` is null, else its first answer.

    `order_number` is set in the transaction that stores an order, so that a request cut off
    after it can be finished instead of repeated.
    """

    __tablename__ = "idempotency_keys"
    credential: str = Field(sa_column=Column(TEXT, primary_key=True))
    key: str = Field(sa_column=Column(TEXT, primary_key=True))
    request_hash: bytes = Field(sa_column=Column(BYTEA, nullable=False))
    claimed_at: datetime = Field(sa_column=when(nullable=False))
    order_number: str | None = None
    status_code: int | None = None
    headers: dict[str, str] | None = Field(default=None, sa_column=as_json(nullable=True))
    body: str | None = Field(default=None, sa_column=Column(TEXT))


class CommandRow(SQLModel, table=True):
    """A command that was decided, and its answer: the same command again is answered the same."""

    __tablename__ = "commands"
    order_number: str = Field(sa_column=of_order(primary_key=True))
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    result: dict[str, Any] = Field(sa_column=as_json())
    at: datetime = Field(sa_column=when(nullable=False))


class InboundRow(SQLModel, table=True):
    """A verified webhook, stored before it is answered and processed after.

    `outcome`: null while waiting, else applied, ignored (old news, unknown) or dead (did not fit
    for too long). `not_before`: when to try again what does not fit yet.
    """

    __tablename__ = "inbound_events"
    __table_args__ = (
        UniqueConstraint("party", "source", "event_id", name="inbound_once"),
        Index("inbound_waiting", "not_before", postgresql_where=text("outcome IS NULL")),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    party: str
    source: str
    event_id: str
    body: dict[str, Any] = Field(sa_column=as_json())
    received_at: datetime = Field(sa_column=when(nullable=False))
    not_before: datetime = Field(sa_column=when(nullable=False))
    tries: int = 0
    processed_at: datetime | None = Field(default=None, sa_column=when())
    outcome: str | None = None
    detail: str | None = None
