"""Exchanges in any number, in parts and in chains: no money is made, none wrongly kept."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oms.exchanges import Wanted, exchanged_line, taken_over, unit_worth
from oms.numbers import number_from, return_id
from oms.orders import Line, Order
from oms.return_agenda import has_left, units_to_leave
from oms.return_money import Owed, given_back, owed
from oms.returns import HELD, LEAVES, Lot, Return, ReturnLine, Terms
from tests.oms.orders import NOW, a_line, an_order


class Bought:
    """An order of one line, as far as its money goes; units are charged as they leave."""

    def __init__(self, number: str, units: int, total: int, carried: dict[str, int]) -> None:
        self.number, self.units, self.total, self.carried = number, units, total, carried
        self.charged = self.cancelled = self.lost = self.refunded = 0
        self.held = False
        self.returns: list[Return] = []
        self.exchanges: dict[str, Bought] = {}
        self.taken_in = self.given_out = 0

    @property
    def waiting(self) -> int:
        """Units that have not left and are not cancelled."""
        return self.units - self.charged - (self.cancelled - self.lost)

    def as_read(self) -> Order:
        with_customer = self.charged - self.lost
        line = a_line(delivered=with_customer, cancelled=self.cancelled, allocated=self.waiting)
        money = {"total_minor": self.total, "carried": self.carried}
        counts = {"charged": self.charged, "refunded": self.refunded}
        returns = [self._with_what_was_cancelled(each) for each in self.returns]
        return an_order(line | money | counts, number=self.number, returns=returns)

    def _with_what_was_cancelled(self, back: Return) -> Return:
        if back.id not in self.exchanges:
            return back
        (line,) = back.lines
        cancelled = self.exchanges[back.id].cancelled
        lines = (line.model_copy(update={"exchange_cancelled": cancelled}),)
        return back.model_copy(update={"lines": lines})

    @property
    def lots(self) -> list[Lot]:
        return [lot for back in self.returns for lot in back.lots]

    def change(self, id: str, **values: Any) -> None:
        self.returns = [
            each.model_copy(update=values) if each.id == id else each for each in self.returns
        ]


def the_line(order: Order) -> Line:
    (line,) = order.lines
    return line


class Shop:
    """Orders, and returns of them, as the books would carry them out."""

    def __init__(self, units: int, total: int) -> None:
        self.orders: dict[str, Bought] = {}
        self.fees = 0
        first = self._new(units, total, {})
        self.leave(first, units)

    def _new(self, units: int, total: int, carried: dict[str, int]) -> Bought:
        number = number_from(len(self.orders))
        self.orders[number] = Bought(number, units, total, carried)
        return self.orders[number]

    # --- goods ---

    def leave(self, bought: Bought, units: int) -> None:
        """Units are handed over, and paid."""
        line = the_line(bought.as_read())
        bought.taken_in += line.price_of(first=bought.charged, count=units)
        bought.charged += units

    def cancel(self, bought: Bought, units: int) -> None:
        bought.cancelled += units

    def lose(self, bought: Bought, units: int) -> None:
        """Units never arrive: cancelled, and what was paid for them is given back."""
        order = bought.as_read()
        line = the_line(order)
        self._give_out(bought.number, line.price_of(first=given_back(order, line), count=units))
        bought.lost += units
        bought.cancelled += units
        bought.refunded += units

    # --- returns ---

    def ask(self, bought: Bought, units: int, terms: Terms, price: int | None = None) -> Return:
        """Ask for a return; with a price (or -1 for an even one) for an exchange."""
        order = bought.as_read()
        line = the_line(order)
        id = return_id(bought.number, len(bought.returns) + 1)
        carried = 0
        if price is not None:
            wanted = Wanted(quantity=units, unit_price_minor=None if price < 0 else price)
            new = exchanged_line(order.number, line, wanted)
            carried = new.carried_minor
            other = self._new(units, new.total_minor, dict(new.carried))
            other.held = True
            bought.exchanges[id] = other
        back = Return(
            id=id,
            seq=len(bought.returns) + 1,
            kind="return",
            via="post",
            resolution="refund" if price is None else "exchange",
            location="lyon",
            terms=terms,
            refund_minor=0,
            fee_left_minor=terms.fee_minor,
            requested_at=NOW,
            approved_at=NOW,
            scanned_at=NOW,
            exchange_order=bought.exchanges[id].number if id in bought.exchanges else None,
            exchange_told=HELD if id in bought.exchanges else None,
            lines=(
                ReturnLine(
                    line=1, sku="SKU-1", quantity=units, reason="other", carried_minor=carried
                ),
            ),
        )
        bought.returns.append(back)
        return back

    def arrive(self, bought: Bought, id: str, units: int, *, accepted: bool) -> None:
        back = bought.as_read().return_(id)
        (line,) = back.lines
        state = "accepted" if accepted else "rejected"
        lot = Lot.model_validate(
            {
                "id": len(back.lots) + 1,
                "line": 1,
                "sku": "SKU-1",
                "condition": "as_new",
                "location": "lyon",
                "quantity": units,
                "state": state,
                "at": NOW,
            }
        )
        more = max(0, line.received + units - line.quantity)
        received = {
            "received": line.received + units,
            "quantity": line.quantity + more,
            "extra": line.extra + more,
        }
        bought.change(id, lots=(*back.lots, lot), lines=(line.model_copy(update=received),))

    def let_go(self, bought: Bought, id: str) -> None:
        """The goods in exchange may leave, if that is decided; what they do not replace never."""
        back = bought.as_read().return_(id)
        other = bought.exchanges.get(id)
        units = units_to_leave(back)
        if other is None or units is None or back.exchange_told != HELD or back.fell_away:
            return
        self.cancel(other, min(other.waiting, back.lines[0].exchanged - units[1]))
        other.held = False
        bought.change(id, exchange_told=LEAVES)

    def fall_away(self, bought: Bought, id: str) -> None:
        bought.change(id, cancelled_at=NOW)
        if id in bought.exchanges:
            self.cancel(bought.exchanges[id], bought.exchanges[id].waiting)

    def settle(self, bought: Bought, id: str) -> Owed:
        """Give back what is due."""
        order = bought.as_read()
        back = order.return_(id)
        due = Owed() if back.fell_away else owed(order, back)
        (line,) = back.lines
        counts = {
            "settled": line.settled + due.settle.get(1, 0),
            "refunded": line.refunded + due.refund.get(1, 0),
        }
        bought.change(
            id,
            lines=(line.model_copy(update=counts),),
            fee_left_minor=back.fee_left_minor - due.fee_minor,
        )
        bought.refunded += due.refund.get(1, 0)
        self.fees += due.fee_minor
        self._give_out(bought.number, due.amount_minor)
        for holder, minor in due.carried_minor.items():
            self._give_out(holder, minor)
        return due

    def _give_out(self, number: str, minor: int) -> None:
        assert minor >= 0
        holder = self.orders[number]
        holder.given_out += minor
        assert holder.given_out <= holder.taken_in, "more was given back than came in"

    # --- the end ---

    def returnable(self, bought: Bought) -> int:
        return bought.as_read().returnable(1)

    def wind_up(self) -> None:
        """Everything still out comes back, exchanges that hold leave, and all is refunded."""
        for _ in range(50):
            for bought in list(self.orders.values()):
                for back in bought.as_read().returns:
                    self._finish(bought, back)
                if bought.waiting and not bought.held:
                    self.leave(bought, bought.waiting)
                if units := self.returnable(bought):
                    id = self.ask(bought, units, Terms()).id
                    self.arrive(bought, id, units, accepted=True)
                    self.settle(bought, id)
            if not any(each.waiting or self.returnable(each) for each in self.orders.values()):
                break
        for bought in self.orders.values():
            for back in bought.as_read().returns:
                self._finish(bought, back)

    def _finish(self, bought: Bought, back: Return) -> None:
        (line,) = back.lines
        if not back.fell_away and line.expected:
            self.arrive(bought, back.id, line.expected, accepted=True)
        self.let_go(bought, back.id)
        self.settle(bought, back.id)


MOMENTS = st.sampled_from(["scan", "receipt", "inspection"])
SHIPS = st.sampled_from(["at_once", "scan", "receipt", "inspection"])
PRICES = st.one_of(st.none(), st.just(-1), st.integers(0, 900))


@settings(max_examples=100)
@given(st.data(), st.integers(1, 5), st.integers(0, 2000))
def test_all_that_was_paid_is_given_back_to_the_cent_by_the_tender_that_paid(
    data: st.DataObject, units: int, total: int
) -> None:
    shop = Shop(units, total)
    for _ in range(data.draw(st.integers(1, 14))):
        bought = data.draw(st.sampled_from(list(shop.orders.values())))
        _do_something(data, shop, bought)
    shop.wind_up()

    for each in shop.orders.values():
        assert each.given_out == each.taken_in, f"{each.number} kept what is not its own"


@settings(max_examples=60)
@given(st.data(), st.integers(1, 5), st.integers(0, 2000), st.integers(0, 60))
def test_fees_are_all_that_is_kept_and_what_is_refused_is_not_paid(
    data: st.DataObject, units: int, total: int, fee: int
) -> None:
    shop = Shop(units, total)
    for _ in range(data.draw(st.integers(1, 14))):
        bought = data.draw(st.sampled_from(list(shop.orders.values())))
        _do_something(data, shop, bought, fee=fee)
    refused = sum(lot.state == "rejected" for each in shop.orders.values() for lot in each.lots)
    shop.wind_up()

    kept = sum(each.taken_in - each.given_out for each in shop.orders.values())
    assert kept >= shop.fees if refused else kept == shop.fees


def _do_something(data: st.DataObject, shop: Shop, bought: Bought, fee: int | None = None) -> None:
    doing = data.draw(st.sampled_from(["leave", "cancel", "lose", "ask", *["go on"] * 3]))
    free = shop.returnable(bought)
    if doing == "leave" and bought.waiting and not bought.held:
        shop.leave(bought, data.draw(st.integers(1, bought.waiting)))
    elif doing == "cancel" and bought.waiting:
        shop.cancel(bought, data.draw(st.integers(1, bought.waiting)))
    elif doing == "lose" and free:
        shop.lose(bought, data.draw(st.integers(1, free)))
    elif doing == "ask" and free:
        terms = Terms(
            refund_at=data.draw(MOMENTS), exchange_ships=data.draw(SHIPS), fee_minor=fee or 0
        )
        shop.ask(bought, data.draw(st.integers(1, free)), terms, data.draw(PRICES))
    elif doing == "go on":
        live = [each for each in bought.as_read().returns if each.is_live]
        if live:
            _go_on(data, shop, bought, data.draw(st.sampled_from(live)), may_refuse=fee is not None)


def _go_on(
    data: st.DataObject, shop: Shop, bought: Bought, back: Return, *, may_refuse: bool
) -> None:
    doing = data.draw(st.sampled_from(["arrive", "settle", "fall away", "let go"]))
    free = back.lines[0].expected + shop.returnable(bought)
    if doing == "arrive" and free:
        accepted = not may_refuse or data.draw(st.booleans())
        shop.arrive(bought, back.id, data.draw(st.integers(1, free)), accepted=accepted)
    elif doing == "settle":
        shop.settle(bought, back.id)
    elif doing == "let go":
        shop.let_go(bought, back.id)
    elif doing == "fall away" and not (back.lots or back.lines[0].settled or has_left(back)):
        shop.fall_away(bought, back.id)


@given(st.integers(0, 5000), st.integers(1, 7), st.integers(0, 900), st.integers(0, 900))
def test_what_an_exchange_takes_over_is_the_same_for_each_unit(
    total: int, units: int, carried: int, price: int
) -> None:
    line = the_line(
        an_order(
            a_line(delivered=units)
            | {"total_minor": total, "carried": {"AAAA-AAAA-A": carried * units}}
        )
    )
    worth = unit_worth("2222-2222-2", line)
    new = exchanged_line("2222-2222-2", line, Wanted(quantity=units, unit_price_minor=price))

    assert all(minor % units == 0 for minor in new.carried.values())
    assert new.carried_minor + new.total_minor == price * units
    assert new.total_minor == max(0, price - sum(worth.values())) * units
    assert all(new.carried.get(holder, 0) <= minor * units for holder, minor in worth.items())


def test_what_was_paid_first_goes_along_and_what_was_paid_last_is_given_back() -> None:
    line = the_line(
        an_order(a_line(delivered=2) | {"total_minor": 200, "carried": {"AAAA-AAAA-A": 600}})
    )

    assert taken_over("2222-2222-2", line, 350) == {"AAAA-AAAA-A": 300, "2222-2222-2": 50}
    assert taken_over("2222-2222-2", line, 120) == {"AAAA-AAAA-A": 120}


def test_the_tax_of_what_is_still_to_pay_is_of_the_first_articles_rate() -> None:
    line = the_line(an_order(a_line(delivered=1) | {"total_minor": 1200, "tax_minor": 200}))
    new = exchanged_line("2222-2222-2", line, Wanted(quantity=1, unit_price_minor=1800))

    assert (new.total_minor, new.discount_minor, new.tax_minor) == (600, 1200, 100)


def test_the_same_article_costs_nothing_more_and_nothing_less() -> None:
    line = the_line(an_order(a_line(delivered=3) | {"total_minor": 5000}))
    new = exchanged_line("2222-2222-2", line, Wanted(quantity=2))

    assert (new.sku, new.total_minor, new.carried_minor) == ("SKU-1", 0, 3332)
