"""What comes back in the end: a parcel by post, a return at a till, or what a retailer says did."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from oms.money import format_money
from workers.api_client import ApiClient, ApiRefused
from workers.demo.catalogue import Json
from workers.demo.stages import Entry, Stage
from workers.demo.surroundings import SPEED

LOOK_EVERY_SECONDS = 0.5
HOURS_TO_THE_POST, HOURS_ON_THE_ROAD = 6, 18
"""Of the simulator's clock: until a customer has posted a parcel, and until it is there."""

AT_ONCE = 4
NO_ORDER = "never-sold"

Scan = Callable[[str, str], Awaitable[None]]
"""Let the carrier scan a parcel: its tracking number, and the status."""


class Wanted(NamedTuple):
    """Units that somebody wants to send back. `location`: the store they bring it to.

    `sold`: whether the records say that they were sold at all.
    """

    order: str
    line: int = 1
    quantity: int = 1
    via: str = "post"
    location: str | None = None
    sold: bool = True


@dataclass
class Back:
    """One return on the board. `code`: why it was refused; `wrong`: why it should not have been.

    `units`: what comes back. `lies`: what became of it, and where.
    """

    wanted: Wanted
    id: str | None = None
    status: str = "asked"
    units: str = ""
    refund: str = ""
    lies: str = ""
    code: str | None = None
    wrong: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended as it should."""
        return self.wrong is None and (self.code is not None or self.status == "closed")


def two_to_show(
    entries: Sequence[Entry], orders: Sequence[Json], store: str | None
) -> list[Wanted]:
    """One delivered parcel for the post, another one for the till; paid by cards that work."""
    good = [
        entry.number
        for entry, order in zip(entries, orders, strict=True)
        if entry.stage is Stage.DELIVERED
        and entry.number
        and [tender.get("token") for tender in order["tenders"]] == ["tok_ok"]
        and order["delivery"]["method"] == "home"
    ]
    shown = [Wanted(number) for number in good[:1]]
    if store is not None:
        shown += [Wanted(number, via="store", location=store) for number in good[1:2]]
    return shown


def of_records(
    rows: Sequence[Json], entries: Sequence[Entry], orders: Sequence[Json], store: str | None
) -> list[Wanted]:
    """What the retailer's records say came back of these orders, and what was never sold.

    Somebody who brings what they never bought shows another order of theirs, if they have one.
    """
    numbers = {entry.reference: entry.number or NO_ORDER for entry in entries}
    latest = {order["customer"]["id"]: order for order in orders if "customer" in order}
    wanted = []
    for row in rows if store is not None else ():
        if row["reference"] in numbers:
            number = numbers[row["reference"]]
            wanted.append(Wanted(number, row["line"], row["quantity"], "store", store))
        elif row["reference"] is None:
            other = latest.get(row.get("customer"))
            number = numbers[other["reference"]] if other else NO_ORDER
            line = len(other["lines"]) + 1 if other else 1
            wanted.append(Wanted(number, line, row["quantity"], "store", store, sold=False))
    return wanted


class Returning:
    """The returns of one run.

    Args:
        api: An operator's access.
        scan: The carrier, as the simulator plays it.
        run: Names this run; idempotency keys begin with it.
        notice: Told in one line what an operator would like to know.
    """

    def __init__(
        self, api: ApiClient, scan: Scan, *, run: str, notice: Callable[[str], None]
    ) -> None:
        self._api, self._scan, self._run, self._notice = api, scan, run, notice
        self.backs: list[Back] = []

    async def to_the_end(self, wanted: Sequence[Wanted], *, within: float) -> None:
        """Ask for all of them and follow each until it is closed, at most so many seconds."""
        by_order: dict[str, list[Back]] = defaultdict(list)
        for each in wanted:
            self.backs.append(Back(each))
            by_order[each.order].append(self.backs[-1])
        gate = asyncio.Semaphore(AT_ONCE)

        async def follow(backs: list[Back]) -> None:
            async with gate:
                for back in backs:
                    await self._follow(back, self.backs.index(back))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within), asyncio.TaskGroup() as group:
                for backs in by_order.values():
                    group.create_task(follow(backs))

    async def _follow(self, back: Back, place: int) -> None:
        want = back.wanted
        left = await self._left(want)
        body = {
            "order": want.order,
            "via": want.via,
            "lines": [{"line": want.line, "quantity": want.quantity, "reason": "changed_mind"}],
            "resolution": "refund",
            "location": want.location,
        }
        key = f"{self._run}:return:{place}"
        try:
            asked = (await self._api.post("/v1/returns", body, key=key)).body
        except ApiRefused as refused:
            self._take_refusal(back, refused, left)
            return
        back.id = asked["id"]
        if want.quantity > left:
            back.wrong = f"{asked['id']}: {want.quantity} were taken and {left} were sold"
        self._see(back, asked)
        if want.via == "post":
            await self._send(back, key)
        await self._until(back, lambda shown: shown["status"] == "closed")

    async def _left(self, want: Wanted) -> int:
        """Units of a line that left and were not sent back, by the order as the API shows it."""
        if want.order == NO_ORDER:
            return 0
        order = await self._api.get(f"/v1/orders/{quote(want.order, safe='')}")
        lines = [line for line in order["lines"] if line["line"] == want.line]
        return sum(line["shipped"] + line["delivered"] - line["returned"] for line in lines)

    def _take_refusal(self, back: Back, refused: ApiRefused, left: int) -> None:
        if refused.http_status not in (404, 422):
            raise refused  # no verdict on the return: something is wrong with the run
        flaws = [flaw["code"] for flaw in refused.flaws]
        back.status, back.code = "refused", ", ".join(flaws) or refused.problem_code
        if back.wanted.quantity <= left:
            back.wrong = f"{back.wanted.order}: {back.wanted.quantity} of {left} were refused"

    async def _send(self, back: Back, key: str) -> None:
        """A customer posts it, the carrier brings it, the location takes it."""
        shown = await self._until(back, lambda shown: _numbers(shown) is not None)
        numbers = _numbers(shown) or []
        self._notice(f"{back.id} has its label; the customer brings the parcel to the post")
        for hours, status in ((HOURS_TO_THE_POST, "in_transit"), (HOURS_ON_THE_ROAD, "delivered")):
            await asyncio.sleep(hours * 3600 / SPEED)
            for number in numbers:
                await self._scan(number, status)
            await self._until(back, lambda _: True)
        units = {"line": back.wanted.line, "quantity": back.wanted.quantity}
        path = f"/v1/returns/{quote(str(back.id), safe='')}"
        arrived = {"location": shown["location"], "lines": [units | {"condition": "as_new"}]}
        await self._api.post(f"{path}/receive", arrived, key=f"{key}:receive")
        await self._until(back, lambda _: True)
        looked_at = {"lines": [units | {"accepted": True}]}
        await self._api.post(f"{path}/inspect", looked_at, key=f"{key}:inspect")

    async def _until(self, back: Back, ready: Callable[[Json], bool]) -> Json:
        while True:
            shown = await self._api.get(f"/v1/returns/{quote(str(back.id), safe='')}")
            self._see(back, shown)
            if ready(shown):
                return shown
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    def _see(self, back: Back, shown: Json) -> None:
        back.status = shown["status"]
        back.units = ", ".join(f"{line['quantity']} x {line['sku']}" for line in shown["lines"])
        back.refund = format_money(shown["refund_minor"], shown["currency"])
        back.lies = ", ".join(dict.fromkeys(_lies(lot) for lot in shown["lots"]))


def _lies(lot: Json) -> str:
    """Where units lie, and what becomes of them once that is decided."""
    if lot["disposition"] is None:
        return f"at {lot['location']}"
    where = "from" if lot["disposition"] == "restock_elsewhere" else "at"
    return f"{lot['disposition'].replace('_', ' ')} {where} {lot['location']}"


def _numbers(shown: Json) -> list[str] | None:
    """The tracking numbers, once every parcel has one."""
    numbers = [parcel["tracking_number"] for parcel in shown["parcels"]]
    return numbers if numbers and all(numbers) else None


def how_they_stand(backs: Sequence[Back]) -> dict[str, int]:
    """How many stand where; the refused ones by their reason."""
    return dict(Counter(back.code or back.status for back in backs))
