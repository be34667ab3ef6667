"""What a customer may send back, or claim: the request, what is wrong with it, what is agreed.

`agree` and `agree_claim` change nothing: they tell every flaw by line, or the terms and the money
that the customer is told before anything moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from oms.exchanges import ExchangedLine, Wanted, exchanged_line
from oms.fields import MAX_LINES, Amount, Flaw, Id, Quantity, Text, Wire
from oms.orders import Line, Order
from oms.placing import Email, OrderTender, Unacceptable
from oms.ports import Message
from oms.return_policy import Condition, Reason, ReturnRule, VersionedPolicy, Via
from oms.return_terms import (
    Ruled,
    rule_of,
    shipping_told,
    strictest,
    why_approval,
    window_end,
    worth_of,
)
from oms.returns import Terms
from oms.words import count_of

MOST_PHOTOS = 5
MOST_PARCELS = 20

ClaimReason = Literal["lost", "damaged", "wrong_item", "not_as_described", "defective"]
Photo = Annotated[
    str, StringConstraints(max_length=2000, pattern=r"^https?://[^\s\u0000-\u001f\u007f-\u009f]+$")
]
Photos = Annotated[list[Photo], Field(max_length=MOST_PHOTOS)]
LineNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ReturnedLine(Wire):
    """Units of one line of the order. `photos`: addresses where pictures of them lie.

    `condition`: what the till sees, where they are brought to a store; as new if left out.
    Of an exchange: `sku` is wanted instead, the same article if left out, for `unit_price_minor`;
    by default it costs what was paid.
    """

    line: LineNumber
    quantity: Quantity
    reason: Reason
    photos: Photos = Field(default_factory=list)
    condition: Literal["as_new", "opened", "damaged"] | None = None
    sku: Id | None = None
    unit_price_minor: Amount | None = None


class Proof(Wire):
    """What somebody who asks says of themselves. All that is given must be the order's."""

    id: Id | None = None
    email: Email | None = None
    postal_code: Text | None = None


class ReturnRequest(Wire):
    """The body of ``POST /v1/returns``. `location`: where it is brought, or is to be sent.

    `travels_with`: a return of another order of the same customer, in whose parcels these goods
    travel. `tenders`: for an exchange that costs more, as an order's. `customer`: a channel passes
    on what a guest or a customer who is logged in says of themselves; a stranger's is refused.
    """

    order: Id
    via: Via
    lines: Annotated[list[ReturnedLine], Field(min_length=1, max_length=MAX_LINES)]
    resolution: Literal["refund", "exchange", "store_credit"] = "refund"
    location: Id | None = None
    parcels: Annotated[int, Field(ge=1, le=MOST_PARCELS)] = 1
    travels_with: Id | None = None
    customer: Proof | None = None
    tenders: Annotated[list[OrderTender], Field(max_length=20, default_factory=list)]


class ClaimedLine(Wire):
    """Units of one line that the customer keeps or never got, and what is wrong with them."""

    line: LineNumber
    quantity: Quantity
    reason: ClaimReason
    photos: Photos = Field(default_factory=list)


class ClaimRequest(Wire):
    """The body of a claim: nothing is sent back. `replace`: the same article again."""

    order: Id
    lines: Annotated[list[ClaimedLine], Field(min_length=1, max_length=MAX_LINES)]
    resolution: Literal["refund", "replace", "store_credit"] = "refund"
    customer: Proof | None = None


class Buyer(Message):
    """Who bought, as their order says. Personal data: never log it, never let it into a run."""

    id: str
    email: str | None = None
    postal_code: str | None = None


class AgreedLine(Message):
    """Units of a line as agreed. `worth_minor`: what was paid for them.

    `until`: when its window closes; None while no window has begun to close. `exchange`: what is
    wanted instead, and what of that they pay for.
    """

    line: int
    sku: str
    quantity: int
    reason: str
    photos: tuple[str, ...] = ()
    condition: Condition | None = None
    worth_minor: int
    until: datetime | None = None
    exchange: ExchangedLine | None = None


class Agreed(Message):
    """What may come back, and on which terms. Amounts are the order's currency.

    `refund_minor`: what the customer is told they get, if all comes back and is accepted;
    `shipping_minor` of it for the outbound way.
    `pay_minor`: what an exchange costs beyond what comes back. `needs_approval`: why a person must
    approve it first. `policy_version`: whose terms these are. `remind_at`, `expire_at`: what
    happens to one who sends nothing; None for goods that are not sent.
    """

    terms: Terms
    lines: tuple[AgreedLine, ...]
    refund_minor: int
    shipping_minor: int = 0
    pay_minor: int = 0
    needs_approval: str | None = None
    policy_version: int
    remind_at: datetime | None = None
    expire_at: datetime | None = None


# --- the request itself ---------------------------------------------------------------------


def check_request(request: ReturnRequest | ClaimRequest) -> Unacceptable | None:
    """What is wrong with a request whatever the order is; None if nothing."""
    if request.resolution == "store_credit":
        detail = "Store credit is not given yet. Possible: a refund or other goods."
        flaw = Flaw(pointer="/resolution", code="resolution_unsupported", detail=detail)
        return Unacceptable(code="resolution_unsupported", detail=detail, errors=(flaw,))
    flaws = [*_repeated(request.lines), *_proves_nothing(request.customer)]
    if isinstance(request, ReturnRequest):
        flaws += _misplaced(request)
    if not flaws:
        return None
    detail = "The request contradicts itself."
    return Unacceptable(code="validation_failed", detail=detail, errors=tuple(flaws))


def _repeated(lines: Sequence[ReturnedLine | ClaimedLine]) -> list[Flaw]:
    first: dict[int, int] = {}
    return [
        Flaw(
            pointer=f"/lines/{i}/line",
            code="repeated",
            detail=f"Line {each.line} stands at {first[each.line]} already: add the units up.",
        )
        for i, each in enumerate(lines)
        if first.setdefault(each.line, i) != i
    ]


def _proves_nothing(proof: Proof | None) -> list[Flaw]:
    if proof is None or proof.model_dump(exclude_none=True):
        return []
    detail = "One of id, email and postal_code at least; or leave it out."
    return [Flaw(pointer="/customer", code="required", detail=detail)]


def _misplaced(request: ReturnRequest) -> list[Flaw]:
    flaws = []
    if request.via == "store" and request.location is None:
        detail = "Which store it is brought to."
        flaws.append(Flaw(pointer="/location", code="required", detail=detail))
    if request.via == "store" and request.travels_with is not None:
        detail = "What is brought to a store travels in no parcels."
        flaws.append(Flaw(pointer="/travels_with", code="not_allowed", detail=detail))
    if request.via == "store" and request.parcels > 1:
        detail = "What is brought to a store travels in no parcels."
        flaws.append(Flaw(pointer="/parcels", code="not_allowed", detail=detail))
    flaws += _seen_by_nobody(request)
    if request.resolution == "exchange":
        return flaws
    detail = "Only an exchange has it."
    for i, each in enumerate(request.lines):
        for name in ("sku", "unit_price_minor"):
            if getattr(each, name) is not None:
                pointer = f"/lines/{i}/{name}"
                flaws.append(Flaw(pointer=pointer, code="not_allowed", detail=detail))
    if request.tenders:
        flaws.append(Flaw(pointer="/tenders", code="not_allowed", detail=detail))
    return flaws


def _seen_by_nobody(request: ReturnRequest) -> list[Flaw]:
    if request.via == "store":
        return []
    detail = "Only a till sees how they are; a parcel is inspected when it arrives."
    return [
        Flaw(pointer=f"/lines/{i}/condition", code="not_allowed", detail=detail)
        for i, each in enumerate(request.lines)
        if each.condition is not None
    ]


def is_theirs(proof: Proof | None, buyer: Buyer) -> bool:
    """Whether all that somebody says of themselves is the order's. Nothing said: the channel knows.

    Capitals do not matter, nor how a postal code is spaced.
    """
    if proof is None:
        return True
    return (
        (proof.id is None or proof.id == buyer.id)
        and _same(proof.email, buyer.email)
        and _same(proof.postal_code, buyer.postal_code)
    )


def _same(said: str | None, known: str | None) -> bool:
    return said is None or (known is not None and _plain(said) == _plain(known))


def _plain(text: str) -> str:
    return "".join(each for each in text.casefold() if each.isalnum() or each in "@.+_")


# --- returns --------------------------------------------------------------------------------


def agree(
    order: Order,
    request: ReturnRequest,
    policy: VersionedPolicy,
    *,
    tags: Mapping[str, tuple[str, ...]],
    now: datetime,
    buyer: Buyer | None = None,
) -> Agreed | tuple[Flaw, ...]:
    """Tell on which terms units may come back, or why they may not, each flaw at its line.

    `tags`: of the articles in question; none for those left out. `buyer`: who bought, to compare
    with what the request says of the customer; without it only the customer's id is known.
    """
    if not is_theirs(request.customer, buyer or Buyer(id=order.customer_id)):
        return (_NOT_THEIRS,)
    flaws, lines = _sorted(_ruled(order, each, policy, tags, now) for each in request.lines)
    if flaws:
        return flaws
    agreed = _agreed(order, request.lines, lines, policy, via=request.via)
    if request.resolution == "exchange":
        agreed = _exchanged(order, request, agreed)
    if request.via == "store":
        return agreed
    times = policy.policy.times
    return agreed.model_copy(
        update={
            "remind_at": now + timedelta(days=times.remind_days),
            "expire_at": now + timedelta(days=times.expire_days),
        }
    )


_NOT_THEIRS = Flaw(
    pointer="/customer",
    code="not_theirs",
    detail="Nothing of this customer's can be returned under this number.",
)

_No = tuple[str, str]


def _sorted(found: Iterable[Ruled | _No]) -> tuple[tuple[Flaw, ...], list[Ruled]]:
    """The flaws among what was found line by line, each at its line, and the rest."""
    flaws, lines = [], []
    for i, each in enumerate(found):
        if isinstance(each, Ruled):
            lines.append(each)
        else:
            code, detail = each
            flaws.append(Flaw(pointer=f"/lines/{i}", code=code, detail=detail))
    return tuple(flaws), lines


_NO_RULE = ReturnRule(name="claim")


def _ruled(
    order: Order,
    asked: ReturnedLine | ClaimedLine,
    policy: VersionedPolicy,
    tags: Mapping[str, tuple[str, ...]],
    now: datetime,
) -> Ruled | _No:
    """The rule for a line that may come back, or a code and words why it may not.

    A final sale may be claimed for: it was sold as sound.
    """
    line = order.line(asked.line)
    if line is None:
        return _line_unknown(order, asked.line)
    if no := _too_many(order, line, asked.quantity):
        return no
    rule = rule_of(policy.policy, order, line, tags=tags.get(line.sku, ()), reason=asked.reason)
    if isinstance(asked, ClaimedLine):
        rule = rule or _NO_RULE
    elif rule is None:
        return "final_sale", f"No rule lets {line.sku} come back for the reason {asked.reason}."
    elif not rule.returnable:
        return "final_sale", f"{line.sku} is a final sale by the rule “{rule.name}”."
    if no := _too_late(order, line, rule, now):
        return no
    if asked.reason in rule.photo_for and not asked.photos:
        return "photo_missing", f"The reason {asked.reason} needs a photo of {line.sku}."
    return Ruled(line, asked.quantity, asked.reason, rule)


def _line_unknown(order: Order, number: int) -> _No:
    last = max(line.line for line in order.lines)
    return "line_unknown", f"The order has no line {number}; its lines go from 1 to {last}."


def _too_many(order: Order, line: Line, asked: int) -> _No | None:
    left = order.returnable(line.line)
    if asked <= left:
        return None
    if not line.handed_over:
        return "not_sent", f"Nothing of {line.sku} has been sent yet: it can be cancelled instead."
    gone = line.handed_over - left
    if not gone:
        return "more_than_sent", f"{line.handed_over} of {line.sku} were sent, {asked} are asked."
    sent = f"{line.handed_over} of {line.sku} were sent"
    rest = f"{left or 'none'} can be returned, {asked} are asked"
    return "more_than_sent", f"{sent}, {gone} of them are announced, claimed or back: {rest}."


def _too_late(order: Order, line: Line, rule: ReturnRule, now: datetime) -> _No | None:
    end = window_end(order, line.line, rule)
    if end is None or now <= end:
        return None
    days = count_of(rule.window_days, "day")
    detail = f"{line.sku} could be returned until {end:%Y-%m-%d %H:%M} UTC, {days} after delivery."
    return "outside_window", detail


# --- claims ---------------------------------------------------------------------------------


def agree_claim(
    order: Order,
    request: ClaimRequest,
    policy: VersionedPolicy,
    *,
    tags: Mapping[str, tuple[str, ...]],
    now: datetime,
    buyer: Buyer | None = None,
) -> Agreed | tuple[Flaw, ...]:
    """Tell what a claim gives back, or why it does not, each flaw at its line. See `agree`."""
    if not is_theirs(request.customer, buyer or Buyer(id=order.customer_id)):
        return (_NOT_THEIRS,)
    flaws, lines = _sorted(_ruled(order, each, policy, tags, now) for each in request.lines)
    if flaws:
        return flaws
    agreed = _agreed(order, request.lines, lines, policy, via=None)
    if request.resolution != "replace":
        return agreed
    return _with_exchange(order, agreed, [Wanted(quantity=each.quantity) for each in agreed.lines])


# --- what is agreed -------------------------------------------------------------------------


def _agreed(
    order: Order,
    asked: Sequence[ReturnedLine | ClaimedLine],
    lines: Sequence[Ruled],
    policy: VersionedPolicy,
    *,
    via: Via | None,
) -> Agreed:
    """A refund of these lines: goods as allotted, and shipping by the rule, less the fee."""
    terms = strictest(order, policy.policy, lines, via)
    agreed = tuple(
        AgreedLine(
            line=each.line.line,
            sku=each.line.sku,
            quantity=each.quantity,
            reason=each.reason,
            photos=tuple(said.photos),
            condition=said.condition if isinstance(said, ReturnedLine) else None,
            worth_minor=worth_of(order, each.line, each.quantity),
            until=window_end(order, each.line.line, each.rule),
        )
        for said, each in zip(asked, lines, strict=True)
    )
    worth = sum(each.worth_minor for each in agreed)
    counts = {each.line: each.quantity for each in agreed}
    shipping = shipping_told(order, terms, counts)
    return Agreed(
        terms=terms,
        lines=agreed,
        refund_minor=max(0, worth + shipping - terms.fee_minor),
        shipping_minor=shipping,
        needs_approval=why_approval(order, policy.policy, lines, worth),
        policy_version=policy.version,
    )


_NO_SHIPPING = {"shipping_minor": 0, "shipping_whole": False}


def _exchanged(order: Order, request: ReturnRequest, agreed: Agreed) -> Agreed:
    return _with_exchange(
        order,
        agreed,
        [
            Wanted(quantity=each.quantity, sku=each.sku, unit_price_minor=each.unit_price_minor)
            for each in request.lines
        ],
    )


def _with_exchange(order: Order, agreed: Agreed, wanted: Sequence[Wanted]) -> Agreed:
    """An exchange of these lines: what costs more is paid for, what was worth more given back.

    Each line stands for itself, because each may come back without the others.
    """
    lines = []
    for each, want in zip(agreed.lines, wanted, strict=True):
        line = order.line(each.line)
        assert line is not None, "what is agreed is of lines of the order"
        new = exchanged_line(order.number, line, want)
        lines.append(each.model_copy(update={"exchange": new}))
    taken = [(each, each.exchange) for each in lines if each.exchange is not None]
    left = sum(each.worth_minor - new.carried_minor for each, new in taken)
    terms = agreed.terms.model_copy(update=_NO_SHIPPING)
    return agreed.model_copy(
        update={
            "terms": terms,
            "lines": tuple(lines),
            "refund_minor": max(0, left - terms.fee_minor),
            "shipping_minor": 0,
            "pay_minor": sum(new.total_minor for _, new in taken),
        }
    )
