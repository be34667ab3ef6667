"""The merchant's rules for goods that come back, as data: one document, versioned.

What may be sent back and until when, what is given back and at which moment, and where goods go
that came back. Amounts are minor units of the policy's currency; orders in another currency pay no
fee. The first rule that fits a line gives its terms; the first restock rule that fits a unit says
what becomes of it. Without a stored policy the usual one stands (`USUAL`), as version 0.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field

from oms.fields import Currency, Id, Wire, Words
from oms.rules import Countries, Ids, Kinds, Minor, Names

Via = Literal["post", "carrier_pickup", "store"]
Condition = Literal["as_new", "opened", "damaged", "wrong_item", "missing"]
Disposition = Literal[
    "restock", "restock_elsewhere", "refurbish", "quarantine", "return_to_supplier", "dispose"
]
REASON_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
Reason = Annotated[str, Field(pattern=REASON_PATTERN)]
Moment = Literal["scan", "receipt", "inspection"]
"""The carrier's first scan, the goods' arrival, or their inspection. A later one is stricter."""

MOMENTS: tuple[Moment, ...] = get_args(Moment)
FAULTS_OF_OURS = ("damaged", "wrong_item", "not_as_described", "defective", "lost", "late")
"""Reasons for which nobody pays a fee, and the outbound way is given back with the whole order,
whatever the rule says of it."""


class ReturnWhen(Wire):
    """What a rule is about; what is left out fits everything."""

    channels: Ids | None = None
    countries: Countries | None = None
    segments: Names | None = None
    tags: Names | None = None
    skus: Ids | None = None
    reasons: Names | None = None


class ReturnRule(Wire):
    """The terms of the lines it fits.

    `returnable` false: final sale. `window_days`: from delivery. `refund_at`: when the money goes
    back. `fees_minor`: a return's fee by how it comes. `refund_shipping`: what the outbound way
    cost is given back never, when the whole order is back, or with the first return.
    `photo_for`, `approval_for`: reasons that need one; `approval_above_minor`: so does a return
    that is worth more. `refused`: what becomes of goods that are not accepted.
    `exchange_ships`: when the goods in exchange may leave. `refund_unseen`: conditions that are
    paid at receipt, where that is the moment; others wait for inspection.
    """

    name: Words
    when: ReturnWhen = ReturnWhen()
    returnable: bool = True
    window_days: int = Field(default=30, ge=0, le=3650)
    refund_at: Moment = "inspection"
    fees_minor: dict[Via, Minor] = Field(default_factory=dict)
    refund_shipping: Literal["never", "whole", "always"] = "whole"
    photo_for: tuple[Reason, ...] = Field(default=(), max_length=50, strict=False)
    approval_for: tuple[Reason, ...] = Field(default=(), max_length=50, strict=False)
    approval_above_minor: Minor | None = None
    refused: Literal["send_back", "dispose"] = "send_back"
    exchange_ships: Literal["at_once", "scan", "receipt", "inspection"] = "inspection"
    refund_unseen: tuple[Literal["as_new", "opened", "damaged"], ...] = Field(
        default=("as_new", "opened"), strict=False
    )


class RestockWhen(Wire):
    """What a restock rule is about; what is left out fits everything."""

    locations: Ids | None = None
    kinds: Kinds | None = None
    groups: Names | None = None
    conditions: tuple[Condition, ...] | None = Field(default=None, strict=False)
    reasons: Names | None = None
    tags: Names | None = None
    skus: Ids | None = None


class RestockRule(Wire):
    """What becomes of the units it fits.

    `to`: where `restock_elsewhere` sends them; null for the place that needs them most: one that
    is out of stock, else the one where the article sells best.
    """

    name: Words
    when: RestockWhen = RestockWhen()
    disposition: Disposition
    to: Id | None = None


class ReturnTimes(Wire):
    """How long is waited, in days; `inspect_hours` in hours.

    `remind_days`: until a customer who has not sent anything is reminded; `expire_days`: until the
    return expires. `receive_days`: from the first scan until goods that were paid for already must
    have arrived. `back_days`: until a parcel on its way back to the sender must have.
    """

    remind_days: int = Field(default=14, ge=0, le=3650)
    expire_days: int = Field(default=28, ge=1, le=3650)
    inspect_hours: int = Field(default=48, ge=0, le=8760)
    receive_days: int = Field(default=21, ge=1, le=3650)
    back_days: int = Field(default=21, ge=1, le=3650)


class ReturnAlert(Wire):
    """An article is told of once at least `rate_percent` of what was sold of it comes back.

    Counted over what was handed over in the last `days`, if that is at least `min_sold` units.
    """

    when: ReturnWhen = ReturnWhen()
    rate_percent: int = Field(ge=1, le=100)
    min_sold: int = Field(default=20, ge=1)
    days: int = Field(default=90, ge=1, le=730)


class ReturnPolicy(Wire):
    """The whole document. `return_to`: where parcels go; null for where the goods came from."""

    currency: Currency | None = None
    return_to: Id | None = None
    rules: tuple[ReturnRule, ...] = Field(min_length=1, max_length=200, strict=False)
    restock: tuple[RestockRule, ...] = Field(default=(), max_length=200, strict=False)
    times: ReturnTimes = ReturnTimes()
    alerts: tuple[ReturnAlert, ...] = Field(default=(), max_length=50, strict=False)


class VersionedPolicy(Wire):
    """A policy and its version; 0 for the usual one."""

    version: int
    policy: ReturnPolicy


USUAL = VersionedPolicy(version=0, policy=ReturnPolicy(rules=(ReturnRule(name="usual"),)))


class LineFacts(Wire):
    """What rules look at of a line that is to come back."""

    channel: str
    country: str
    segment: str | None
    sku: str
    tags: tuple[str, ...]
    reason: str


def _fits(values: tuple[str, ...] | None, value: str | None) -> bool:
    return values is None or value in values


def _touches(values: tuple[str, ...] | None, found: tuple[str, ...]) -> bool:
    return values is None or bool(set(values) & set(found))


def fits(when: ReturnWhen, facts: LineFacts) -> bool:
    """Whether a rule is about a line."""
    return (
        _fits(when.channels, facts.channel)
        and _fits(when.countries, facts.country)
        and _fits(when.segments, facts.segment)
        and _touches(when.tags, facts.tags)
        and _fits(when.skus, facts.sku)
        and _fits(when.reasons, facts.reason)
    )


def rule_for(policy: ReturnPolicy, facts: LineFacts) -> ReturnRule | None:
    """The first rule that fits; None: no rule does, so that it is a final sale."""
    return next((rule for rule in policy.rules if fits(rule.when, facts)), None)


class UnitFacts(Wire):
    """What restock rules look at of units that came back."""

    location: str
    kind: str
    groups: tuple[str, ...]
    condition: Condition
    reason: str
    sku: str
    tags: tuple[str, ...]


def _about_unit(when: RestockWhen, facts: UnitFacts) -> bool:
    return (
        _fits(when.locations, facts.location)
        and _fits(when.kinds, facts.kind)
        and _touches(when.groups, facts.groups)
        and _fits(when.conditions, facts.condition)
        and _fits(when.reasons, facts.reason)
        and _touches(when.tags, facts.tags)
        and _fits(when.skus, facts.sku)
    )


_UNSAID: Mapping[Condition, Disposition] = {
    "as_new": "restock",
    "opened": "restock",
    "damaged": "quarantine",
    "wrong_item": "quarantine",
    "missing": "dispose",
}


def disposition_of(policy: ReturnPolicy, facts: UnitFacts) -> tuple[Disposition, str | None]:
    """What becomes of units, and where they go if elsewhere; no rule: by their condition."""
    rule = restock_rule(policy, facts)
    return (rule.disposition, rule.to) if rule else (_UNSAID[facts.condition], None)


def restock_rule(policy: ReturnPolicy, facts: UnitFacts) -> RestockRule | None:
    """The first rule that fits units; None: their condition says what becomes of them."""
    return next((rule for rule in policy.restock if _about_unit(rule.when, facts)), None)
