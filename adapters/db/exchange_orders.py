"""Orders for the goods in exchange: written with the return they belong to, in its transaction.

Such an order is placed like any other, by its own process, and is on hold from the start: its stock
is reserved and allocated, and nothing leaves until the return lets it go (`adapters.db.exchanges`).
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import text

from adapters.db.master import unknown_skus
from adapters.db.placing import record_order
from adapters.db.unit import OrderUnit
from oms.exchanges import ExchangedLine
from oms.fields import Flaw
from oms.money import format_money
from oms.numbers import NUMBERS, number_from
from oms.orders import EXCHANGE_HOLD
from oms.placing import OrderRequest, OrderTender, Unacceptable, check_order, content_hash


class Exchange(NamedTuple):
    """What to write: the order that a channel would have sent, and what it carries by line."""

    number: str
    request: OrderRequest
    lines: tuple[ExchangedLine, ...]


async def plan_exchange(
    unit: OrderUnit,
    id: str,
    lines: Sequence[ExchangedLine],
    tenders: Sequence[OrderTender] = (),
) -> Exchange | Unacceptable:
    """Work out the exchange order of a return that is about to be written under this id.

    It goes to the same customer by the same delivery. Its tenders must pay just what the goods sent
    back do not. Nothing is written yet.
    """
    request = await _request(unit, id, lines, tenders)
    if wrong := check_order(request):
        return _in_words(wrong, request)
    unknown = await unknown_skus(unit.tx, {line.sku for line in lines})
    if unknown:
        flaws = [
            Flaw(pointer=f"/lines/{i}/sku", code="sku_unknown", detail="There is none here.")
            for i, line in enumerate(lines)
            if line.sku in unknown
        ]
        return Unacceptable(code="sku_unknown", detail="See errors.", errors=tuple(flaws))
    return Exchange(await _free_number(unit), request, tuple(lines))


async def _request(
    unit: OrderUnit, id: str, lines: Sequence[ExchangedLine], tenders: Sequence[OrderTender]
) -> OrderRequest:
    found = await unit.tx.execute(
        text("SELECT document FROM orders WHERE number = :n"), {"n": unit.number}
    )
    document: dict[str, Any] = found.scalar_one()
    changed = {
        "reference": id,
        "lines": [line.as_ordered().model_dump() for line in lines],
        "shipping_minor": 0,
        "shipping_tax_minor": 0,
        "allow_backorder": False,
        "tenders": [tender.model_dump() for tender in tenders],
    }
    return OrderRequest.model_validate_json(json.dumps(document | changed))


def _in_words(wrong: Unacceptable, request: OrderRequest) -> Unacceptable:
    """Say what an exchange costs to one whose tenders pay something else."""
    if wrong.code != "tenders_do_not_match_total":
        return wrong
    more = format_money(request.total_minor, request.currency)
    detail = f"The exchange costs {more} more than what is sent back; tenders must pay just that."
    flaw = Flaw(pointer="/tenders", code=wrong.code, detail=detail)
    return Unacceptable(code=wrong.code, detail=detail, errors=(flaw,))


async def _free_number(unit: OrderUnit) -> str:
    while True:
        number = number_from(secrets.randbelow(NUMBERS))
        if not await unit.ask("SELECT 1 FROM orders WHERE number = :new", new=number):
            return number


async def record_exchange(unit: OrderUnit, id: str, exchange: Exchange) -> bool:
    """Write the order, on hold and with what it carries. False if its reference is taken.

    The channel could only have taken it by naming an order like a return.
    """
    order, number = unit.order, exchange.number
    stored = await record_order(
        unit.tx,
        number,
        exchange.request,
        content_hash=content_hash(exchange.request),
        place=(order.country, order.latitude, order.longitude),
        at=unit.at,
    )
    if not stored:
        return False
    unit.run("UPDATE orders SET exchange_of = :id WHERE number = :new", id=id, new=number)
    unit.run(
        "UPDATE order_lines l SET carried = c.carried"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS c(line int, carried jsonb)"
        " WHERE l.order_number = :new AND l.line = c.line",
        rows=json.dumps(
            [{"line": i, "carried": line.carried} for i, line in enumerate(exchange.lines, 1)]
        ),
        new=number,
    )
    _hold(unit, id, number)
    unit.tell(
        "return.exchanged",
        f"{id}: {number} brings other goods for what comes back",
        **{"return": id, "exchange_order": number},
    )
    unit.told.append("order.placed")
    return True


def _hold(unit: OrderUnit, id: str, number: str) -> None:
    hold = f"{number}-H1"
    unit.run(
        "INSERT INTO holds (id, order_number, reason, placed_at) VALUES (:id, :new, :reason, :at)",
        id=hold,
        new=number,
        reason=EXCHANGE_HOLD,
        at=unit.at,
    )
    unit.run(
        "INSERT INTO events (order_number, seq, at, actor, kind, summary, data)"
        " VALUES (:new, 2, :at, 'oms', 'order.held', :summary, CAST(:data AS jsonb))",
        new=number,
        at=unit.at,
        summary=f"Put on hold until {id} lets it go",
        data=json.dumps({"hold": hold, "reason": EXCHANGE_HOLD, "return": id}),
    )
