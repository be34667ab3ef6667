"""By which rules a place was chosen, what it was chosen from, and what leaves one again."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    text,
)
from sqlalchemy.dialects.postgresql import BIGINT, TEXT
from sqlmodel import Field, SQLModel

from adapters.db.tables.columns import as_json, of_order, when

_UNDER_WAY = text("status IN ('running', 'paused')")


class RuleSetRow(SQLModel, table=True):
    """A version of a routing rule set, kept as data. At most one version of all is active."""

    __tablename__ = "rule_sets"
    __table_args__ = (
        Index("one_active_rule_set", "active", unique=True, postgresql_where=text("active")),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    version: int = Field(primary_key=True)
    document: dict[str, Any] = Field(sa_column=as_json())
    active: bool = False
    created_at: datetime = Field(sa_column=when(nullable=False))


class RuleSetActivationRow(SQLModel, table=True):
    """From `at` on this version routes; without a rule set, the default does. Only grows."""

    __tablename__ = "rule_set_activations"
    __table_args__ = (
        ForeignKeyConstraint(["rule_set", "version"], ["rule_sets.id", "rule_sets.version"]),
    )
    seq: int | None = Field(
        default=None, sa_column=Column(BIGINT, primary_key=True, autoincrement=True)
    )
    at: datetime = Field(sa_column=when(nullable=False))
    actor: str = Field(sa_column=Column(TEXT, nullable=False))
    rule_set: str | None = Field(default=None, sa_column=Column(TEXT))
    version: int | None = None


class RoutingDecisionRow(SQLModel, table=True):
    """Why an order is served from where it is; `document` is an `oms.reasons.Record`.

    `cause`: reserve, source_again, reroute, release, route_again. `rule_set` null: the default one.
    """

    __tablename__ = "routing_decisions"
    order_number: str = Field(sa_column=of_order(primary_key=True))
    seq: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=when(nullable=False))
    cause: str = Field(sa_column=Column(TEXT, nullable=False))
    rule_set: str | None = Field(default=None, sa_column=Column(TEXT))
    version: int | None = None
    document: dict[str, Any] = Field(sa_column=as_json())


class RerouteRow(SQLModel, table=True):
    """Orders that are to be served from elsewhere: a place was closed, or an article recalled.

    `kind`: location, sku (then `location` is null for everywhere). `status`: running, paused, done,
    cancelled. What is left to do is read from the orders. `touched_at`: when its process last
    looked; null before it began.
    """

    __tablename__ = "reroutes"
    __table_args__ = (
        CheckConstraint("kind IN ('location', 'sku')", name="reroute_kind"),
        CheckConstraint(
            "status IN ('running', 'paused', 'done', 'cancelled')", name="reroute_status"
        ),
        Index(
            "one_reroute_at_a_time",
            "kind",
            text("coalesce(location, '')"),
            text("coalesce(sku, '')"),
            unique=True,
            postgresql_where=_UNDER_WAY,
        ),
        Index("reroutes_under_way", "touched_at", postgresql_where=_UNDER_WAY),
        Index("reroutes_by_age", "at", "id"),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    kind: str
    location: str | None = None
    sku: str | None = None
    reason: str
    status: str = "running"
    actor: str
    at: datetime = Field(sa_column=when(nullable=False))
    touched_at: datetime | None = Field(default=None, sa_column=when())
    ended_at: datetime | None = Field(default=None, sa_column=when())
    version: int = 1


class RerouteOrderRow(SQLModel, table=True):
    """What became of one order. `outcome` as in `oms.rerouting`; `tries`: of one that failed."""

    __tablename__ = "reroute_orders"
    __table_args__ = (Index("reroute_orders_by_outcome", "reroute", "outcome", "order_number"),)
    reroute: str = Field(sa_column=Column(TEXT, ForeignKey("reroutes.id"), primary_key=True))
    order_number: str = Field(sa_column=of_order(primary_key=True))
    outcome: str
    detail: str
    tries: int = 1
    at: datetime = Field(sa_column=when(nullable=False))


class TurnedDownRow(SQLModel, table=True):
    """A location that will not be offered this order line again, and why."""

    __tablename__ = "turned_down"
    order_number: str = Field(sa_column=of_order(primary_key=True))
    line: int = Field(primary_key=True)
    location: str = Field(primary_key=True)
    reason: str
    at: datetime = Field(sa_column=when(nullable=False))
