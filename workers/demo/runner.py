"""Place the orders, watch each to its verdict, and repair the one that parks on purpose."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Container, Sequence
from urllib.parse import quote

from workers.api_client import ApiClient, ApiRefused, ApiUnreachable
from workers.demo.catalogue import Json
from workers.demo.returning import Back
from workers.demo.stages import CLOSED, Entry, Outcome, Stage, sum_up

AT_ONCE = 8
MOST_UNDER_WAY = 40
"""Orders not shipped yet at any time. More would wait for each other on a small machine."""

LOOK_EVERY_SECONDS = 1.0
GIVE_UP_SECONDS = 300.0
"""How long nothing at all may happen to any order. A parcel is scanned at least every minute."""

PARKED_FOR_GOOD_SECONDS = 20.0
"""A parked step that can heal by itself tries several times within this."""

FEW = 20
"""So many orders are read one by one; more are read by listing all open ones."""

_BEFORE_SHIPPING = frozenset({Stage.PENDING, Stage.CONFIRMED, Stage.PICKING})

REPAIR_ACTOR = "demo-operator"
REPAIR_REASON = "the card was refused at capture, and the customer paid by bank transfer"


class Run:
    """One run of the demonstration.

    Args:
        api: An operator's access.
        orders: Bodies of `POST /v1/orders`, placed in this order.
        run: Names this run; idempotency keys begin with it.
        repair: The reference of the order to repair when it parks, if any.
        notice: Told in one line what an operator would like to know.
    """

    def __init__(
        self,
        api: ApiClient,
        orders: Sequence[Json],
        *,
        run: str,
        repair: str | None = None,
        notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._api, self._orders, self._run = api, orders, run
        self._repair, self._notice = repair, notice
        self.entries = [Entry(order["reference"], order["channel"]) for order in orders]
        self.started = self._changed = time.monotonic()
        self.repaired: str | None = None
        """The number of the order that was repaired."""
        self.backs: Sequence[Back] = ()
        """What comes back once the orders have ended."""

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return time.monotonic() - self.started

    @property
    def outcome(self) -> Outcome:
        """What has become of the orders so far."""
        return sum_up(self.entries, now=self.seconds, patience=PARKED_FOR_GOOD_SECONDS)

    async def to_the_end(self, *, within: float) -> Outcome:
        """Place all orders and wait until each has its verdict.

        Gives up after `within` seconds, or when nothing has happened for `GIVE_UP_SECONDS`: the
        outcome then names the orders that have no verdict.

        Raises:
            ApiRefused: the API refuses more than an order, for example the key.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within), asyncio.TaskGroup() as group:
                placing = group.create_task(self._place_all())
                await self._watch()
                placing.cancel()
        return self.outcome

    async def _place_all(self) -> None:
        waiting = iter(list(zip(self._orders, self.entries, strict=True)))

        async def till() -> None:
            for order, entry in waiting:
                while self._under_way >= MOST_UNDER_WAY:
                    await asyncio.sleep(LOOK_EVERY_SECONDS)
                await self._place(order, entry)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(till())

    @property
    def _under_way(self) -> int:
        return sum(entry.stage in _BEFORE_SHIPPING for entry in self.entries)

    async def _place(self, order: Json, entry: Entry) -> None:
        """Place one order; while the API is away, keep trying under the same key."""
        key = f"{self._run}:{entry.reference}"
        while True:
            try:
                answer = await self._api.post("/v1/orders", order, key=key)
            except ApiUnreachable as error:
                self._notice(f"order {entry.reference} waits for the API: {error}")
            except ApiRefused as refused:
                return await self._take_refusal(entry, refused)
            else:
                return self._see(entry, answer.body)

    async def _take_refusal(self, entry: Entry, refused: ApiRefused) -> None:
        if refused.problem_code == "reference_reused":
            # An earlier run placed it with slightly other content: that one is watched.
            found = await self._api.get(
                "/v1/orders", channel=entry.channel, reference=entry.reference
            )
            return self._see(entry, found["data"][0])
        if refused.http_status != 422:
            raise refused  # the API has no verdict on the order: something is wrong with the run
        entry.number = refused.problem.get("number")
        entry.stage, entry.code = Stage.REFUSED, refused.problem_code
        return None

    async def _watch(self) -> None:
        while self.outcome.unsettled and time.monotonic() - self._changed < GIVE_UP_SECONDS:
            began = time.monotonic()
            try:
                await self._look()
            except ApiUnreachable as error:
                self._notice(f"the API is away: {error}")
            # Looking must not slow down what is looked at.
            await asyncio.sleep(max(LOOK_EVERY_SECONDS, 4 * (time.monotonic() - began)))

    async def _look(self) -> None:
        watched = {
            entry.number: entry
            for entry in self.entries
            if entry.number and entry.stage not in CLOSED
        }
        if not watched:
            return
        parked = {
            order["number"] async for order in self._api.every("/v1/orders", attention="true")
        }
        seen: set[str] = set()
        async for order in self._open_orders(few=len(watched) <= FEW):
            if (entry := watched.get(order["number"])) and entry.number:
                seen.add(entry.number)
                self._see(entry, order, parked)
        for number in watched.keys() - seen:
            self._see(watched[number], await self._api.get(_path(number)), parked)
        await self._repair_showpiece()

    async def _open_orders(self, *, few: bool) -> AsyncIterator[Json]:
        if few:
            return
        for status in ("pending", "open"):
            async for order in self._api.every("/v1/orders", status=status):
                yield order

    def _see(self, entry: Entry, order: Json, parked: Container[str] = ()) -> None:
        if order["version"] != entry.version:
            self._changed = time.monotonic()
        entry.see(order, now=self.seconds, attention=order["number"] in parked)

    async def _repair_showpiece(self) -> None:
        """Do as an operator would: read what the order waits for, and settle it."""
        for entry in self.entries:
            if entry.reference != self._repair or entry.stage is not Stage.PARKED:
                continue
            if self.repaired or entry.number is None:
                return
            waits = (await self._api.get(f"{_path(entry.number)}/explain"))["data"]
            for step in [wait["step"] for wait in waits if wait["step"]]:
                self._notice(f"{entry.number} is parked on {step}; an operator settles it")
                await self._resolve(entry.number, step)
            self.repaired = entry.number

    async def _resolve(self, number: str, step: str) -> None:
        body = {
            "step": step,
            "action": "done_manually",
            "actor": REPAIR_ACTOR,
            "reason": REPAIR_REASON,
        }
        try:
            await self._api.post(
                f"{_path(number)}/resolve", body, key=f"{self._run}:resolve:{number}:{step}"
            )
        except ApiRefused as refused:
            self._notice(f"{number}: {step} could not be settled: {refused}")


def _path(number: str) -> str:
    return f"/v1/orders/{quote(number, safe='')}"
