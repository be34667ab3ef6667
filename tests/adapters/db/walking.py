"""A random walk through the lives of orders: every effect on the books, in any order, any time.

The walk plays everybody: processes that do what is due, locations that report (also nonsense),
carriers that scan, a provider that answers late, operators and customers who change their minds.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from adapters.db import master, nodes, parcels, reroutes
from adapters.db.book import SqlBook
from adapters.db.recalls import end_recall, recall
from adapters.db.unit import load_orders
from oms import agenda as due_for
from oms.agenda import Due
from oms.book import (
    CancelUnits,
    Command,
    CommandAnswer,
    DecideFulfillment,
    DecidePayment,
    PlaceHold,
    ReleaseHold,
    Reroute,
)
from oms.cancelling import Refusal
from oms.decisions import Decision, Parked
from oms.fulfillment import FulfillmentOrder
from oms.numbers import fulfillment_workflow_id, number_from, order_workflow_id
from oms.orders import Order
from oms.placing import OrderRequest
from oms.policy import Policy
from oms.ports import CARRIER_STATUSES, Approved, Declined, LabelBought
from tests.adapters.db.stockroom import NOW, Stockroom, record

POLICY = Policy(
    grace=timedelta(minutes=1),
    node_answer=timedelta(minutes=10),
    reservation=timedelta(minutes=10),
    pick=timedelta(minutes=30),
    pickup=timedelta(hours=1),
    silent=timedelta(hours=1),
)
SKUS = ("LAMP", "MUG")
PLACES = ("lyon", "nice", "paris")
REASONS = ("out_of_stock", "damaged", "capacity", "other")


class Walk:
    """Some orders, and all that may happen to them."""

    def __init__(self, stockroom: Stockroom, seed: int) -> None:
        self._stockroom, self._db = stockroom, stockroom.db
        self.chance = random.Random(seed)
        self.book = SqlBook(stockroom.db, POLICY)
        self.now = NOW
        self.numbers: list[str] = []
        self.trail: list[str] = []
        self.told: set[str] = set()
        self.touched: set[str] = set()
        self.live: list[str] = []
        self.served: set[str] = set()
        self._commands = 0

    async def begins(self) -> None:
        """Open the shop, with less stock than will be asked for."""
        for sku in SKUS:
            for place in PLACES:
                await self._stockroom.holds(sku, place, self.chance.randint(2, 9))
                await self._stockroom.keeps(sku, place, backorder_limit=self.chance.choice((0, 3)))
        async with self._db.begin() as tx:
            await tx.execute(text("UPDATE locations SET serves = ARRAY['home', 'store_pickup']"))

    async def read(self, numbers: Iterable[str]) -> list[Order]:
        async with self._db.connect() as connection:
            return await load_orders(connection, sorted(numbers))

    async def hear_nudges(self) -> None:
        """Send the signals that the books owe. What was told a process before this is past."""
        async with self._db.begin() as tx:
            rows = await tx.execute(text("DELETE FROM nudges RETURNING workflow_id"))
            self.told |= set(rows.scalars())

    async def goes_well(self, number: str) -> None:
        """Everybody does their part for an order; what nobody can serve is cancelled."""
        self.touched.add(number)
        order = await self.book.read(number)
        for hold in order.open_holds:
            await self.command(number, ReleaseHold(hold=hold.id))
        if any(line.backordered for line in order.lines):
            await self.command(number, CancelUnits(reason="walk", lines=None))
        for part, due in list(self.dues(await self.book.read(number))):
            now_due = self.dues(order := await self.book.read(number))
            if (part, due) in list(now_due):
                await self.do(order, part, due)
        for _ in order.fulfillment_orders:
            await self.node_does_well(await self.book.read(number))
        for shipment in (await self.book.read(number)).shipments:
            if shipment.handed_over_at is not None and not shipment.is_final:
                await self.scanned(number, shipment.id, "delivered", self.now)
        self.now += timedelta(minutes=1)

    # --- one step -------------------------------------------------------------------------

    async def step(self) -> None:
        """Let one thing happen; not everything can happen to every order."""
        far = len(self.trail)
        while len(self.trail) == far:
            await self._try()

    async def _try(self) -> None:
        if not self.live or (len(self.live) < 4 and self.chance.random() < 0.1):
            await self.place()
            return
        number = self.chance.choice(self.live if self.chance.random() < 0.9 else self.numbers)
        self.touched.add(number)
        order = await self.book.read(number)
        happenings: list[tuple[float, Callable[[Order], Awaitable[None]]]] = [
            (12, self.do_what_is_due),
            (4, self.node_reports),
            (3, self.node_does_well),
            (1.5, self.cancel),
            (0.4, self.hold),
            (1.0, self.release),
            (0.8, self.reroute),
            (1.0, self.release_backorders),
            (2, self.scan),
            (0.6, self.provider_changes_its_mind),
            (0.3, self.count_stock),
            (1.2, self.let_time_pass),
            (0.5, self.place_changes),
            (0.4, self.article_changes),
            (2.5, self.leave),
        ]
        weights = [weight for weight, _ in happenings]
        (happening,) = self.chance.choices([h for _, h in happenings], weights)
        await happening(order)

    def _note(self, words: str) -> None:
        self.trail.append(f"{self.now:%H:%M:%S} {words}")

    async def place(self) -> None:
        number = number_from(1000 + len(self.numbers))
        request = self._a_request()
        await record(self._db, number, request, at=self.now)
        self.numbers.append(number)
        self.live.append(number)
        self.touched.add(number)
        self.told.add(order_workflow_id(number))
        self._note(
            f"place {number} {[(line.sku, line.quantity) for line in request.lines]}"
            f" {request.delivery.method} split={request.allow_split}"
            f" backorder={request.allow_backorder} {[t.kind for t in request.tenders]}"
        )

    def _a_request(self) -> OrderRequest:
        wants = [
            (self.chance.choice(SKUS), self.chance.randint(1, 4))
            for _ in range(self.chance.randint(1, 3))
        ]
        free = self.chance.random() < 0.1
        shipping = 0 if free else self.chance.choice((0, 490))
        price = 0 if free else self.chance.choice((1, 333, 1999))
        pickup = self.chance.random() < 0.3
        lines = [{"sku": sku, "quantity": n, "unit_price_minor": price} for sku, n in wants]
        total = sum(n for _, n in wants) * price + shipping
        tender: dict[str, Any] = {"kind": "card", "provider": "simulator", "token": "tok_ok"}
        if self.chance.random() < 0.25:
            tender = {"kind": "terminal", "reference": "till-1"}
        return OrderRequest.model_validate(
            {
                "channel": "web",
                "reference": f"r-{len(self.numbers)}",
                "currency": "EUR",
                "customer": {"id": "c-1"},
                "lines": lines,
                "shipping_minor": shipping,
                "allow_split": self.chance.random() < 0.7,
                "allow_backorder": self.chance.random() < 0.5,
                "delivery": {"method": "store_pickup", "location": self.chance.choice(PLACES)}
                if pickup
                else {"method": "home", "address": {"country": "FR"}},
                "tenders": [tender | {"amount_minor": total}] if total else [],
            }
        )

    # --- the processes --------------------------------------------------------------------

    async def do_what_is_due(self, order: Order) -> None:
        if found := list(self.dues(order)):
            await self.do(order, *self.chance.choice(found))

    def dues(self, order: Order) -> Iterator[tuple[str | None, Due]]:
        """What the order's process and its fulfillment orders' would do now."""
        for due in due_for.order_agenda(order, self.now).due:
            if due.do != due_for.SERVE or due.about not in self.served:
                yield None, due
        for each in order.fulfillment_orders:
            if each.id in self.served:
                found = due_for.fulfillment_agenda(order, each.id, self.now, silent=POLICY.silent)
                yield from ((each.id, due) for due in found.due)

    async def do(self, order: Order, part: str | None, due: Due) -> None:
        """Do one thing that is due, as its process would; now and then it parks instead."""
        self._note(f"{order.number}: {due.do} {due.about} {due.step}")
        runs = order_workflow_id(order.number) if part is None else fulfillment_workflow_id(part)
        self.told.add(runs)
        if due.do == due_for.ATTEND:
            await self._park(order, due, runs, "needs_a_person")
            await self._decide(part or "", due, self.chance.choice(due.actions))
            await self.book.unpark(order.number, due.step, self.now)
            return
        can_fail = {
            due_for.OFFER: ("done_manually", "fail"),
            due_for.BUY_LABEL: ("new_attempt", "done_manually", "fail"),
        }
        if due.do in can_fail and self.chance.random() < 0.15:
            await self._park(order, due, runs, "no_answer")
            await self._decide(part or "", due, self.chance.choice(can_fail[due.do]))
            await self.book.unpark(order.number, due.step, self.now)
            return
        await self._carry_out(order, part, due)

    async def _park(self, order: Order, due: Due, runs: str, code: str) -> None:
        parked = Parked(step=due.step, error_code=code, error="broken", actions=due.actions)
        await self.book.park(order.number, parked, runs, self.now)

    async def _carry_out(self, order: Order, part: str | None, due: Due) -> None:
        if part is not None:
            await self._carry_out_part(part, due)
            return
        in_books = {
            due_for.RESERVE: self.book.reserve,
            due_for.CONFIRM: self.book.confirm,
            due_for.RELEASE_RESERVATION: self.book.release_reservation,
            due_for.ROUTE: self.book.route,
            due_for.CLOSE: self.book.close,
        }
        if due.do == due_for.SETTLE:
            await self._settle(order, due.about)
        elif due.do == due_for.SERVE:
            self.served.add(due.about)
            self.told.add(fulfillment_workflow_id(due.about))
        else:
            await in_books[due.do](order.number, self.now)
        if due.do == due_for.CLOSE and (await self.book.read(order.number)).closed_at is not None:
            self.live.remove(order.number)

    async def _carry_out_part(self, part: str, due: Due) -> None:
        match due.do:
            case due_for.OFFER:
                if await self.book.offer_of(part):
                    await self.book.offered(part, self.now)
            case due_for.EXPIRE:
                await self.book.expire(part, self.now)
            case due_for.ASK_TO_STOP:
                work = await self.book.work_to_cancel(part)
                assert work is not None
                await self.book.asked_to_stop(part, work.key, self.now)
            case due_for.BUY_LABEL:
                label = LabelBought(carrier="simulator", tracking_number=f"SIM-{due.about}")
                await self.book.label_bought(due.about, label, self.now)
            case due_for.POLL:
                await self.book.scanned(due.about, [], self.now)
            case _:
                raise AssertionError(due)

    async def _settle(self, order: Order, key: str) -> None:
        """The provider approves, declines, or nobody knows; a person settles what failed."""
        entry = order.entry(key)
        call = await self.book.begin_payment(key, self.now)
        if call.status == "failed":
            await self._decide_payment(key, entry.step)
            return
        if call.provider is None:
            await self._decide_payment(key, entry.step)
            return
        drawn = self.chance.random()
        if drawn < 0.1:
            await self.book.doubt_payment(key, "timeout", self.now)
        elif drawn < 0.25:
            await self.book.settle_payment(
                key, Declined(reason="no"), self.now, settled_by="provider"
            )
        else:
            yes = Approved(provider_reference=f"p-{key}")
            await self.book.settle_payment(key, yes, self.now, settled_by="provider")

    async def _decide_payment(self, key: str, step: str) -> None:
        action = self.chance.choice(("new_attempt", "done_manually", "done_manually", "fail"))
        decision = Decision.model_validate(
            {"step": step, "action": action, "actor": "ops", "reason": "walk"}
        )
        self._note(f"decide {key}: {action}")
        await self.command(key.partition(":")[0], DecidePayment(key=key, decision=decision))

    async def _decide(self, part: str, due: Due, action: str) -> None:
        decision = Decision.model_validate(
            {
                "step": due.step,
                "action": action,
                "actor": "ops",
                "reason": "walk",
                "result": {"tracking_number": f"MAN-{due.about}"},
            }
        )
        self._note(f"decide {due.step}: {action}")
        number = part.rsplit("-", 1)[0]
        await self.command(
            number, DecideFulfillment(fulfillment_order=part, decision=decision), runs=part
        )

    async def command(
        self, number: str, command: Command, *, runs: str | None = None
    ) -> CommandAnswer:
        """Give a command; the process that carries it out looks again afterwards."""
        self._commands += 1
        self.told.add(order_workflow_id(number) if runs is None else fulfillment_workflow_id(runs))
        answer = await self.book.command(
            number, f"command-{self._commands}", command, self.now, actor="walk"
        )
        again = await self.book.command(
            number, f"command-{self._commands}", command, self.now, actor="walk"
        )
        assert again == answer, "a command counts once"
        return answer

    # --- locations ------------------------------------------------------------------------

    async def node_reports(self, order: Order) -> None:
        """Anything a location could say, fitting or not."""
        if not order.fulfillment_orders:
            return
        each = self.chance.choice(order.fulfillment_orders)
        action, fact = self.chance.choice(list(self._facts(order, each)))
        await self.report(each.id, action, fact)

    async def node_does_well(self, order: Order) -> None:
        """What a location should say next."""
        live = [each for each in order.fulfillment_orders if each.is_live]
        if not live:
            return
        each = self.chance.choice(live)
        facts = dict(self._facts(order, each))
        for action in ("accept", "cancel_response", "pick all", "pack", "ready", "hand_over"):
            if not isinstance(await self.report(each.id, action, facts[action]), Refusal):
                after = (await self.book.read(order.number)).fulfillment_order(each.id)
                if after.version != each.version:
                    return

    async def report(
        self, id: str, action: str, fact: Callable[..., Awaitable[Refusal | None]]
    ) -> FulfillmentOrder | Refusal:
        done = await self.book.node_fact(id, self.now, fact, actor="node")
        self._note(f"{id} {action}: {done.detail if isinstance(done, Refusal) else done.status}")
        if not isinstance(done, Refusal):
            again = await self.book.node_fact(id, self.now, fact, actor="node")
            assert again == done, "the same report again answers the same"
        return done

    def _facts(
        self, order: Order, each: FulfillmentOrder
    ) -> Iterator[tuple[str, Callable[..., Awaitable[Refusal | None]]]]:
        some = {
            line.line: self.chance.randint(1, line.asked + 1)
            for line in each.lines
            if self.chance.random() < 0.7
        }
        reason = self.chance.choice(REASONS)
        yield "accept", nodes.accept
        yield "reject", lambda unit, e, _: nodes.reject(unit, e, reason, None)
        if some:
            yield f"reject {some} {reason}", lambda unit, e, _: nodes.reject(unit, e, reason, some)
        every = {line.line: line.quantity for line in each.lines if line.picked is None}
        found = {
            line: self.chance.randint(0, n + self.chance.choice((0, 0, 0, 1)))
            for line, n in every.items()
        }
        one = dict(self.chance.sample(sorted(found.items()), min(1, len(found))))
        yield "pick all", lambda unit, e, _: nodes.pick(unit, e, every)
        yield f"pick {found}", lambda unit, e, _: nodes.pick(unit, e, found)
        yield f"pick {one}", lambda unit, e, _: nodes.pick(unit, e, one)
        boxes = self._boxes(each)
        yield "pack", lambda unit, e, _: nodes.pack(unit, e, boxes)
        yield "ready", nodes.ready
        code = self.chance.choice((each.pickup_code, "000000", None))
        verified = self.chance.choice(("passport", None))
        yield (
            "hand_over",
            lambda unit, e, _: nodes.hand_over(unit, e, code=each.pickup_code, verified_by=None),
        )
        yield (
            "hand_over?",
            lambda unit, e, _: nodes.hand_over(unit, e, code=code, verified_by=verified),
        )
        stopped = self.chance.random() < 0.6
        yield "cancel_response", lambda unit, e, _: nodes.cancel_response(unit, e, accepted=stopped)

    def _boxes(self, each: FulfillmentOrder) -> list[nodes.Parcel]:
        """What was picked, in one box or two."""
        first: dict[int, int] = {}
        second: dict[int, int] = {}
        for line in each.lines:
            units = line.picked or 0
            here = self.chance.randint(0, units)
            first |= {line.line: here} if here else {}
            second |= {line.line: units - here} if units - here else {}
        return [nodes.Parcel(weight_g=100, lines=lines) for lines in (first, second) if lines]

    # --- carriers, providers, shelves, time -------------------------------------------------

    async def scan(self, order: Order) -> None:
        known = [s for s in order.shipments if s.tracking_number]
        if not known:
            return
        shipment = self.chance.choice(known)
        status = self.chance.choice([*CARRIER_STATUSES, "delivered", "delivered"])
        at = self.now + timedelta(minutes=self.chance.randint(-90, 5))
        await self.scanned(order.number, shipment.id, status, at)

    async def scanned(self, number: str, shipment: str, status: str, at: datetime) -> None:
        self._note(f"{shipment} scanned {status} of {at:%H:%M}")
        event = f"e-{len(self.trail)}"
        for _ in range(2):
            await self.book.change(
                number,
                self.now,
                lambda unit: parcels.record_scan(
                    unit, unit.order.shipment(shipment), event_id=event, status=status, at=at
                ),
            )

    async def provider_changes_its_mind(self, order: Order) -> None:
        """A capture or refund that had gone through is taken back by the provider."""
        done = [e for e in order.entries if e.status == "succeeded" and e.settled_by == "provider"]
        late = [e for e in done if e.kind in ("capture", "refund")]
        if not late or order.closed_at is not None:
            return
        entry = self.chance.choice(late)
        self._note(f"{entry.key} fails after all")
        await self.book.settle_payment(
            entry.key, Declined(reason="late"), self.now, settled_by="provider", nudge=True
        )

    async def count_stock(self, order: Order) -> None:
        """Somebody counts a shelf; what is there is there, promised or not."""
        sku, place = self.chance.choice(SKUS), self.chance.choice(PLACES)
        on_hand = (await self._stockroom.level(sku, place)).get("on_hand", 0)
        counted = self.chance.randint(0, 12)
        self._note(f"counted {counted} {sku} at {place}, {on_hand} in the books")
        if counted != on_hand:
            key = f"count-{len(self.trail)}"
            await self._stockroom.counts(key, sku, place, off_by=counted - on_hand)

    # --- closed and recalled ----------------------------------------------------------------

    async def place_changes(self, order: Order) -> None:
        """A place closes, to be cleared or not, or opens again."""
        serving = sorted({each.location for each in order.allocations})
        how = self.chance.choice(("clear", "clear", "close", "open"))
        place = self.chance.choice(serving if serving and how == "clear" else PLACES)
        self._note(f"{how} {place}")
        async with self._db.begin() as tx:
            if how == "open":
                await master.open_location(tx, place)
            else:
                await master.close_location(tx, place, clear=how == "clear", at=self.now)
        if how == "clear":
            await self.leave(order)

    async def article_changes(self, _: Order) -> None:
        """An article is recalled, at a place or everywhere, or sold again."""
        sku, place = self.chance.choice(SKUS), self.chance.choice((*PLACES, None))
        change = self.chance.choice((recall, end_recall, end_recall))
        self._note(f"{change.__name__} {sku} at {place or 'all places'}")
        async with self._db.begin() as tx:
            await change(tx, sku, place)

    async def leave(self, order: Order) -> None:
        """An order leaves the places that may not serve it; told twice, it does so once."""
        id = f"RR-{len(self.trail)}"
        async with self._db.begin() as tx:
            await reroutes.begin(
                tx,
                id,
                kind="sku",
                location=None,
                sku=id,
                reason="walk",
                actor="walk",
                at=self.now,
            )
        for _ in range(2):
            await self.book.leave_places(order.number, self.now, id, actor="walk")
        async with self._db.connect() as tx:
            (done,) = await reroutes.orders_of(tx, id, outcome=None, after=None, limit=9)
        assert done["tries"] == 1
        self._note(f"{order.number} leaves: {done['outcome']}, {done['detail']}")

    async def let_time_pass(self, order: Order) -> None:
        self.now += timedelta(minutes=self.chance.choice((1, 2, 2, 11, 11, 35, 61)))
        self._note("time passes")

    # --- commands ---------------------------------------------------------------------------

    async def cancel(self, order: Order) -> None:
        lines = None
        if self.chance.random() < 0.7:
            lines = {
                line.line: self.chance.randint(1, line.ordered + 1)
                for line in self.chance.sample(
                    order.lines, self.chance.randint(1, len(order.lines))
                )
            }
        answer = await self.command(order.number, CancelUnits(reason="walk", lines=lines))
        self._note(f"cancel {order.number} {lines}: {answer.refusal or answer.asked}")

    async def hold(self, order: Order) -> None:
        answer = await self.command(order.number, PlaceHold(reason="fraud"))
        self._note(f"hold {order.number}: {answer.id or answer.refusal}")

    async def release(self, order: Order) -> None:
        for hold in order.open_holds[:1]:
            self._note(f"release {hold.id}")
            await self.command(order.number, ReleaseHold(hold=hold.id))

    async def release_backorders(self, _: Order) -> None:
        served = await self.book.release_backorders(self.now, most=50)
        self._note(f"release backorders of {served}")

    async def reroute(self, order: Order) -> None:
        offered = [each.id for each in order.fulfillment_orders if each.is_offered]
        what = self.chance.choice([None, *offered])
        where = self.chance.choice([None, *PLACES])
        answer = await self.command(order.number, Reroute(fulfillment_order=what, location=where))
        self._note(f"reroute {what or order.number} to {where}: {answer.refusal or 'done'}")
