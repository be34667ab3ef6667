"""Goods that come back: a return, what was announced, what arrived, and what became of it.

The models mirror what is stored; a return's status is derived from them and never stored.
Quantities are units, money is minor units of the order's currency.
"""

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Literal

from oms.return_policy import Condition, Disposition, Moment
from oms.stored import Stored

Kind = Literal["return", "claim", "undeliverable"]
"""`claim`: paid or replaced without sending back. `undeliverable`: a parcel that turned round."""

Resolution = Literal["refund", "exchange"]
Refused = Literal["send_back", "dispose"]


HELD, LEAVING, LEAVES, CALLED_OFF = "held", "leaving", "leaves", "called_off"
"""How it stands with the exchange order; None until it is confirmed.

`leaving`: decided, and not known to be done: from here on the return cannot be called off.
"""


class ReturnStatus(StrEnum):
    """Where a return stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DECLINED = "declined"
    IN_TRANSIT = "in_transit"
    PARTIALLY_RECEIVED = "partially_received"
    RECEIVED = "received"
    INSPECTED = "inspected"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Terms(Stored):
    """What was agreed when the return was asked for: the policy may change, this does not.

    `fee_minor`: deducted from what is given back, once. `shipping_minor`: what of the outbound way
    is given back beside the goods, once an order: if all announced units are, or, where it is
    `shipping_whole`, with the last units of all that the order's customer kept.
    """

    refund_at: Moment = "inspection"
    fee_minor: int = 0
    shipping_minor: int = 0
    shipping_whole: bool = False
    refused: Refused = "send_back"
    exchange_ships: Literal["at_once", "scan", "receipt", "inspection"] = "inspection"
    refund_unseen: tuple[Condition, ...] = ("as_new", "opened")
    inspect_hours: int = 48
    receive_days: int = 21


class ReturnLine(Stored):
    """Units of one order line that come back.

    `quantity`: announced, `extra` of them only by arriving. `missing`: announced, and not in the
    parcel. `settled`: units whose value was given back, or carried over to an exchange;
    `refunded`: those of them that money was asked back for. Of an exchange: the article that is
    wanted instead, its line in the exchange order, what of the line's value that order takes over,
    and units of it that were cancelled, so that money is due for theirs if they came back.
    `condition`: as the till saw what was brought to it.
    """

    line: int
    sku: str
    quantity: int
    extra: int = 0
    reason: str
    received: int = 0
    missing: int = 0
    settled: int = 0
    refunded: int = 0
    exchange_sku: str | None = None
    exchange_line: int | None = None
    condition: Condition | None = None
    carried_minor: int = 0
    exchange_cancelled: int = 0

    @property
    def exchanged(self) -> int:
        """Units that the exchange order replaces: those announced, less what it cancelled."""
        return self.quantity - self.extra - self.exchange_cancelled

    @property
    def expected(self) -> int:
        """Units still to arrive."""
        return max(0, self.quantity - self.received - self.missing)


LotState = Literal["received", "accepted", "rejected", "placed", "left"]


class Lot(Stored):
    """Units that arrived together, of one line and in one condition, at one location.

    `received` → `accepted` → `placed` (put where its `disposition` says, once), or `rejected` →
    `left` (sent back to the customer, or disposed of). `sku`: what really lies there. `why`: what
    decided its disposition. A part that goes another way is split off first.
    """

    id: int
    line: int
    sku: str
    condition: Condition
    location: str
    quantity: int
    state: LotState = "received"
    disposition: Disposition | None = None
    at: datetime
    placed_at: datetime | None = None
    transfer: str | None = None
    why: str | None = None

    @property
    def is_sold_article(self) -> bool:
        """Whether what lies there is what was sold."""
        return self.condition != "wrong_item"

    @property
    def may_be_refunded(self) -> bool:
        """Whether somebody looked at it and took it."""
        return self.state in ("accepted", "placed")


TROUBLED_RETURN_PARCELS = ("lost", "damaged", "returned_to_sender")
GIVEN_UP = "given_up"
"""Of a return's parcel that nobody waits for any longer."""


class ReturnParcel(Stored):
    """A parcel on its way back; `out`: refused goods on their way to the customer again."""

    id: str
    seq: int
    direction: Literal["in", "out"] = "in"
    carrier: str | None = None
    tracking_number: str | None = None
    tracking_url: str | None = None
    label_attempt: int = 1
    weight_g: int
    status: str = "created"
    scanned_at: datetime | None = None
    last_heard_at: datetime | None = None
    last_asked_at: datetime | None = None

    @property
    def short_id(self) -> str:
        """`R1-P1`, as steps and people call it."""
        return "-".join(self.id.split("-")[-2:])


class Return(Stored):
    """One return of one order. See `adapters.db.tables.returns` for the words."""

    id: str
    seq: int
    kind: Kind
    via: str
    resolution: Resolution
    location: str | None
    policy_version: int = 0
    terms: Terms
    refund_minor: int
    fee_left_minor: int = 0
    requested_at: datetime
    approved_at: datetime | None = None
    declined_at: datetime | None = None
    cancelled_at: datetime | None = None
    expired_at: datetime | None = None
    closed_at: datetime | None = None
    started_at: datetime | None = None
    remind_at: datetime | None = None
    reminded_at: datetime | None = None
    expire_at: datetime | None = None
    receive_by: datetime | None = None
    inspect_by: datetime | None = None
    scanned_at: datetime | None = None
    received_at: datetime | None = None
    loss_at: datetime | None = None
    exchange_order: str | None = None
    exchange_told: str | None = None
    shipment: str | None = None
    leader: str | None = None
    version: int = 1
    lines: tuple[ReturnLine, ...]
    lots: tuple[Lot, ...] = ()
    parcels: tuple[ReturnParcel, ...] = ()

    @property
    def short_id(self) -> str:
        """`R1`, as steps and people call it."""
        return f"R{self.seq}"

    @property
    def brings_goods(self) -> bool:
        """Whether a customer sends something back: claims do not, nor do undelivered parcels."""
        return self.kind == "return"

    @property
    def fell_away(self) -> bool:
        """Declined, called off, or never sent: its units may be sent back after all."""
        return any((self.declined_at, self.cancelled_at, self.expired_at))

    @property
    def is_live(self) -> bool:
        """Neither ended nor fallen away."""
        return self.closed_at is None and not self.fell_away

    def line(self, line: int) -> ReturnLine | None:
        """What comes back of an order line."""
        return next((each for each in self.lines if each.line == line), None)

    def takes_of(self, line: int) -> int:
        """Units of an order line that the customer does not have because of it, or will not.

        What was refused and left for the customer is theirs again, unless it was paid or replaced.
        """
        found = self.line(line)
        if found is None or not self.brings_goods:
            return self.speaks_for(line)
        left = self.exchange_told in (LEAVING, LEAVES)
        given = max(found.settled, found.exchanged if left else 0)
        return max(given, self.speaks_for(line) - self.handed_back(line))

    def handed_back(self, line: int) -> int:
        """Units that were refused and left for the customer again."""
        kept = "dispose" if self.terms.refused == "dispose" else None
        lots = (lot for lot in self.lots_of(line) if lot.state == "left")
        return sum(lot.quantity for lot in lots if kept is None or lot.disposition != kept)

    def speaks_for(self, line: int) -> int:
        """Units of an order line that it is about: announced and not missing, or arrived."""
        found = self.line(line)
        if found is None or self.kind == "undeliverable":
            return 0
        if self.kind == "claim":
            return 0 if self.fell_away else found.quantity
        if self.closed_at is not None or self.fell_away:
            return max(found.received, found.settled)
        return max(found.received, found.quantity - found.missing)

    def speaks_beyond_arrived(self, line: int) -> int:
        """Units of an order line that it speaks for and that have not arrived."""
        found = self.line(line)
        return 0 if found is None else max(0, self.speaks_for(line) - found.received)

    def coming(self) -> Counter[tuple[str, str]]:
        """Units on their way to a shelf, by article and location: expected, or not put away yet."""
        units: Counter[tuple[str, str]] = Counter()
        for lot in self.lots:
            if lot.state in ("received", "accepted") and lot.is_sold_article:
                units[lot.sku, lot.location] += lot.quantity
        expects = self.is_live and self.approved_at is not None and self.loss_at is None
        if expects and self.kind != "claim" and self.location is not None:
            for line in self.lines:
                units[line.sku, self.location] += line.expected
        return +units

    def lots_of(self, line: int) -> tuple[Lot, ...]:
        """What arrived of an order line."""
        return tuple(lot for lot in self.lots if lot.line == line)

    @property
    def has_arrived(self) -> bool:
        """Whether anything was received, or found missing."""
        return bool(self.lots) or any(line.missing for line in self.lines)

    @property
    def all_arrived(self) -> bool:
        """Whether nothing more is expected."""
        return self.has_arrived and not any(line.expected for line in self.lines)

    @property
    def all_inspected(self) -> bool:
        """Whether somebody decided about everything that arrived."""
        return self.has_arrived and all(lot.state != "received" for lot in self.lots)

    @property
    def status(self) -> ReturnStatus:
        """Where it stands, derived."""
        for at, word in (
            (self.declined_at, ReturnStatus.DECLINED),
            (self.cancelled_at, ReturnStatus.CANCELLED),
            (self.expired_at, ReturnStatus.EXPIRED),
            (self.closed_at, ReturnStatus.CLOSED),
        ):
            if at is not None:
                return word
        if self.approved_at is None:
            return ReturnStatus.REQUESTED
        if self.has_arrived:
            if not self.all_arrived:
                return ReturnStatus.PARTIALLY_RECEIVED
            return ReturnStatus.INSPECTED if self.all_inspected else ReturnStatus.RECEIVED
        return ReturnStatus.APPROVED if self.scanned_at is None else ReturnStatus.IN_TRANSIT
