"""What exchanges bind together beyond one order.

Money that another order holds, and what an exchange order tells the return that it belongs to.
A row of a return that another order's transaction writes is written by one statement, without that
order's lock; its version rises, so that whoever decides on what they read before decides anew.
"""

import json
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.db.money import refundable_minor, request_payment
from adapters.db.unit import OrderUnit, lock_order
from oms.exchanges import undelivered
from oms.money import format_money
from oms.returns import CALLED_OFF, HELD, LEAVES

_YOUNGEST_FIRST = text(
    "SELECT number FROM orders WHERE number = ANY(:numbers) ORDER BY placed_at DESC, number"
)


async def give_back_elsewhere(
    tx: AsyncConnection, amounts: Mapping[str, int], *, cause: str, at: datetime, actor: str = "oms"
) -> dict[str, int]:
    """Ask for money of a return that other orders hold, from the tenders that paid it.

    `amounts`: minor units by order. `cause`: the return, whose process settles the entries. Gives
    what was asked for: no more than came in there, or will.
    """
    # From the youngest to the oldest, as the return's own order comes first: so no circle arises.
    rows = await tx.execute(_YOUNGEST_FIRST, {"numbers": sorted(amounts)})
    asked = {}
    for number in list(rows.scalars()):
        unit = await lock_order(tx, number, at=at, actor=actor)
        assert unit is not None, f"{number} is stored"
        amount = min(amounts[number], refundable_minor(unit.order))
        if not amount:
            continue
        asked[number] = amount
        request_payment(unit, "refund", amount, cause=cause)
        unit.tell(
            "return.carried_back",
            f"{format_money(amount, unit.order.currency)} to give back for {cause}, whose goods"
            " were paid here",
            **{"return": cause, "amount_minor": amount},
        )
        await unit.flush("give_back")
        await unit.send()
    return asked


# --- what an exchange order tells -----------------------------------------------------------


def tell_confirmed(unit: OrderUnit) -> None:
    """The goods in exchange are held: the return may let them go."""
    if unit.order.exchange_of is None:
        return
    unit.run(
        "UPDATE returns SET exchange_told = :held, version = version + 1"
        " WHERE id = :id AND exchange_told IS NULL",
        held=HELD,
        id=unit.order.exchange_of,
    )
    unit.nudge_return(unit.order.exchange_of, "the exchange is held")


def tell_closed(unit: OrderUnit) -> None:
    """What the exchange order does not deliver is paid by the return, if it came back.

    A return that is closed is opened again for that. A claim for goods that there are none of is
    called off, so that the customer may ask for something else.
    """
    id, order = unit.order.exchange_of, unit.order
    if id is None or not any(undelivered(order).values()):
        return
    write_undelivered(unit, id, undelivered(order))
    unit.run(
        """
        WITH told AS (
            UPDATE returns SET version = version + 1,
                cancelled_at = CASE WHEN :refused AND kind = 'claim' THEN :at
                    ELSE cancelled_at END,
                exchange_told = CASE WHEN :gone AND exchange_told IS DISTINCT FROM :leaves
                        AND NOT (:refused AND kind = 'claim')
                    THEN :off ELSE exchange_told END,
                started_at = CASE WHEN closed_at IS NULL THEN started_at END,
                closed_at = NULL
            WHERE id = :id AND exchange_told IS DISTINCT FROM :off
                AND coalesce(declined_at, cancelled_at, expired_at) IS NULL
            RETURNING 1)
        SELECT pg_notify('oms_returns', '') FROM told
        """,
        id=id,
        refused=order.refusal_code is not None,
        gone=order.all_cancelled,
        leaves=LEAVES,
        off=CALLED_OFF,
        at=unit.at,
    )
    unit.nudge_return(id, "the exchange is closed")


def write_undelivered(unit: OrderUnit, id: str, counts: Mapping[int, int]) -> None:
    """Write how many units an exchange order will not deliver, by its lines."""
    unit.run(
        "UPDATE return_lines l SET exchange_cancelled = c.units"
        " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS c(line int, units int)"
        " WHERE l.return_id = :id AND l.exchange_line = c.line AND l.exchange_cancelled < c.units",
        id=id,
        rows=json.dumps([{"line": line, "units": units} for line, units in counts.items()]),
    )
