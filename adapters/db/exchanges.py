"""Exchange orders, as their returns let them go or call them off.

Two orders take part, each in a transaction of its own: the return decides, the exchange order does
it, then the return writes that it did. Cut off in between, it is done again, and changes nothing.
"""

from datetime import datetime

from adapters.db.book import SqlBook
from adapters.db.cancelling import cancel_order, release_hold
from adapters.db.exchange_money import write_undelivered
from adapters.db.placing import promise_now
from adapters.db.returns import change_return, set_return
from adapters.db.unit import OrderUnit
from oms.exchanges import cancellable, undelivered
from oms.numbers import order_of
from oms.orders import EXCHANGE_HOLD, Order
from oms.policy import Policy
from oms.return_agenda import units_to_leave
from oms.return_money import promised_over
from oms.returns import CALLED_OFF, HELD, LEAVES, LEAVING, Return


async def let_go(book: SqlBook, id: str, at: datetime) -> None:
    """Let the goods in exchange leave: as many as came back; the others are cancelled."""
    other = await book.change(order_of(id), at, lambda unit: _decide(unit, id))
    if other is None:
        return
    number, keep = other
    if not keep:
        await call_off(book, id, at)
        return

    async def release(unit: OrderUnit) -> dict[int, int]:
        await _cancel_beyond(unit, keep, book.policy)
        for hold in unit.order.open_holds:
            if hold.reason == EXCHANGE_HOLD:
                await release_hold(unit, hold.id)
                await unit.again()
                await promise_now(unit, book.policy)
        return undelivered(await unit.reloaded())

    left_out = await book.change(number, at, release)
    await _tell(book, id, at, LEAVES, left_out, f"{number} leaves in exchange")


async def _decide(unit: OrderUnit, id: str) -> tuple[str, dict[int, int]] | None:
    """Decide that goods may leave, so that the return cannot be called off meanwhile.

    Gives their order, and how many units of each of its lines. None: they may not (any more).
    """
    back = unit.order.return_(id)
    units = units_to_leave(back)
    if units is not None:
        units = {line: min(count, _paid_for(unit.order, id, line)) for line, count in units.items()}
    may = back.exchange_told == LEAVING or (back.exchange_told == HELD and back.is_live)
    if back.exchange_order is None or units is None or not may:
        return None
    if back.exchange_told == HELD and not any(units.values()):
        return back.exchange_order, {}
    if back.exchange_told == HELD:
        set_return(unit, id, exchange_told=LEAVING, version=back.version + 1)
        await unit.flush("exchange_leaving")
    keep = {line.exchange_line: units[line.line] for line in back.lines if line.exchange_line}
    return back.exchange_order, keep


def _paid_for(order: Order, id: str, line: int) -> int:
    """Units of a line whose value is there still: a parcel that was given up was paid back."""
    found = order.line(line)
    assert found is not None, "a return is of lines of its order"
    return max(0, found.charged - found.refunded - promised_over(order, line, but=id))


async def _cancel_beyond(unit: OrderUnit, keep: dict[int, int], policy: Policy) -> None:
    surplus = {
        line.line: min(cancellable(line), max(0, line.kept - keep.get(line.line, 0)))
        for line in unit.order.lines
    }
    if any(surplus.values()):
        wanted = {line: units for line, units in surplus.items() if units}
        await cancel_order(unit, wanted, "what it replaces did not come back", policy)
        await unit.again()


async def call_off(book: SqlBook, id: str, at: datetime) -> None:
    """Keep the goods in exchange: what has not left of them is cancelled."""
    back = (await book.read(order_of(id))).return_(id)
    if back.exchange_order is None or back.exchange_told == CALLED_OFF:
        return

    async def cancel(unit: OrderUnit) -> dict[int, int]:
        await _cancel_beyond(unit, {}, book.policy)
        return undelivered(await unit.reloaded())

    left_out = await book.change(back.exchange_order, at, cancel)
    await _tell(book, id, at, CALLED_OFF, left_out, f"{back.exchange_order} is called off")


async def _tell(
    book: SqlBook, id: str, at: datetime, told: str, left_out: dict[int, int], words: str
) -> None:
    async def write(unit: OrderUnit, back: Return) -> None:
        if back.exchange_told in (told, CALLED_OFF):
            return
        write_undelivered(unit, id, left_out)
        set_return(unit, id, exchange_told=told)
        unit.tell(
            f"return.exchange_{told}",
            f"{id}: {words}",
            **{"return": id, "exchange_order": back.exchange_order},
        )

    async def apply(unit: OrderUnit) -> None:
        await change_return(unit, id, write, cause=f"exchange_{told}")

    await book.change(order_of(id), at, apply)
