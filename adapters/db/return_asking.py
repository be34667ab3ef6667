"""A return is asked for: what the policy says of it, decided on the order's lock and written."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import text

from adapters.db.exchange_orders import plan_exchange, record_exchange
from adapters.db.return_policies import current_policy
from adapters.db.return_receipts import bring_back
from adapters.db.returns import Announced, NewReturn, next_return_id, request_return
from adapters.db.unit import OrderUnit
from oms.cancelling import Refusal
from oms.fields import Flaw
from oms.orders import Order
from oms.placing import OrderTender, Unacceptable
from oms.return_policy import ReturnPolicy, VersionedPolicy
from oms.return_requests import Agreed, Buyer, ClaimRequest, ReturnRequest, agree, agree_claim

MOST_RETURNS = 500
"""Of one order, those that fell away included: they are read with it, whatever it is read for."""


class NotReturnable(NamedTuple):
    """Why nothing may come back, by line. Nothing was written."""

    flaws: tuple[Flaw, ...]


Asked = str | NotReturnable | Unacceptable | Refusal
"""The id of what was written; or why nothing was."""


async def agree_by(
    unit: OrderUnit, request: ReturnRequest | ClaimRequest, policy: VersionedPolicy
) -> Agreed | tuple[Flaw, ...]:
    """Tell what a policy says of a request, by what the books know of the order."""
    tags, buyer = await tags_of(unit), await buyer_of(unit)
    if isinstance(request, ClaimRequest):
        return agree_claim(unit.order, request, policy, tags=tags, now=unit.at, buyer=buyer)
    return agree(unit.order, request, policy, tags=tags, now=unit.at, buyer=buyer)


async def ask_return(unit: OrderUnit, request: ReturnRequest) -> Asked:
    """Write the return that a customer asks for, on the terms of today's policy. Gives its id.

    At a till it is received at once, as new; an exchange once its order is confirmed
    (`finish_at_till`).
    """
    policy = await current_policy(unit.tx)
    agreed = await agree_by(unit, request, policy)
    if isinstance(agreed, tuple):
        return NotReturnable(agreed)
    location = request.location or _destination(unit.order, policy.policy, agreed)
    if request.travels_with is not None:
        leads = await _goes_there(unit, request.travels_with)
        if leads is None:
            return _CANNOT_TRAVEL
        location = leads
    if not await _takes_returns(unit, location):
        detail = f"There is no open location {location} to bring it to."
        return Refusal(code="location_unknown", detail=detail, pointer="/location")
    at_till = request.via == "store"
    exchanged = request.resolution == "exchange"
    brought = at_till and agreed.needs_approval is None and not exchanged
    packs_itself = not at_till and request.travels_with is None
    times = policy.policy.times
    asked = await _write(
        unit,
        agreed,
        request.tenders,
        NewReturn(
            lines=_announced(agreed),
            terms=agreed.terms,
            refund_minor=agreed.refund_minor,
            resolution="exchange" if exchanged else "refund",
            via=request.via,
            location=location,
            parcels=request.parcels if packs_itself else 0,
            leader=request.travels_with,
            policy_version=policy.version,
            needs_approval=agreed.needs_approval,
            days=None if brought else (times.remind_days, times.expire_days),
        ),
    )
    if isinstance(asked, str) and brought:
        await finish_at_till(unit, asked)
    return asked


async def ask_claim(unit: OrderUnit, request: ClaimRequest) -> Asked:
    """Write what a customer claims: nothing is sent back. Gives its id."""
    policy = await current_policy(unit.tx)
    agreed = await agree_by(unit, request, policy)
    if isinstance(agreed, tuple):
        return NotReturnable(agreed)
    new = NewReturn(
        lines=_announced(agreed),
        terms=agreed.terms,
        refund_minor=agreed.refund_minor,
        via="none",
        kind="claim",
        resolution="exchange" if request.resolution == "replace" else "refund",
        policy_version=policy.version,
        needs_approval=agreed.needs_approval,
    )
    return await _write(unit, agreed, (), new)


def _announced(agreed: Agreed) -> tuple[Announced, ...]:
    return tuple(
        Announced(
            each.line,
            each.quantity,
            each.reason,
            each.photos,
            exchange_sku=each.exchange.sku if each.exchange else None,
            exchange_line=i if each.exchange else None,
            carried_minor=each.exchange.carried_minor if each.exchange else 0,
            condition=each.condition,
        )
        for i, each in enumerate(agreed.lines, 1)
    )


async def _write(
    unit: OrderUnit, agreed: Agreed, tenders: Sequence[OrderTender], new: NewReturn
) -> str | Unacceptable | Refusal:
    """Write what was agreed, and the order for the goods in exchange with it."""
    if len(unit.order.returns) >= MOST_RETURNS:
        detail = f"{unit.number} has {MOST_RETURNS} returns and claims already."
        return Refusal(code="not_returnable", detail=detail, pointer="/order")
    if new.resolution != "exchange":
        return await request_return(unit, new)
    id = next_return_id(unit.order)
    lines = [each.exchange for each in agreed.lines if each.exchange is not None]
    exchange = await plan_exchange(unit, id, lines, tenders)
    if isinstance(exchange, Unacceptable):
        return exchange
    if not await record_exchange(unit, id, exchange):
        detail = f"The channel has an order named {id}: there can be no exchange under this name."
        return Unacceptable(code="reference_reused", detail=detail)
    return await request_return(unit, new._replace(exchange_order=exchange.number))


async def finish_at_till(unit: OrderUnit, id: str) -> None:
    """Receive what is brought to a till, unless a person must approve it first. Once."""
    back = (await unit.reloaded()).return_(id)
    is_open = back.approved_at is not None and back.is_live and not back.has_arrived
    if back.via != "store" or not is_open:
        return
    await bring_back(unit, id)
    if back.exchange_order is not None:  # its process may run already
        unit.nudge_return(id, "brought")
        await unit.flush("brought")


_CANNOT_TRAVEL = Refusal(
    code="not_returnable",
    detail="No return of this customer that has parcels and was not sent yet has this id.",
    pointer="/travels_with",
)


async def _goes_there(unit: OrderUnit, leader: str) -> str | None:
    """Where the parcels of another return go, if goods of this order may be put into them."""
    found = await unit.ask(
        """
        SELECT r.location FROM returns r JOIN orders o ON o.number = r.order_number
        WHERE r.id = :id AND o.channel = :channel AND o.customer_id = :customer
            AND r.leader IS NULL AND r.kind = 'return' AND r.scanned_at IS NULL
            AND r.received_at IS NULL AND EXISTS (SELECT FROM return_parcels p
                WHERE p.return_id = r.id)
            AND coalesce(r.closed_at, r.declined_at, r.cancelled_at, r.expired_at) IS NULL
        """,
        id=leader,
        channel=unit.order.channel,
        customer=unit.order.customer_id,
    )
    return found[0].location if found else None


def _destination(order: Order, policy: ReturnPolicy, agreed: Agreed) -> str | None:
    """Where parcels go: the policy's place, else where the goods came from."""
    if policy.return_to is not None:
        return policy.return_to
    lines = {each.line for each in agreed.lines}
    sent = (
        each.location
        for each in reversed(order.fulfillment_orders)
        if each.handed_over_at is not None and lines & {line.line for line in each.lines}
    )
    return next(sent, None)


async def _takes_returns(unit: OrderUnit, location: str | None) -> bool:
    found = await unit.ask("SELECT 1 FROM locations WHERE id = :id AND active", id=location or "")
    return bool(found)


async def tags_of(unit: OrderUnit) -> Mapping[str, tuple[str, ...]]:
    """The tags of an order's articles."""
    rows = await unit.ask(
        "SELECT sku, tags FROM products WHERE sku = ANY(CAST(:skus AS text[]))",
        skus=sorted({line.sku for line in unit.order.lines}),
    )
    return {row.sku: tuple(row.tags) for row in rows}


async def buyer_of(unit: OrderUnit) -> Buyer:
    """Who bought, to compare with who asks. Personal data."""
    row = (
        await unit.tx.execute(
            text(
                "SELECT document->'customer'->>'email' AS email,"
                " document->'delivery'->'address'->>'postal_code' AS postal_code"
                " FROM orders WHERE number = :n"
            ),
            {"n": unit.number},
        )
    ).one()
    return Buyer(id=unit.order.customer_id, email=row.email, postal_code=row.postal_code)
