"""What a return's process does next, worked out from the books alone; see `oms.agenda`."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from oms.agenda import ATTEND, BUY_LABEL, CLOSE, EXPIRE, POLL, Agenda, Due, entries_due, is_in_doubt
from oms.numbers import return_workflow_id
from oms.orders import Order
from oms.payments import PaymentEntry
from oms.return_money import owed
from oms.returns import (
    CALLED_OFF,
    GIVEN_UP,
    HELD,
    LEAVES,
    LEAVING,
    TROUBLED_RETURN_PARCELS,
    Return,
    ReturnLine,
    ReturnParcel,
    ReturnStatus,
)

REMIND = "remind"
GIVE_BACK = "give_back"
PUT_AWAY = "put_away"
LET_EXCHANGE_GO = "let_exchange_go"
CANCEL_EXCHANGE = "cancel_exchange"


def return_agenda(order: Order, id: str, now: datetime, *, silent: timedelta) -> Agenda:
    """Decide what a return's process does next. `silent`: how long a parcel may say nothing."""
    back = order.return_(id)
    workflow_id = return_workflow_id(id)
    return Agenda(
        due=tuple(_due(order, back, now, silent)),
        wake_at=min((m for m in deadlines(back, silent) if m > now), default=None),
        stage=back.status.value,
        waiting=return_waiting(back),
        ended=back.closed_at is not None,
        version=order.version,
        parked=tuple(each.step for each in order.parked if each.workflow_id == workflow_id),
    )


def refunds_of(order: Order, back: Return) -> tuple[PaymentEntry, ...]:
    """What was asked to be given back for a return, whichever order holds the money."""
    entries = (*order.entries, *order.elsewhere)
    return tuple(each for each in entries if each.of_return == back.id)


def refund_step(entry: PaymentEntry) -> str:
    """The step that settles a refund: `refund:1`, or `refund:1@{order}` of another's money."""
    return entry.step if entry.holder_waits is None else f"{entry.step}@{holder_of(entry)}"


def holder_of(entry: PaymentEntry) -> str:
    """The order whose money it is."""
    return entry.key.partition(":")[0]


def awaits_goods(back: Return) -> bool:
    """Whether something is still to arrive."""
    return back.is_live and back.kind != "claim" and not back.all_arrived and back.loss_at is None


def is_unsent(back: Return) -> bool:
    """Whether the customer has given nothing away yet, as far as anybody has heard."""
    return awaits_goods(back) and back.scanned_at is None and not back.has_arrived


def deadlines(back: Return, silent: timedelta) -> Iterator[datetime]:
    """When its process looks again, and when it would have looked."""
    if not back.is_live or back.approved_at is None:
        return
    moments = []
    if is_unsent(back) and back.brings_goods:
        moments += [back.expire_at, None if back.reminded_at else back.remind_at]
    elif awaits_goods(back):
        moments.append(back.receive_by)
        moments += [_ask_at(back, each, silent) for each in back.parcels]
    if any(lot.state == "received" for lot in back.lots) or must_leave(back):
        moments.append(back.inspect_by)
    yield from (moment for moment in moments if moment is not None)


def _ask_at(back: Return, parcel: ReturnParcel, silent: timedelta) -> datetime | None:
    """When the carrier is asked about a parcel.

    After a time of silence; and where nothing was ever scanned, before the customer is reminded and
    before the return expires.
    """
    if parcel.direction == "out" or parcel.tracking_number is None:
        return None
    if parcel.status in ("delivered", GIVEN_UP, *TROUBLED_RETURN_PARCELS):
        return None
    if parcel.scanned_at is not None:
        moments = (parcel.scanned_at, parcel.last_heard_at, parcel.last_asked_at)
        return max(moment for moment in moments if moment is not None) + silent
    for moment in (None if back.reminded_at else back.remind_at, back.expire_at):
        if moment is not None and (parcel.last_asked_at or back.requested_at) < moment:
            return moment
    return None


def _passed(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _due(order: Order, back: Return, now: datetime, silent: timedelta) -> Iterator[Due]:
    if back.closed_at is not None or is_in_doubt(order):
        return
    yield from _money_due(order, back)
    if back.fell_away:
        if back.exchange_order is not None and back.exchange_told != CALLED_OFF:
            yield Due(do=CANCEL_EXCHANGE, about=back.exchange_order)
        elif may_close(order, back):
            yield Due(do=CLOSE, about=back.id)
        return
    if back.approved_at is None:
        if given_up_since(order, back):
            why = "a parcel was given up since, and paid: decline it"
            yield _attention(back, "approve", why, ("fail",))
        else:
            yield _attention(back, "approve", "somebody must approve it or decline it", _YES_OR_NO)
        return
    yield from _exchange_due(back)
    yield from _goods_due(back, now, silent)
    if may_close(order, back):
        yield Due(do=CLOSE, about=back.id)


def may_close(order: Order, back: Return) -> bool:
    """Whether nothing is left to do: no money is owed or open, no goods lie about."""
    if not _is_settled(order, back):
        return False
    if back.fell_away:
        return back.exchange_order is None or back.exchange_told == CALLED_OFF
    return back.approved_at is not None and not owed(order, back) and _is_done(back)


_YES_OR_NO = ("done_manually", "fail")


def given_up_since(order: Order, back: Return) -> bool:
    """Whether units like those that a claim is about were paid while it waited for approval."""
    if back.kind != "claim":
        return False
    gone = {
        line.line
        for line in back.lines
        if line.reason == "lost"
        or ((ordered := order.line(line.line)) and line.quantity > ordered.handed_over)
    }
    return any(
        each.written_off_at is not None
        and each.written_off_at >= back.requested_at
        and any(part.line in gone and part.quantity for part in each.lines)
        for each in order.shipments
    )


def _attention(back: Return, what: str, error: str, actions: tuple[str, ...]) -> Due:
    return Due(do=ATTEND, step=f"{what}:{back.short_id}", error=error, actions=actions)


def _money_due(order: Order, back: Return) -> Iterator[Due]:
    own = (each for each in order.entries if each.of_return == back.id)
    yield from entries_due(order, own)
    elsewhere = [each for each in order.elsewhere if each.of_return == back.id]
    steps = {each.key: refund_step(each) for each in elsewhere}
    for due in entries_due(order, elsewhere):
        yield due.model_copy(update={"step": steps[due.about]})
    if not back.fell_away and owed(order, back):
        yield Due(do=GIVE_BACK, about=back.id)


def _is_settled(order: Order, back: Return) -> bool:
    return not any(entry.is_unsettled for entry in refunds_of(order, back))


def units_to_leave(back: Return) -> dict[int, int] | None:
    """Units in exchange that may leave now, by line of the return; the others never will.

    None: not decided yet. By the agreed terms it is decided at once, at the first scan, or when all
    that will come is there or inspected: then only as many leave as came back and were accepted.
    """
    moment = back.terms.exchange_ships
    seen = back.scanned_at is not None or back.has_arrived
    if back.kind == "claim" or moment == "at_once" or (moment == "scan" and seen):
        return {line.line: line.exchanged for line in back.lines}
    unseen = back.terms.refund_unseen if moment == "receipt" else ()
    counted = [lot for lot in back.lots if lot.may_be_refunded or lot.condition in unseen]
    open_lots = [lot for lot in back.lots if lot.state == "received" and lot not in counted]
    if back.exchange_told != LEAVING and (awaits_goods(back) or open_lots):
        return None
    came = Counter[int]()
    for lot in counted:
        if lot.state not in ("rejected", "left"):
            came[lot.line] += lot.quantity
    return {line.line: min(line.exchanged, came[line.line]) for line in back.lines}


def has_left(back: Return) -> bool:
    """Whether goods in exchange were let go: then the return cannot be called off any more."""
    return back.exchange_order is not None and back.exchange_told in (LEAVING, LEAVES)


def _exchange_due(back: Return) -> Iterator[Due]:
    """Let go, or call off, the goods in exchange once it is decided."""
    if back.exchange_order is None:
        return
    units = units_to_leave(back)
    if back.exchange_told == LEAVING:
        yield Due(do=LET_EXCHANGE_GO, about=back.exchange_order)
    elif back.exchange_told == HELD and units is not None:
        do = LET_EXCHANGE_GO if any(units.values()) else CANCEL_EXCHANGE
        yield Due(do=do, about=back.exchange_order)


def _goods_due(back: Return, now: datetime, silent: timedelta) -> Iterator[Due]:
    for parcel in back.parcels:
        needs_label = parcel.tracking_number is None and parcel.status == "created"
        if needs_label and (parcel.direction == "out" or is_unsent(back)):
            yield Due(do=BUY_LABEL, about=parcel.id, step=f"label:{parcel.short_id}")
        elif awaits_goods(back) and _passed(_ask_at(back, parcel, silent), now):
            yield Due(do=POLL, about=parcel.id, step=f"poll:{parcel.short_id}")
    if is_unsent(back) and back.brings_goods and not _is_asking(back, now, silent):
        if _passed(back.expire_at, now) and not has_left(back):
            yield Due(do=EXPIRE, about=back.id)
        elif back.reminded_at is None and _passed(back.remind_at, now):
            yield Due(do=REMIND, about=back.id)
    if any(lot.state == "accepted" for lot in back.lots) or _must_dispose(back):
        yield Due(do=PUT_AWAY, about=back.id)
    yield from _goods_attention(back, now)


def _is_asking(back: Return, now: datetime, silent: timedelta) -> bool:
    return any(_passed(_ask_at(back, parcel, silent), now) for parcel in back.parcels)


def must_leave(back: Return) -> bool:
    """Whether refused goods wait to leave for the customer."""
    rejected = any(lot.state == "rejected" for lot in back.lots)
    return rejected and back.terms.refused == "send_back"


def _must_dispose(back: Return) -> bool:
    rejected = any(lot.state == "rejected" for lot in back.lots)
    return rejected and back.terms.refused == "dispose"


def _goods_attention(back: Return, now: datetime) -> Iterator[Due]:
    lots = [lot for lot in back.lots if lot.state == "received"]
    if lots and _passed(back.inspect_by, now):
        yield _attention(
            back, "inspect", f"{lots[0].location} has not inspected it in time", _INSPECT_ACTIONS
        )
    elif must_leave(back) and _passed(back.inspect_by, now):
        yield _attention(
            back, "hand_back", "what was refused has not left for the customer", _OVERDUE_ACTIONS
        )
    for parcel in back.parcels:
        if is_troubled(back, parcel):
            words = f"the carrier says {parcel.status.replace('_', ' ')}"
            yield Due(
                do=ATTEND, step=f"parcel:{parcel.short_id}", error=words, actions=_OVERDUE_ACTIONS
            )
    if _is_overdue(back, now):
        yield _attention(back, "overdue", "it has not arrived in time", _OVERDUE_ACTIONS)
    if back.all_arrived and back.loss_at is None and paid_beyond(back):
        yield _attention(back, "overdue", "more was paid back than came back", ("done_manually",))


def _is_overdue(back: Return, now: datetime) -> bool:
    """Goods that are under way for too long; or never sent, while those in exchange have left."""
    if is_unsent(back):
        return has_left(back) and _passed(back.expire_at, now)
    return awaits_goods(back) and _passed(back.receive_by, now)


def is_troubled(back: Return, parcel: ReturnParcel) -> bool:
    """Whether a person must look after a parcel, because its goods are missed here or there."""
    missed = parcel.direction == "out" or awaits_goods(back)
    return missed and parcel.status in TROUBLED_RETURN_PARCELS


_INSPECT_ACTIONS = ("retry", "done_manually", "fail")
_OVERDUE_ACTIONS = ("retry", "done_manually")


def paid_beyond(back: Return) -> int:
    """Units that were paid or replaced on trust, and did not come back or were not accepted."""
    if back.kind != "return":
        return 0
    return sum(max(0, _paid(back, line) - _came(back, line.line)) for line in back.lines)


def _paid(back: Return, line: ReturnLine) -> int:
    if back.resolution == "refund":
        return line.settled
    return line.refunded + (line.exchanged if back.exchange_told == LEAVES else 0)


def _came(back: Return, line: int) -> int:
    held = ("received", "accepted", "placed")
    return sum(lot.quantity for lot in back.lots_of(line) if lot.state in held)


def _is_done(back: Return) -> bool:
    """Whether nothing is waited for and nothing lies about."""
    if back.exchange_order is not None and back.exchange_told in (None, HELD, LEAVING):
        return False
    if back.kind == "claim":
        return True
    if any(is_troubled(back, parcel) for parcel in back.parcels):
        return False
    if awaits_goods(back) or (paid_beyond(back) and back.loss_at is None):
        return False
    return all(lot.state in ("placed", "left") for lot in back.lots)


def return_waiting(back: Return) -> str:
    """What is waited for, in words."""
    if back.closed_at is not None or back.fell_away:
        return f"Nothing: the return is {back.status}."
    if back.status is ReturnStatus.REQUESTED:
        return "A person to approve or decline it."
    if awaits_goods(back):
        return _waiting_for_goods(back)
    if uninspected := [lot for lot in back.lots if lot.state == "received"]:
        return f"{uninspected[0].location} to inspect what came back."
    if any(lot.state == "rejected" for lot in back.lots):
        return "What was refused to leave for the customer."
    if back.exchange_order is not None and back.exchange_told is None:
        return f"The exchange order {back.exchange_order} to be confirmed."
    return "The refund to be settled."


def _waiting_for_goods(back: Return) -> str:
    where = f" at {back.location}" if back.location else ""
    if back.kind == "undeliverable":
        return f"The undelivered parcel {back.shipment} to come back{where}."
    if back.has_arrived:
        return f"The rest to arrive{where}."
    if back.scanned_at is not None:
        return f"The parcel to arrive{where}."
    return (
        "The customer to send it." if back.via != "store" else f"The customer to bring it{where}."
    )
