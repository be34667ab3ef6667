"""Whatever happens to returns in whatever order, each unit counts once, and all comes to its end.

A hypothesis state machine over the real books. `OMS_WALKS` says how many walks are taken; more
than the usual few are drawn anew each time. A failure prints the way there.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from adapters.db import return_inspections, returns
from adapters.db.return_inspections import Inspected
from adapters.db.return_receipts import Arrived
from oms.orders import Order
from oms.ports import CarrierStatus
from oms.return_policy import Moment, ReturnPolicy, ReturnRule
from oms.returns import Return
from tests.adapters.db.return_walking import PLACES, ReturnWalk, check_money

WALKS = os.environ.get("OMS_WALKS")
STEPS = 40
USUAL_WALKS = 3

_T = TypeVar("_T")

CONDITIONS = st.sampled_from(("as_new", "opened", "damaged", "wrong_item", "missing"))
SCANS: st.SearchStrategy[CarrierStatus] = st.sampled_from(
    ("in_transit", "out_for_delivery", "delivered", "lost")
)
LUCK = st.sampled_from(("approved", "approved", "approved", "declined", "unknown"))
BASKETS = st.lists(
    st.tuples(st.sampled_from(("LAMP", "MUG", "SOFA")), st.integers(1, 3)), min_size=1, max_size=3
)
UNITS = st.lists(st.integers(0, 3), min_size=3, max_size=3)


def policy(refund_at: Moment, fee: int, shipping: Any, above: int | None) -> ReturnPolicy:
    one = ReturnRule(
        name="walk",
        refund_at=refund_at,
        fees_minor={"post": fee, "store": 0},
        refund_shipping=shipping,
        approval_above_minor=above,
    )
    return ReturnPolicy(currency="EUR", rules=(one,))


POLICIES = st.builds(
    policy,
    refund_at=st.sampled_from(("scan", "receipt", "inspection")),
    fee=st.sampled_from((0, 300, 5000)),
    shipping=st.sampled_from(("never", "whole", "always")),
    above=st.sampled_from((None, None, 2000)),
)


class Returns(RuleBasedStateMachine):
    """Everybody who has to do with what comes back, each a rule."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.walk = self._do(ReturnWalk.begins(self.url))

    def _do(self, what: Coroutine[Any, Any, _T]) -> _T:
        return self._loop.run(what)

    def _one(self, data: st.DataObject, found: Sequence[_T]) -> _T:
        return found[data.draw(st.integers(0, len(found) - 1))]

    def _order(self, data: st.DataObject) -> Order:
        return self._one(data, self._do(self.walk.orders()))

    def _return(self, data: st.DataObject) -> tuple[Order, Return] | None:
        found = self._do(self.walk.returns())
        return self._one(data, found) if found else None

    def _some(self, units: list[int], back: Return) -> list[tuple[int, int]]:
        lines = zip((line.line for line in back.lines), units, strict=False)
        return [(line, count) for line, count in lines if count]

    @property
    def sells(self) -> bool:
        """Whether there is an order to do something with."""
        return bool(self.walk.numbers)

    # --- what people buy ---

    @precondition(lambda self: len(self.walk.numbers) < 3)
    @rule(
        lines=BASKETS,
        price=st.sampled_from((0, 333, 1999)),
        shipping=st.sampled_from((0, 490)),
        leave=st.booleans(),
    )
    def somebody_buys(
        self, lines: list[tuple[str, int]], price: int, shipping: int, leave: bool
    ) -> None:
        self._do(self.walk.places(lines, price=price, shipping=shipping if price else 0))
        if leave:
            (order,) = self._do(self.walk.orders())[-1:]
            for _ in order.fulfillment_orders:
                self._do(self.walk.ships(self._do(self.walk.shop.read(order.number))))

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), what=st.sampled_from(("ships", "delivers", "delivers", "cancels")))
    def a_parcel_goes_on(self, data: st.DataObject, what: str) -> None:
        how: dict[str, Callable[[Order], Coroutine[Any, Any, None]]] = {
            "ships": self.walk.ships,
            "delivers": self.walk.delivers,
            "cancels": self.walk.cancels_the_rest,
        }
        self._do(how[what](self._order(data)))

    # --- what comes back ---

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), units=UNITS, policy=POLICIES, via=st.sampled_from(("post", "store")))
    def somebody_asks(
        self, data: st.DataObject, units: list[int], policy: ReturnPolicy, via: str
    ) -> None:
        order = self._order(data)
        each = zip((line.line for line in order.lines), units, strict=False)
        if lines := {line: count for line, count in each if count}:
            self._do(self.walk.asks(order, lines, policy, via=via))

    @precondition(lambda self: self.sells and len(self.walk.numbers) < 6)
    @rule(data=st.data(), units=st.integers(1, 2))
    def somebody_wants_another(self, data: st.DataObject, units: int) -> None:
        order = self._order(data)
        self._do(self.walk.swaps(order, self._one(data, order.lines).line, units))

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), units=st.integers(1, 2), reason=st.sampled_from(("lost", "damaged")))
    def somebody_claims(self, data: st.DataObject, units: int, reason: str) -> None:
        self._do(self.walk.claims(self._order(data), units, reason))

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), status=SCANS)
    def the_carrier_scans(self, data: st.DataObject, status: CarrierStatus) -> None:
        if found := self._return(data):
            self._do(self.walk.scans(found[1], status))

    @precondition(lambda self: self.sells)
    @rule(
        data=st.data(),
        units=UNITS,
        conditions=st.lists(CONDITIONS, min_size=3, max_size=3),
        place=st.sampled_from(PLACES),
        key=st.sampled_from(("k-1", "k-2", "k-3", "k-4")),
    )
    def a_place_receives(
        self, data: st.DataObject, units: list[int], conditions: list[Any], place: str, key: str
    ) -> None:
        if not (found := self._return(data)):
            return
        order, back = found
        if back.kind == "claim":
            return  # nothing of it is sent
        some = zip(self._some(units, back), conditions, strict=False)
        if told := [Arrived(line, count, condition) for (line, count), condition in some]:
            self._do(self.walk.receives(order, back, told, place, key))

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), units=UNITS, accepted=st.lists(st.booleans(), min_size=3, max_size=3))
    def a_place_inspects(self, data: st.DataObject, units: list[int], accepted: list[bool]) -> None:
        if not (found := self._return(data)):
            return
        some = zip(self._some(units, found[1]), accepted, strict=False)
        if decided := [Inspected(line, count, yes) for (line, count), yes in some]:
            self._do(self.walk.inspects(found[1], decided))

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), what=st.sampled_from(("approve", "decline", "cancel", "hand_back")))
    def a_person_says(self, data: st.DataObject, what: str) -> None:
        if found := self._return(data):
            facts: dict[str, Any] = {
                "approve": returns.approve_return,
                "decline": lambda unit, back: returns.decline_return(unit, back, "no"),
                "cancel": returns.cancel_return,
                "hand_back": return_inspections.hand_back,
            }
            self._do(self.walk.says(found[1], facts[what]))

    # --- what is done about it ---

    @precondition(lambda self: self.sells)
    @rule(data=st.data(), luck=LUCK, times=st.integers(1, 3))
    def the_process_goes_on(self, data: st.DataObject, luck: str, times: int) -> None:
        for _ in range(times):
            if not (found := self._return(data)):
                return
            if due := self.walk.due(*found):
                self._do(self.walk.does(*found, self._one(data, due), luck))

    @precondition(lambda self: self.sells)
    @rule(data=st.data())
    def the_provider_changes_its_mind(self, data: st.DataObject) -> None:
        if found := self._return(data):
            self._do(self.walk.changes_its_mind(*found))

    @rule(hours=st.sampled_from((1, 60, 24 * 8)))
    def time_passes(self, hours: int) -> None:
        self.walk.passes(hours)

    # --- what always holds ---

    @invariant()
    def all_books_agree(self) -> None:
        self._do(self._with_the_way(self.walk.check))

    async def _with_the_way(self, check: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await check()
        except Exception as fault:
            way = "\n".join(self.walk.trail[-40:])
            raise AssertionError(f"{fault!r}, after\n{way}") from fault

    @override
    def teardown(self) -> None:
        """Everybody does their part: every return comes to its end, and the money is right."""
        try:
            self._do(self._with_the_way(self._to_the_end))
        finally:
            self._do(self.walk.ends())
            self._loop.close()

    async def _to_the_end(self) -> None:
        await self.walk.comes_home()
        await self.walk.check()
        for order in await self.walk.orders():
            check_money(order)


def test_the_books_add_up_wherever_returns_wander(module_database_url: str) -> None:
    Returns.url = module_database_url
    run_state_machine_as_test(
        Returns,
        settings=settings(
            max_examples=int(WALKS or USUAL_WALKS),
            stateful_step_count=STEPS,
            derandomize=WALKS is None,
            database=None,
            print_blob=False,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
