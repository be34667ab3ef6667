"""Why a customer is given back what they are: what was agreed, what came, what was paid, in words.

Pure: what was agreed and what came are the return's, what was given back at which moment is told
by the events of that (`Settled`), because the odd cents of a line go by the order of giving back.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from oms.money import format_money
from oms.orders import Order
from oms.payments import PaymentEntry
from oms.ports import Message
from oms.return_agenda import refunds_of
from oms.returns import Return, ReturnLine

_WHEN = {
    "scan": "when the carrier first scans the parcel",
    "receipt": "when the goods arrive",
    "inspection": "once the goods are inspected",
}


class Settled(Message):
    """What was given back at one moment. `lines`, `lines_minor`: units and their worth, by line.

    Both are empty of what was settled before they were kept. `amount_minor`: of the order's own
    money, `carried_minor`: of other orders', less the fee.
    """

    lines: Mapping[int, int] = {}
    lines_minor: Mapping[int, int] = {}
    amount_minor: int
    carried_minor: Mapping[str, int] = {}
    fee_minor: int
    shipping_minor: int


def why_refund(order: Order, back: Return, settled: Sequence[Settled]) -> tuple[str, ...]:
    """Say why it is as much as it is, in sentences: agreed, by line, in all, and how it is paid."""
    if back.kind == "undeliverable":
        return (
            f"The parcel {back.shipment} never reached the customer: what was in it is cancelled,"
            " and the order pays it back.",
        )
    return (
        _told(order, back),
        _agreed(order, back),
        *_lines(order, back, settled),
        *_in_all(order, settled),
        *(_paid(order, entry) for entry in refunds_of(order, back)),
    )


def sum_in_words(
    currency: str, goods_minor: int, *, shipping_minor: int, fee_minor: int
) -> str | None:
    """What an amount is made of; None where it is the goods alone."""
    if not shipping_minor and not fee_minor:
        return None
    parts = [f"goods {format_money(goods_minor, currency)}"]
    if shipping_minor:
        parts.append(f"the way to the customer {format_money(shipping_minor, currency)}")
    if fee_minor:
        parts.append(f"less the fee of {format_money(fee_minor, currency)}")
    return ", ".join(parts)


def _told(order: Order, back: Return) -> str:
    told = format_money(back.refund_minor, order.currency)
    if back.resolution == "exchange":
        told = f"{told} back" if back.refund_minor else "nothing back"
        return f"Exchanged for the goods of {back.exchange_order}; the customer was told {told}."
    if back.kind == "claim":
        return f"Claimed: {told}, and nothing is sent back."
    return f"The customer was told {told}, if all of it comes back and is accepted."


def _agreed(order: Order, back: Return) -> str:
    terms = back.terms
    by = f"policy version {back.policy_version}" if back.policy_version else "the usual policy"
    parts = []
    if back.kind == "return":
        parts.append(f"paid {_WHEN[terms.refund_at]}")
        fee = format_money(terms.fee_minor, order.currency)
        parts.append(f"a fee of {fee} once" if terms.fee_minor else "no fee")
    if not terms.shipping_minor:
        parts.append("the way to the customer is not given back")
    else:
        way = f"{format_money(terms.shipping_minor, order.currency)} for the way to the customer"
        when = "the last units of the order" if terms.shipping_whole else "the first return"
        parts.append(f"{way} with {when}")
    return f"Agreed by {by}: {'; '.join(parts)}."


def _lines(order: Order, back: Return, settled: Sequence[Settled]) -> Iterator[str]:
    known = all(each.lines or each.lines_minor for each in settled)
    for line in back.lines:
        minor = sum(each.lines_minor.get(line.line, 0) for each in settled)
        paid = format_money(minor, order.currency) if known else None
        reason = line.reason.replace("_", " ")
        became = ", ".join(_became(back, line, paid)) or "nothing has come back"
        yield f"Line {line.line}, {line.quantity} x {line.sku} ({reason}): {became}."


def _became(back: Return, line: ReturnLine, paid: str | None) -> Iterator[str]:
    states: Counter[str] = Counter()
    for lot in back.lots_of(line.line):
        states[lot.state] += lot.quantity
    if line.settled:
        yield _given(back, line, paid)
    unpaid = states["accepted"] + states["placed"] - line.settled
    if unpaid > 0:
        yield f"{unpaid} accepted and not paid yet"
    if states["received"]:
        yield f"{states['received']} to be inspected"
    if refused := states["rejected"] + states["left"]:
        yield f"{refused} refused at inspection"
    if line.missing:
        yield f"{line.missing} missing from the parcel"
    if line.expected and back.kind == "return":
        yield f"{line.expected} not here yet" if back.is_live else f"{line.expected} never came"


def _given(back: Return, line: ReturnLine, paid: str | None) -> str:
    over = line.settled - line.refunded if back.resolution == "exchange" else 0
    carried = f"{over} paid with the goods of {back.exchange_order}" if over else ""
    if paid is None:
        given = f"{line.settled - over} paid for" if line.settled > over else ""
    elif over:
        given = f"{paid} given back"
    else:
        given = f"{paid} for {line.settled}"
    return ", ".join(filter(None, (carried, given)))


def _in_all(order: Order, settled: Sequence[Settled]) -> Iterator[str]:
    if not settled:
        return
    amount = sum(each.amount_minor + sum(each.carried_minor.values()) for each in settled)
    fee = sum(each.fee_minor for each in settled)
    way = sum(each.shipping_minor for each in settled)
    made_of = sum_in_words(order.currency, amount + fee - way, shipping_minor=way, fee_minor=fee)
    total = format_money(amount, order.currency)
    yield f"In all: {total}{f', made of {made_of}' if made_of else ''}."


def _paid(order: Order, entry: PaymentEntry) -> str:
    kinds = {each.tender: each.kind for each in order.tenders}
    here = entry.key.startswith(f"{order.number}:")
    to = kinds.get(entry.tender, "tender") if here else "tender of an earlier order"
    amount = format_money(entry.amount_minor, entry.currency)
    why = f" ({entry.reason})" if entry.reason and entry.status != "succeeded" else ""
    return f"{amount} to the {to} that paid, by {entry.step}: {entry.status}{why}."
