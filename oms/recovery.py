"""After a restore: what the outside did that our books do not know, and what is to become of it.

Every effect outside stands under a key made of the business, and a key that is asked for again has
its effect once. So an effect that is lost here needs nobody if the order, going on from where its
books stand, comes by the very same key again. Of an order that might go another way - it was
cancelled meanwhile, or another location works on it - a person must learn what happened first: it
is in doubt, and rests. An order that is not in the books at all is somebody's money or goods, and
is only told of. Nothing is ever put right by guessing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from oms.audit import Effect, OurEntry, compare_entry
from oms.numbers import is_return_parcel_id, return_of
from oms.ports import Message

Kind = Literal[
    "asked_again", "in_doubt", "order_unknown", "return_unknown", "run_unknown", "unanswered"
]

NEEDS_A_PERSON: frozenset[Kind] = frozenset(
    {"in_doubt", "order_unknown", "return_unknown", "run_unknown", "unanswered"}
)

_DO = {
    "asked_again": "Nothing: the order comes by the same keys again, and nothing happens twice.",
    "in_doubt": "It rests on a hold. Compare it with the parties named, tell the system what they"
    " did, then release the hold.",
    "order_unknown": "It was acknowledged after the backup. Let the channel place it again, or tell"
    " the customer; void or refund what the provider holds, stop the goods.",
    "return_unknown": "It was asked for after the backup, and its customer has the label. Let the"
    " channel ask for it again; goods that come before that are received as unannounced.",
    "run_unknown": "Terminate it in the Temporal UI: it can do nothing without its order.",
    "unanswered": "Run `oms recover` again when the party answers.",
}


class Found(Message):
    """Something the outside, or Temporal, has and our books have not.

    `about`: the order, or what did not answer. `effects`: what there is, in words.
    """

    kind: Kind
    about: str
    effects: tuple[str, ...]

    @property
    def needs_a_person(self) -> bool:
        """Whether it explains itself, or not."""
        return self.kind in NEEDS_A_PERSON

    @property
    def do(self) -> str:
        """What is to be done about it."""
        return _DO[self.kind]


class RecoveryReport(Message):
    """What a reconciliation did and found. `counts`: how many of what was looked at."""

    found: tuple[Found, ...]
    counts: dict[str, int]

    @property
    def is_explained(self) -> bool:
        """Whether nobody has to look at anything."""
        return not any(each.needs_a_person for each in self.found)


class KnownOrder(Message):
    """What our books have of an order that the outside named.

    `live_parts`: fulfillment orders that are not finished: their locations are offered the same
    again, and report again. `parts`: all of them, each with its latest cancellation. `labels`:
    attempts by parcel, out or back.
    """

    number: str
    closed: bool
    entries: tuple[OurEntry, ...] = ()
    live_parts: tuple[str, ...] = ()
    parts: dict[str, int] = Field(default_factory=dict)
    labels: dict[str, int] = Field(default_factory=dict)


def compare_outside(
    ours: Mapping[str, KnownOrder],
    *,
    payments: Sequence[Effect],
    labels: Sequence[Effect],
    offers: Sequence[Effect],
) -> tuple[Found, ...]:
    """Judge each order that the outside named, by all that it has of it."""
    by_order: dict[str, list[tuple[str, Effect]]] = defaultdict(list)
    for party, effects in (("payments", payments), ("carriers", labels), ("nodes", offers)):
        for effect in effects:
            by_order[effect.reference].append((party, effect))
    found = []
    for number, effects_of in sorted(by_order.items()):
        if number not in ours:
            found.append(_all_unknown(number, effects_of))
            continue
        order = ours[number]
        lost = [each for each in effects_of if _is_of_lost_return(order, *each)]
        found += _lost_returns(lost)
        judged = _judge(order, [each for each in effects_of if each not in lost])
        found += [judged] if judged is not None else []
    return tuple(found)


def _is_of_lost_return(order: KnownOrder, party: str, effect: Effect) -> bool:
    """Whether it is the label of a return that our books do not know: no goods and no money yet."""
    parcel = _shipment(effect.key)
    return party == "carriers" and is_return_parcel_id(parcel) and parcel not in order.labels


def _lost_returns(effects: Sequence[tuple[str, Effect]]) -> Iterator[Found]:
    by_return: dict[str, list[str]] = defaultdict(list)
    for party, effect in effects:
        by_return[return_of(_shipment(effect.key))].append(_in_words(party, effect))
    for id, words in by_return.items():
        yield Found(kind="return_unknown", about=id, effects=tuple(words))


def _all_unknown(number: str, effects: Sequence[tuple[str, Effect]]) -> Found:
    return Found(
        kind="order_unknown",
        about=number,
        effects=tuple(_in_words(party, effect) for party, effect in effects),
    )


def _in_words(party: str, effect: Effect) -> str:
    return f"{party}: {effect.words} under {effect.key}"


def _judge(order: KnownOrder, effects: Sequence[tuple[str, Effect]]) -> Found | None:
    """What of an order is not in its books. One effect in doubt puts the whole order in doubt."""
    doubts: list[str] = []
    again: list[str] = []
    for party, effect in effects:
        if not _is_known(order, party, effect):
            harmless = not order.closed and _is_asked_again(order, party, effect)
            (again if harmless else doubts).append(_in_words(party, effect))
    doubts += _differing(order, [effect for party, effect in effects if party == "payments"])
    if doubts:
        return Found(kind="in_doubt", about=order.number, effects=(*doubts, *again))
    if again:
        return Found(kind="asked_again", about=order.number, effects=tuple(again))
    return None


def _is_known(order: KnownOrder, party: str, effect: Effect) -> bool:
    match party:
        case "payments":
            return any(entry.key == effect.key for entry in order.entries)
        case "carriers":
            return _attempt(effect.key) <= order.labels.get(_shipment(effect.key), 0)
        case _:
            part, _, cancellation = effect.key.partition(":cancel:")
            latest = order.parts.get(part, -1)
            return latest >= (int(cancellation) if cancellation.isdigit() else 0)


def _is_asked_again(order: KnownOrder, party: str, effect: Effect) -> bool:
    """Whether the order comes by this key again, whatever happens.

    A label is, once its location reports again. An offer the order does not know was made after
    it was routed: routed again, it may go elsewhere.
    """
    match party:
        case "payments":
            return _money_is_asked_again(order, effect)
        case "carriers":
            return _attempt(effect.key) == 1 and bool(order.live_parts)
        case _:
            return False


def _money_is_asked_again(order: KnownOrder, effect: Effect) -> bool:
    """Whether the order comes by this key again whatever happens.

    An authorisation is asked for first of all; a capture when a location reports again what it
    handed over. A void or a refund followed a decision that is lost, and perhaps not repeated. No
    key may be skipped, and none before it may be open: that one would move the money once more.
    """
    kind, seq = _kind_and_seq(effect)
    if kind not in ("authorization", "capture") or (kind == "capture" and not order.live_parts):
        return False
    same_kind = [entry for entry in order.entries if entry.kind == kind]
    return seq == len(same_kind) + 1 and all(e.status == "succeeded" for e in same_kind)


def _kind_and_seq(effect: Effect) -> tuple[str, int]:
    """Read a payment key, `{number}:capture:1`. Somebody else's key is none of ours: 0."""
    parts = effect.key.split(":")
    if len(parts) != 3 or not parts[2].isdigit():
        return "", 0
    return ("authorization" if parts[1] == "authorize" else parts[1]), int(parts[2])


def _differing(order: KnownOrder, effects: Sequence[Effect]) -> Iterator[str]:
    by_key: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_key[effect.key].append(effect)
    for entry in order.entries:
        if entry.key in by_key:
            for finding in compare_entry(entry, by_key[entry.key]):
                if not finding.pending:
                    yield f"payments: {entry.key}: {finding.detail}"


def _shipment(key: str) -> str:
    return key.split(":", 1)[0]


def _attempt(key: str) -> int:
    """Read a label's key, `{shipment}:label:1`."""
    last = key.rsplit(":", 1)[-1]
    return int(last) if last.isdigit() else 0


def in_doubt(found: Iterable[Found]) -> dict[str, str]:
    """The orders that must rest, each with a note for the person who looks."""
    return {each.about: "; ".join(each.effects) for each in found if each.kind == "in_doubt"}
