"""Returns wander through the books: customers, carriers, locations, providers and people at will.

`Expected` counts beside them what must have come of it, from what was told alone.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from adapters.db import return_inspections, return_parcels, return_receipts, returns
from adapters.db.audit import read_snapshot
from adapters.db.engine import connect
from adapters.db.return_asking import NotReturnable
from adapters.db.return_decisions import decide_return
from adapters.db.return_inspections import Inspected
from adapters.db.return_receipts import Arrived
from adapters.db.returns import Announced, NewReturn
from adapters.db.unit import OrderUnit, load_orders
from oms import agenda as due_for
from oms.agenda import Due
from oms.book import CancelUnits, DecidePayment
from oms.cancelling import Refusal
from oms.decisions import Action, Decision
from oms.numbers import order_of
from oms.orders import Order
from oms.ports import Approved, CarrierStatus, Declined, Scan
from oms.return_agenda import has_left, refunds_of, return_agenda
from oms.return_policy import ReturnPolicy, VersionedPolicy
from oms.return_requests import ReturnRequest, agree
from oms.returns import Return
from tests.adapters.db.exchanging import Exchanging
from tests.adapters.db.stockroom import Stockroom

HELD = {"LAMP": {"lyon": 60}, "MUG": {"nice": 60}, "SOFA": {"lyon": 30, "nice": 30}}
PLACES = ("lyon", "nice", "paris")
_FORGET = """
SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables
WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'products', 'locations')
"""


class Expected:
    """What must have come back, by what was told: `got`, `missing` and `quantity` by return line.

    `nobodys`: units by return that lay there and were never sent, or are spoken for otherwise.
    """

    def __init__(self) -> None:
        self.quantity: Counter[tuple[str, int]] = Counter()
        self.got: Counter[tuple[str, int]] = Counter()
        self.missing: Counter[tuple[str, int]] = Counter()
        self.nobodys: Counter[str] = Counter()
        self.keys: set[tuple[str, str]] = set()
        self._found_under: set[tuple[str, str, str]] = set()

    def announced(self, id: str, lines: Mapping[int, int]) -> None:
        for line, units in lines.items():
            self.quantity[id, line] = units

    def received(
        self,
        back: Return,
        key: str,
        told: Sequence[Arrived],
        returnable: Mapping[int, int],
        place: str,
    ) -> None:
        """One scan counts once; units count once; what was never sent does not count."""
        id = back.id
        if (id, key) in self.keys or (id, place, key) in self._found_under:
            return
        before, left_over = (self.got.total(), self.missing.total()), 0
        for line in sorted({each.line for each in told}):
            here = [each for each in told if each.line == line]
            free = returnable[line]
            waited = self.quantity[id, line] - self.got[id, line] - self.missing[id, line]
            if not back.is_live:  # others may have announced them meanwhile
                own = max(0, back.speaks_for(line) - self.got[id, line])
                waited = min(waited, free + own)
                free -= max(0, waited - own)
            lies = sum(each.quantity for each in here if each.condition != "missing")
            expected = self.quantity[id, line] - self.got[id, line] - self.missing[id, line]
            beyond = max(0, lies - self.quantity[id, line])
            may_miss = max(0, self.quantity[id, line] - lies)
            extra = min(beyond, free)
            left_over += beyond - extra + max(0, min(lies, expected) - waited)
            self.quantity[id, line] += extra
            room = waited + extra
            # What was missing may turn up after all, unless another return speaks for it.
            spare = min(self.missing[id, line], free - extra)
            if any(each.condition == "missing" for each in here):
                spare = 0
            for each in here:
                units = min(each.quantity, room + spare)
                if each.condition == "missing":
                    units = min(units, may_miss)
                    may_miss -= units
                late = max(0, units - room)
                self.missing[id, line] -= late
                room, spare = room - units + late, spare - late
                (self.missing if each.condition == "missing" else self.got)[id, line] += units
        if before != (self.got.total(), self.missing.total()):
            self.keys.add((id, key))
        if left_over:
            self.nobodys[id] += left_over
            self._found_under.add((id, place, key))


def _record(parcel: str, scan: Scan) -> Any:
    return lambda unit, back: return_parcels.record_return_scans(unit, back, parcel, [scan])


class ReturnWalk:
    """A shop, its orders, and all that may happen to what comes back of them."""

    def __init__(self, stockroom: Stockroom) -> None:
        self.shop = Exchanging(stockroom)
        self.expected = Expected()
        self.numbers: list[str] = []
        self.trail: list[str] = []
        self._told = 0

    @classmethod
    async def begins(cls, url: str) -> "ReturnWalk":
        """Open the shop in a database of which everything else is forgotten."""
        stockroom = Stockroom(connect(url))
        async with stockroom.db.begin() as tx:
            await tx.execute(text(str(await tx.scalar(text(_FORGET)))))
            known = await tx.scalar(text("SELECT count(*) FROM products"))
        if not known:
            await stockroom.sells(*HELD)
            for place in PLACES:
                await stockroom.has_place(place)
        for sku, places in HELD.items():
            for place, units in places.items():
                await stockroom.holds(sku, place, units)
        return cls(stockroom)

    async def ends(self) -> None:
        """Close the shop."""
        await self.shop.stockroom.db.dispose()

    def note(self, words: str) -> None:
        self.trail.append(f"{self.shop.now:%d %H:%M} {words}")

    async def orders(self) -> list[Order]:
        async with self.shop.stockroom.db.connect() as tx:
            return await load_orders(tx, self.numbers)

    async def returns(self) -> list[tuple[Order, Return]]:
        """Every return with its order, oldest first."""
        return [(order, back) for order in await self.orders() for back in order.returns]

    # --- orders ---

    async def places(self, lines: Sequence[tuple[str, int]], *, price: int, shipping: int) -> None:
        number = await self.shop.places(*lines, price=price, shipping=shipping)
        await self.shop.runs(number)
        self.numbers.append(number)
        self.note(f"{number} placed {lines} at {price} + {shipping}")

    async def ships(self, order: Order) -> None:
        """A location sends its part."""
        live = [each for each in order.fulfillment_orders if each.is_live]
        if live:
            self.note(f"{live[0].id} leaves")
            await self.shop.serves(order.number, live[0].id)
            await self.shop.runs(order.number)

    async def delivers(self, order: Order) -> None:
        moving = [s for s in order.shipments if s.handed_over_at is not None and not s.is_final]
        if moving:
            self.note(f"{moving[0].id} is delivered")
            await self.shop.scanned(moving[0].id, "delivered")
            await self.shop.runs(order.number)

    async def cancels_the_rest(self, order: Order) -> None:
        """Nobody waits for what has not been sent."""
        self.note(f"{order.number}: the rest is cancelled")
        command = CancelUnits(reason="walk", lines=None)
        await self.shop.book.command(
            order.number, f"c-{len(self.trail)}", command, self.shop.now, actor="walk"
        )
        await self.shop.runs(order.number)

    # --- asked for ---

    async def asks(
        self, order: Order, lines: Mapping[int, int], policy: ReturnPolicy, *, via: str
    ) -> None:
        """A customer asks by the policy; what they may not, they are told."""
        request = ReturnRequest.model_validate(
            {
                "order": order.number,
                "via": via,
                "lines": [
                    {"line": line, "quantity": units, "reason": "too_small"}
                    for line, units in lines.items()
                ],
                "location": "paris" if via == "store" else None,
            }
        )
        versioned = VersionedPolicy(version=1, policy=policy)
        told = agree(order, request, versioned, tags={}, now=self.shop.now)
        self.note(f"{order.number}: {lines} {via}: {told!r:.200}")
        if isinstance(told, tuple):
            self._was_right_to_refuse(order, lines, [flaw.code for flaw in told])
            return
        assert all(units <= self._sent_and_kept(order, line) for line, units in lines.items())
        new = NewReturn(
            lines=tuple(Announced(each.line, each.quantity, each.reason) for each in told.lines),
            terms=told.terms,
            refund_minor=told.refund_minor,
            via=via,
            location="paris" if via == "store" else "lyon",
            parcels=0 if via == "store" else 1,
            policy_version=1,
            needs_approval=told.needs_approval,
            days=(14, 28),
        )

        async def ask(unit: OrderUnit) -> str:
            id = await returns.request_return(unit, new)
            if via == "store":
                await unit.again()
                await return_receipts.bring_back(unit, id)
            return id

        id = await self.shop.book.change(order.number, self.shop.now, ask)
        self.expected.announced(id, lines)
        if via == "store":
            self.expected.got.update({(id, line): units for line, units in lines.items()})

    async def swaps(self, order: Order, line: int, units: int) -> None:
        """A customer wants the same article again for these; its order is one of ours from then."""
        told = await self.shop.tries(order.number, {"line": line, "quantity": units})
        self.note(f"{order.number}: {units} of line {line} for others: {told!r:.80}")
        if isinstance(told, str):
            other = (await self.shop.back(told)).exchange_order
            assert other is not None
            self.expected.announced(told, {line: units})
            await self.shop.runs(other)
            self.numbers.append(other)

    async def claims(self, order: Order, units: int, reason: str) -> None:
        """A customer has something of the first line that is broken, or never got it."""
        told = await self.shop.claims(order.number, units, reason=reason)
        self.note(f"{order.number}: {units} of line 1 are {reason}: {told!r:.80}")
        if isinstance(told, NotReturnable):
            self._was_right_to_refuse(order, {1: units}, [flaw.code for flaw in told.flaws])
            return
        assert isinstance(told, str), told
        assert units <= self._sent_and_kept(order, 1)
        self.expected.announced(told, {1: units})

    def _sent_and_kept(self, order: Order, number: int) -> int:
        """Units of a line that left and are not spoken for, counted from what was told."""
        line = order.line(number)
        assert line is not None
        gone = 0
        for back in order.returns:
            key = (back.id, number)
            if back.kind == "claim":
                gone += 0 if back.fell_away else self.expected.quantity[key]
                continue
            over = not back.is_live
            found = back.line(number)
            paid = found.settled if found else 0  # on trust, too
            if found and has_left(back):
                paid = max(paid, found.exchanged)
            announced = self.expected.quantity[key] - self.expected.missing[key]
            got = self.expected.got[key]
            gone += max(paid, (got if over else max(got, announced)) - self._again(back, number))
        return line.handed_over - gone

    def _again(self, back: Return, number: int) -> int:
        """Units that were refused and are with the customer again; none are disposed of here."""
        return sum(lot.quantity for lot in back.lots_of(number) if lot.state == "left")

    def _was_right_to_refuse(
        self, order: Order, lines: Mapping[int, int], codes: Sequence[str]
    ) -> None:
        too_many = any(units > self._sent_and_kept(order, line) for line, units in lines.items())
        assert too_many or "outside_window" in codes, f"{codes} for {lines}"

    # --- on its way, arrived, looked at ---

    async def scans(self, back: Return, status: CarrierStatus) -> None:
        """The carrier scans the parcels of a return, those that come and those that go."""
        for parcel in back.parcels:
            if parcel.tracking_number is not None:
                scan = Scan(event_id=f"e-{len(self.trail)}", status=status, at=self.shop.now)
                self.note(f"{parcel.id} {status}")
                await self._fact(back.id, _record(parcel.id, scan))

    async def receives(
        self, order: Order, back: Return, told: Sequence[Arrived], place: str, key: str
    ) -> None:
        """A location finds these units; told twice, it counts once."""
        room = {each.line: max(0, self._sent_and_kept(order, each.line)) for each in order.lines}
        self.note(f"{back.id} at {place} under {key}: {[tuple(each) for each in told]}")
        for _ in range(2):
            no = await self._fact(
                back.id,
                lambda unit, found: return_receipts.receive_goods(
                    unit, found, place, told, key=key
                ),
            )
            assert no is None, no
        self.expected.received(back, key, told, room, place)

    async def inspects(self, back: Return, decided: Sequence[Inspected]) -> None:
        done = await self._fact(
            back.id, lambda unit, found: return_inspections.inspect_goods(unit, found, decided)
        )
        self.note(f"{back.id}: {[tuple(each)[:3] for each in decided]}: {done}")

    async def says(self, back: Return, fact: Any) -> None:
        """A person calls it off, approves, declines, or hands back what was refused."""
        done = await self._fact(back.id, fact)
        self.note(f"{back.id} {getattr(fact, '__name__', 'declined')}: {done}")

    async def _fact(self, id: str, fact: Any) -> Refusal | None:
        async def apply(unit: OrderUnit) -> Refusal | None:
            done = await returns.change_return(unit, id, fact, cause="fact", nudge=True)
            return done if isinstance(done, Refusal) else None

        return await self.shop.book.change(order_of(id), self.shop.now, apply, actor="walk")

    # --- the process, the provider and people ---

    def due(self, order: Order, back: Return) -> tuple[Due, ...]:
        """What the return's process would do now."""
        silent = self.shop.book.policy.silent
        return return_agenda(order, back.id, self.shop.now, silent=silent).due

    async def does(self, order: Order, back: Return, due: Due, luck: str) -> None:
        """Do one thing that is due. `luck`: approved, declined or unknown; and what people say."""
        self.note(f"{back.id}: {due.do} {due.about} {due.step} ({luck})")
        if due.do == due_for.ATTEND:
            await self._decides(back, due, due.actions[len(self.trail) % len(due.actions)])
        elif due.do == due_for.SETTLE:
            await self._settles(order, back, due, luck)
        else:
            await self.shop.does(back.id, due)

    async def _settles(self, order: Order, back: Return, due: Due, luck: str) -> None:
        entry = next(each for each in refunds_of(order, back) if each.key == due.about)
        if entry.status == "failed":
            actions: tuple[Action, ...] = ("new_attempt", "done_manually", "fail")
            action: Action = "done_manually" if luck == "approved" else actions[len(luck) % 3]
            decision = Decision(step=due.step, action=action, actor="ops", reason="walk")
            command = DecidePayment(key=due.about, decision=decision)
            number = due.about.partition(":")[0]
            await self.shop.book.command(
                number, f"d-{len(self.trail)}", command, self.shop.now, actor="ops"
            )
        elif luck == "unknown":
            await self.shop.book.begin_payment(due.about, self.shop.now)
            await self.shop.book.doubt_payment(due.about, "timeout", self.shop.now)
        else:
            answer = (
                Declined(reason="no") if luck == "declined" else Approved(provider_reference="p")
            )
            await self.shop.pays(due.about, answer)

    async def _decides(self, back: Return, due: Due, action: str) -> None:
        decision = Decision.model_validate(
            {"step": due.step, "action": action, "actor": "ops", "reason": "walk"}
        )
        self.note(f"{due.step}: {action}")
        await self.shop.book.change(
            order_of(back.id), self.shop.now, lambda unit: decide_return(unit, back.id, decision)
        )

    async def changes_its_mind(self, order: Order, back: Return) -> None:
        """The provider takes a refund back that had gone through."""
        done = [each for each in refunds_of(order, back) if each.status == "succeeded"]
        late = [each for each in done if each.settled_by == "provider"]
        if late:
            self.note(f"{late[0].key} fails after all")
            no = Declined(reason="late")
            await self.shop.book.settle_payment(
                late[0].key, no, self.shop.now, settled_by="provider", nudge=True
            )

    def passes(self, hours: int) -> None:
        self.shop.now += timedelta(hours=hours)
        self.note("time passes")

    # --- the end ---

    async def comes_home(self) -> None:
        """Everybody does their part from now on: every return must come to its end."""
        for _ in range(200):
            busy = False
            for order, back in await self.returns():
                busy |= await self._goes_well(order.number, back.id)
            if not busy:
                return
        raise AssertionError(f"stuck: {[back for _, back in await self.returns()]}")

    async def _goes_well(self, number: str, id: str) -> bool:
        order = await self.shop.read(number)
        back = order.return_(id)
        if due := self.due(order, back):
            calm = [each for each in due if each.do != due_for.ATTEND]
            if calm:
                await self.does(order, back, calm[0], "approved")
            else:
                no = "fail" if "fail" in due[0].actions else "done_manually"
                await self._decides(back, due[0], no)
            return True
        if back.closed_at is not None:
            return False
        if any(lot.state == "rejected" for lot in back.lots):
            await self.says(back, return_inspections.hand_back)
            return True
        waiting = [lot for lot in back.lots if lot.state == "received"]
        if waiting:
            await self.inspects(back, [Inspected(lot.line, lot.quantity, True) for lot in waiting])
            return True
        found = [
            Arrived(line.line, line.expected, "as_new") for line in back.lines if line.expected
        ]
        assert found, f"{back} waits for nothing"
        await self.receives(order, back, found, "lyon", f"home-{len(self.trail)}")
        return True

    # --- looking ---

    async def check(self) -> None:
        """Everything that always holds."""
        async with self.shop.stockroom.db.connect() as tx:
            found = (await read_snapshot(tx, self.shop.now)).findings
        assert not (wrong := [each for each in found if not each.pending]), wrong
        orders = await self.orders()
        for order in orders:
            check_order(order, self.expected)
        await self._check_shelves(orders)
        await self._check_found()

    async def _check_found(self) -> None:
        """What was never sent waits for a person, all of it."""
        async with self.shop.stockroom.db.connect() as tx:
            rows = await tx.execute(
                text("SELECT return_id, sum(quantity) FROM found_goods GROUP BY 1")
            )
            assert {id: int(units) for id, units in rows} == dict(self.expected.nobodys)

    async def _check_shelves(self, orders: Sequence[Order]) -> None:
        """What was there, less what left, and what was accepted and put away once."""
        sound, broken = Counter[str](), Counter[str]()
        for sku, places in HELD.items():
            sound[sku] = sum(places.values())
        for order in orders:
            for line in order.lines:
                sound[line.sku] -= line.handed_over
            for lot in (lot for back in order.returns for lot in back.lots):
                if lot.state == "placed" and lot.condition in ("as_new", "opened"):
                    sound[lot.sku] += lot.quantity
                elif lot.state == "placed" and lot.condition == "damaged":
                    broken[lot.sku] += lot.quantity
        async with self.shop.stockroom.db.connect() as tx:
            rows = await tx.execute(
                text("SELECT sku, sum(on_hand), sum(damaged) FROM stock_levels GROUP BY sku")
            )
            there = {sku: (int(on_hand), int(damaged)) for sku, on_hand, damaged in rows}
        assert there == {sku: (sound[sku], broken[sku]) for sku in HELD}


def check_order(order: Order, expected: Expected) -> None:
    """What holds of an order's returns at any time."""
    back_by_line: dict[int, int] = defaultdict(int)
    for back in order.returns:
        for line in back.lines:
            key = (back.id, line.line)
            told = (expected.quantity[key], expected.got[key], expected.missing[key])
            assert (line.quantity, line.received, line.missing) == told, (back.id, line)
            lots = back.lots_of(line.line)
            assert sum(lot.quantity for lot in lots) == line.received
            assert line.refunded <= line.settled <= line.quantity
            back_by_line[line.line] += sum(
                lot.quantity for lot in lots if lot.state != "left" and lot.is_sold_article
            )
    for ordered in order.lines:
        assert ordered.returned == back_by_line[ordered.line] <= ordered.handed_over
        assert ordered.refunded <= ordered.charged
    tender = order.tender
    assert tender is None or tender.refunded_minor <= tender.captured_minor


def check_money(order: Order) -> None:
    """Once all is over: what went back is what the settled units cost, no cent more or less."""
    tender = order.tender
    swapped = order.exchange_of or any(back.resolution == "exchange" for back in order.returns)
    if tender is None or swapped or any(entry.given_up for entry in order.entries):
        return  # where goods were exchanged, value is in more than one order: the audit adds it up
    goods = sum(line.price_of(first=0, count=line.refunded) for line in order.lines)
    shipping = order.shipping_minor if order.shipping_refunded else 0
    fees = sum(back.terms.fee_minor - back.fee_left_minor for back in order.returns)
    assert tender.refunded_minor == goods + shipping - fees
