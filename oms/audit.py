"""What must always be true, as far as books tell it: ours beside those of the outside.

Pure comparisons; `adapters.db.audit` reads our books and `workers.auditing` asks the others. The
numbers are those of the design: 4 money and effects under a key, 5 orders and their processes,
7 every open order and return explains itself. Work claimed, unknown or not yet started is
`pending`, which is no violation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import ConfigDict, Field

from oms.agenda import (
    SERVE,
    SETTLE,
    fulfillment_agenda,
    fulfillment_ended,
    is_in_doubt,
    order_agenda,
)
from oms.explain import explain
from oms.orders import Order
from oms.ports import Message
from oms.return_agenda import deadlines, return_agenda, return_waiting
from oms.returns import Return
from oms.stored import Stored

OVERDUE_AFTER = timedelta(minutes=2)
"""How long after its deadline a wait that nobody acted on means that its process is stuck."""

STUCK_AFTER = timedelta(minutes=15)
"""How long something may be due with nothing happening to its order. Payments may take longer:
they are asked for until somebody knows.
"""

TAKEN_BACK = "_failed"
_OUR_WORD = {"authorize": "authorization"}


class Finding(Message):
    """Something that is not, or not yet, as it must be."""

    invariant: int
    about: str
    detail: str
    pending: bool = Field(default=False, exclude=True)


class AuditReport(Message):
    """What was found. `checked`: how many of what were looked at."""

    violations: tuple[Finding, ...]
    pending: tuple[Finding, ...]
    checked: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether all books agree."""
        return not self.violations


class Effect(Message):
    """An entry of an outside party's books."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    kind: str
    reference: str
    amount_minor: int | None = None
    currency: str | None = None
    at: datetime | None = None

    @property
    def words(self) -> str:
        """What was done, with its amount."""
        return _words(self)


class OurEntry(Stored):
    """A payment entry of ours, with the provider that should have it too."""

    key: str
    order_number: str
    kind: str
    amount_minor: int
    currency: str
    status: str
    settled_by: str | None
    provider: str | None


class OurParcel(Stored):
    """A parcel of ours, out or back, and the number of its label's latest attempt."""

    id: str
    order_number: str
    carrier: str | None
    label_attempt: int


class OurOffer(Stored):
    """A fulfillment order of ours. `must_be_known`: its location took it on our offer."""

    id: str
    order_number: str
    must_be_known: bool
    cancellation_seq: int


def _by_key(effects: Iterable[Effect]) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        found[effect.key].append(effect)
    return found


def _twice(key: str, effects: Sequence[Effect]) -> Iterator[Finding]:
    for kind, times in Counter(effect.kind for effect in effects).items():
        if times > 1:
            yield Finding(invariant=4, about=key, detail=f"{kind} took effect {times} times")


# --- money ----------------------------------------------------------------------------------


def compare_money(ours: Iterable[OurEntry], theirs: Iterable[Effect]) -> Iterator[Finding]:
    """Hold our payment entries against the provider's books, key by key, both ways."""
    effects = _by_key(theirs)
    known: set[str] = set()
    for entry in ours:
        known.add(entry.key)
        yield from compare_entry(entry, effects.get(entry.key, ()))
    for key, found in effects.items():
        yield from _twice(key, found)
        if key not in known:
            detail = f"the provider has {_words(found[0])}, we have nothing"
            yield Finding(invariant=4, about=key, detail=detail)


def compare_entry(entry: OurEntry, effects: Sequence[Effect]) -> Iterator[Finding]:
    """Hold one entry against what the provider has under its key."""
    for effect in effects:
        if wrong := _differs(entry, effect):
            yield Finding(invariant=4, about=entry.key, detail=wrong)
    stands = bool(effects) and not any(e.kind.endswith(TAKEN_BACK) for e in effects)
    theirs = _words(effects[-1]) if effects else "nothing"
    if entry.status in ("requested", "unknown"):
        detail = f"{entry.status}; the provider has {theirs}"
        yield Finding(invariant=4, about=entry.key, detail=detail, pending=True)
    elif entry.provider is None or entry.settled_by == "till":
        if effects:
            detail = f"taken at the till, and the provider has {theirs}"
            yield Finding(invariant=4, about=entry.key, detail=detail)
    elif entry.status == "succeeded" and not stands and entry.settled_by != "operator":
        detail = f"succeeded here, and the provider has {theirs}"
        yield Finding(invariant=4, about=entry.key, detail=detail)
    elif entry.status == "failed" and stands:
        yield Finding(
            invariant=4, about=entry.key, detail=f"failed here, and the provider has {theirs}"
        )


def _differs(entry: OurEntry, effect: Effect) -> str | None:
    kind = effect.kind.removesuffix(TAKEN_BACK)
    theirs = (_OUR_WORD.get(kind, kind), effect.amount_minor, effect.currency, effect.reference)
    ours = (entry.kind, entry.amount_minor, entry.currency, entry.order_number)
    if theirs == ours:
        return None
    return (
        f"{entry.kind} of {entry.amount_minor} {entry.currency} for {entry.order_number} here,"
        f" {_words(effect)} for {effect.reference} there"
    )


def _words(effect: Effect) -> str:
    amount = f" of {effect.amount_minor} {effect.currency}" if effect.currency else ""
    return f"{effect.kind.replace('_', ' ')}{amount}"


# --- labels and offers ----------------------------------------------------------------------


def compare_labels(
    ours: Iterable[OurParcel], theirs: Iterable[Effect], *, carrier: str
) -> Iterator[Finding]:
    """Hold our parcels against the books of the carrier that calls itself `carrier`."""
    effects = _by_key(effect for effect in theirs if effect.kind == "label")
    known: set[str] = set()
    for parcel in ours:
        keys = [f"{parcel.id}:label:{n}" for n in range(1, parcel.label_attempt + 1)]
        known.update(keys)
        if parcel.carrier == carrier and keys[-1] not in effects:
            detail = f"{parcel.id} has a label that {carrier} did not sell"
            yield Finding(invariant=4, about=keys[-1], detail=detail)
        elif parcel.carrier is None and keys[-1] in effects:
            detail = f"{carrier} sold a label that {parcel.id} does not have yet"
            yield Finding(invariant=4, about=keys[-1], detail=detail, pending=True)
    yield from _only_there(effects, known, f"{carrier} sold a label for no parcel of ours")


def compare_offers(ours: Iterable[OurOffer], theirs: Iterable[Effect]) -> Iterator[Finding]:
    """Hold our fulfillment orders against what the locations heard: each offer, each stop once."""
    effects = _by_key(theirs)
    known: set[str] = set()
    for offer in ours:
        known.add(offer.id)
        known.update(f"{offer.id}:cancel:{n}" for n in range(1, offer.cancellation_seq + 1))
        if offer.must_be_known and offer.id not in effects:
            detail = "accepted here, and its location never had it"
            yield Finding(invariant=4, about=offer.id, detail=detail)
    yield from _only_there(effects, known, "a location heard of work that we know nothing of")


def _only_there(
    effects: Mapping[str, Sequence[Effect]], known: set[str], detail: str
) -> Iterator[Finding]:
    for key, found in effects.items():
        yield from _twice(key, found)
        if key not in known:
            yield Finding(invariant=4, about=key, detail=detail)


# --- open orders ----------------------------------------------------------------------------


def check_waits(
    order: Order, now: datetime, *, silent: timedelta, quiet_since: datetime | None = None
) -> Iterator[Finding]:
    """Check that an open order is in a named wait with a deadline, or parked with a reason.

    An order whose process has something to do right now is pending, unless nothing has happened
    to it for too long. `quiet_since`: when its last event was.
    """
    waits = explain(order, silent=silent)
    without_end = order.parked or order.open_holds or any(line.backordered for line in order.lines)
    deadlines = [wait.until for wait in waits if wait.until is not None and wait.step is None]
    late = [until for until in deadlines if until + OVERDUE_AFTER < now]
    if late and not order.parked:
        detail = f"nothing happened when its time ended at {min(late):%Y-%m-%d %H:%M:%S} UTC"
        yield Finding(invariant=7, about=order.number, detail=detail)
    elif deadlines or without_end:
        return
    elif at_work := [*_at_work(order, now, silent)]:
        quiet = quiet_since is not None and quiet_since + STUCK_AFTER < now
        stuck = quiet and any(do != SETTLE for do in at_work)
        detail = f"its process is {'stuck ' if stuck else ''}at {', '.join(at_work)}"
        yield Finding(invariant=7, about=order.number, detail=detail, pending=not stuck)
    else:
        words = "; ".join(wait.waiting_for for wait in waits)
        detail = f"waits without a deadline for {words}"
        yield Finding(invariant=7, about=order.number, detail=detail)


def _at_work(order: Order, now: datetime, silent: timedelta) -> Iterator[str]:
    """What is due now, beside serving: that only keeps the fulfillment orders' processes alive."""
    yield from (due.do for due in order_agenda(order, now).due if due.do != SERVE)
    for each in order.fulfillment_orders:
        if not fulfillment_ended(order, each):
            agenda = fulfillment_agenda(order, each.id, now, silent=silent)
            yield from (due.do for due in agenda.due)


# --- open returns ---------------------------------------------------------------------------


def check_return_waits(
    order: Order,
    back: Return,
    now: datetime,
    *,
    silent: timedelta,
    quiet_since: datetime | None = None,
) -> Iterator[Finding]:
    """Check that an open return waits with a deadline, for a person by name, or is parked.

    What is due and not done is pending, until nothing has happened for too long. `quiet_since`:
    when the last event of its order was.
    """
    agenda = return_agenda(order, back.id, now, silent=silent)
    if agenda.parked or agenda.ended or is_in_doubt(order):
        return
    if agenda.due:
        passed = [moment for moment in deadlines(back, silent) if moment <= now]
        since = max([*passed, *([quiet_since] if quiet_since is not None else [])], default=now)
        stuck = since + STUCK_AFTER < now and any(due.do != SETTLE for due in agenda.due)
        words = ", ".join(due.step or due.do for due in agenda.due)
        detail = f"its process is {'stuck ' if stuck else ''}at {words}"
        yield Finding(invariant=7, about=back.id, detail=detail, pending=not stuck)
    elif agenda.wake_at is None and not _must_leave(back):
        detail = f"waits without a deadline: {return_waiting(back)}"
        yield Finding(invariant=7, about=back.id, detail=detail)


def _must_leave(back: Return) -> bool:
    """Whether the place where it lies is to send refused goods out, whenever it does."""
    return any(lot.state == "rejected" for lot in back.lots)
