"""On which terms units of an order come back: the window, the strictest rule, what is told.

Pure: the facts are the order's, the rules the policy's. What is agreed here is kept with the return
(`oms.returns.Terms`), so that a policy may change while goods are on their way.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast, get_args

from oms.money import format_money
from oms.orders import Line, Order
from oms.return_money import given_back
from oms.return_policy import (
    FAULTS_OF_OURS,
    MOMENTS,
    Condition,
    LineFacts,
    ReturnPolicy,
    ReturnRule,
    Via,
    rule_for,
)
from oms.returns import Return, ReturnLine, Terms

_SHIPS = ("at_once", "scan", "receipt", "inspection")
_SHIPPING = ("never", "whole", "always")


class Ruled(NamedTuple):
    """Units of a line that are to come back, with the rule that gives their terms."""

    line: Line
    quantity: int
    reason: str
    rule: ReturnRule


def rule_of(
    policy: ReturnPolicy, order: Order, line: Line, *, tags: Collection[str], reason: str
) -> ReturnRule | None:
    """The first rule that fits a line of an order; None where none does."""
    facts = LineFacts(
        channel=order.channel,
        country=order.country,
        segment=order.customer_segment,
        sku=line.sku,
        tags=tuple(tags),
        reason=reason,
    )
    return rule_for(policy, facts)


# --- the window -----------------------------------------------------------------------------


def delivered_at(order: Order, line: int) -> datetime | None:
    """When the last units of a line that were sent reached the customer.

    Parcels count from their delivery, pickups from the hand-over. None: some are still under way,
    or nobody has said that they are there, so that no window has begun to close.
    """
    moments: list[datetime | None] = []
    for each in order.shipments:
        sent = each.handed_over_at is not None or each.delivered_at is not None
        if sent and each.written_off_at is None and any(p.line == line for p in each.lines):
            moments.append(each.delivered_at)
    for part in order.fulfillment_orders:
        collected = part.method != "home" and part.handed_over_at is not None
        if collected and any(p.line == line and p.quantity for p in part.lines):
            moments.append(part.handed_over_at)
    known = [moment for moment in moments if moment is not None]
    return max(known) if known and len(known) == len(moments) else None


def window_end(order: Order, line: int, rule: ReturnRule) -> datetime | None:
    """Until when a line may come back, that moment included; None: no end yet."""
    there = delivered_at(order, line)
    return None if there is None else there + timedelta(days=rule.window_days)


# --- the terms ------------------------------------------------------------------------------


def strictest(order: Order, policy: ReturnPolicy, lines: Sequence[Ruled], via: Via | None) -> Terms:
    """The terms under which lines come back together: of each rule's, the stricter one.

    The latest moment for money and for goods in exchange, the highest fee among the lines that the
    customer is the reason for, goods that are refused go back rather than away. `via` None: nothing
    is sent back, so there is no fee for it.
    """
    rules = [each.rule for each in lines]
    shipping = _shipping_rule(lines)
    return Terms(
        refund_at=max((rule.refund_at for rule in rules), key=MOMENTS.index),
        fee_minor=0 if via is None else fee(order, policy, lines, via),
        shipping_minor=0 if shipping == "never" else order.shipping_minor,
        shipping_whole=shipping == "whole",
        refused="send_back" if any(rule.refused == "send_back" for rule in rules) else "dispose",
        exchange_ships=max((rule.exchange_ships for rule in rules), key=_SHIPS.index),
        refund_unseen=_common(rule.refund_unseen for rule in rules),
        inspect_hours=policy.times.inspect_hours,
        receive_days=policy.times.receive_days,
    )


def fee(order: Order, policy: ReturnPolicy, lines: Sequence[Ruled], via: Via) -> int:
    """What is deducted once: nothing for faults of ours, nor in a currency fees are not told in."""
    if policy.currency != order.currency:
        return 0
    theirs = (each.rule for each in lines if each.reason not in FAULTS_OF_OURS)
    return max((rule.fees_minor.get(via, 0) for rule in theirs), default=0)


def _shipping_rule(lines: Sequence[Ruled]) -> str:
    """The strictest rule about the outbound way; where the fault is ours, at least `whole`."""
    return min(
        (
            "whole"
            if each.reason in FAULTS_OF_OURS and each.rule.refund_shipping == "never"
            else each.rule.refund_shipping
            for each in lines
        ),
        key=_SHIPPING.index,
    )


def _common(each: Iterable[tuple[Condition, ...]]) -> tuple[Condition, ...]:
    in_all = set.intersection(*(set(conditions) for conditions in each))
    return tuple(
        cast(Condition, condition) for condition in get_args(Condition) if condition in in_all
    )


def why_approval(
    order: Order, policy: ReturnPolicy, lines: Sequence[Ruled], worth_minor: int
) -> str | None:
    """Why a person must approve it; None: nobody has to."""
    for each in lines:
        if each.reason in each.rule.approval_for:
            return f"line {each.line.line}: {each.reason} is approved by a person"
    limits = [each.rule.approval_above_minor for each in lines]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    if policy.currency != order.currency:
        return f"the limit for approval is told in {policy.currency}, the order in {order.currency}"
    if worth_minor > min(known):
        worth, limit = (format_money(each, order.currency) for each in (worth_minor, min(known)))
        return f"it is worth {worth}; more than {limit} is approved by a person"
    return None


# --- the money ------------------------------------------------------------------------------


def worth_of(order: Order, line: Line, count: int) -> int:
    """What the next units of a line are worth, after those given back or promised already."""
    first = given_back(order, line) + sum(promised(each, line.line) for each in order.returns)
    first = min(first, line.ordered)
    count = min(count, line.ordered - first)
    carried = sum(whole // line.ordered for whole in line.carried.values())
    return line.price_of(first=first, count=count) + carried * count


def promised(back: Return, line: int) -> int:
    """Units of a line that a return still has to settle, as far as it goes as announced."""
    found = back.line(line)
    if found is None or not back.is_live:
        return 0
    refused = sum(lot.quantity for lot in back.lots_of(line) if lot.state in ("rejected", "left"))
    return max(0, back.speaks_for(line) - refused - found.settled)


def shipping_told(order: Order, terms: Terms, counts: Mapping[int, int]) -> int:
    """What of the outbound way is given back if these units come back, and all that is announced.

    Once an order: not where it was given back, or was told to the customer of another return.
    """
    if order.shipping_refunded or not terms.shipping_minor:
        return 0
    if terms.shipping_whole:
        return terms.shipping_minor if is_whole(order, counts) else 0
    told = any(
        back.is_live and back.resolution == "refund" and back.terms.shipping_minor
        for back in order.returns
        if not back.terms.shipping_whole
    )
    return 0 if told else terms.shipping_minor


def is_whole(order: Order, counts: Mapping[int, int]) -> bool:
    """Whether with these units money for everything that was kept is given back, or promised.

    Goods that were exchanged were kept: the customer has others for them.
    """
    return all(
        counts.get(line.line, 0) + sum(_paid_back(back, line.line) for back in order.returns)
        >= line.kept
        for line in order.lines
    )


def _paid_back(back: Return, line: int) -> int:
    found: ReturnLine | None = back.line(line)
    if found is None or back.resolution != "refund" or back.kind == "undeliverable":
        return 0
    return found.settled + promised(back, line)
