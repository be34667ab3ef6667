"""What happened, what waits for a person, what runs are owed, and what the whole is at."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Integer
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, of_order, texts, when


class EventRow(SQLModel, table=True):
    """What happened, in words and data: the timeline, and the outbox of later webhooks.

    `seq` numbers an order's events without gaps. `kind` is an event name of the API where it has
    one, e.g. `order.placed`. No personal data.
    """

    __tablename__ = "events"
    order_number: str = Field(sa_column=of_order(primary_key=True))
    seq: int = Field(primary_key=True)
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str
    kind: str
    summary: str
    data: dict[str, Any] = Field(sa_column=as_json())


class ParkedStepRow(SQLModel, table=True):
    """A step that waits for a person, or for the other side to come back.

    `workflow_id`: the run to resolve it in. `heals_at`: when it is tried again by itself, if so.
    `actions`: what an operator may choose.
    """

    __tablename__ = "parked_steps"
    order_number: str = Field(sa_column=of_order(primary_key=True))
    step: str = Field(sa_column=Column(TEXT, primary_key=True))
    workflow_id: str
    since: datetime = Field(sa_column=when(nullable=False))
    heals_at: datetime | None = Field(default=None, sa_column=when())
    error_code: str
    last_error: str
    actions: list[str] = Field(sa_column=texts())


class NudgeRow(SQLModel, table=True):
    """A `changed` signal owed to a workflow, written with the change itself."""

    __tablename__ = "nudges"
    id: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    workflow_id: str
    reason: str
    at: datetime = Field(sa_column=when(nullable=False))


class SystemStateRow(SQLModel, table=True):
    """What the whole system is at: one row, or none while it has never been anything but normal.

    `mode`: `normal` or `reconciling`. `moment`: of the books that were restored; what the outside
    did after it is not in them. `since`: when the mode was set; `reason`: why. `report`: what the
    latest reconciliation found.
    """

    __tablename__ = "system_state"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_system_state"),
        CheckConstraint("mode IN ('normal', 'reconciling')", name="system_mode"),
    )
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    mode: str
    moment: datetime | None = Field(default=None, sa_column=when())
    since: datetime = Field(sa_column=when(nullable=False))
    reason: str
    report: dict[str, Any] | None = Field(default=None, sa_column=as_json(nullable=True))
