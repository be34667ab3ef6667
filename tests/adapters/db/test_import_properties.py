"""Whatever the order of imports and of what orders do: the rules said once more, and compared."""

import itertools
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.db.importing import Applied, apply_import
from adapters.db.imports import Kind, Missing, StagedRow, open_import, put_part
from adapters.db.stock import StockChange, Taken, Want, apply_changes, take
from tests.adapters.db.stockroom import NOW, Stockroom

PLACES = ("lyon", "nice")
UNITS = st.integers(0, 6)
AGES = st.integers(0, 4)
"""How many steps ago it was counted."""

# What moves goods comes more often than what counts them, as it does in a shop.
STEPS = st.tuples(
    st.sampled_from(
        ["counts"] * 2
        + ["snapshot", "snapshot_to_zero", "wrong", "cancel"]
        + ["deltas"] * 4
        + ["reserve"] * 2
        + ["hand_over"] * 3
    ),
    st.sampled_from(["lyon"] * 3 + ["nice"]),
    UNITS,
    AGES,
)
examples = itertools.count()


class Shelf:
    """One place: what lies there, what is held, what moved when, and when it was counted last."""

    def __init__(self) -> None:
        self.on_hand = self.reserved = 0
        self.moved: list[tuple[int, int]] = []
        self.counted_at = -1000

    def since(self, step: int) -> int:
        return sum(units for at, units in self.moved if at > step)

    def move(self, units: int, at: int) -> None:
        self.on_hand += units
        self.moved.append((at, units))


class Play:
    """One run of steps, in the books above and in the database."""

    def __init__(self, stockroom: Stockroom, sku: str) -> None:
        self.stockroom, self.sku, self.step = stockroom, sku, 10
        self.shelves = {place: Shelf() for place in PLACES}

    def at(self, step: int) -> datetime:
        return NOW + timedelta(seconds=step)

    async def counts(self, place: str, units: int, age: int) -> None:
        await self.counted("counts", place, units, self.step - age)

    async def snapshot(self, place: str, units: int, age: int, missing: Missing = "report") -> None:
        """A snapshot that names the article, or does not where there are none."""
        taken, shelf = self.step - age, self.shelves[place]
        header: Any = {"location": place, "missing": missing}
        if units:
            return await self.counted("snapshot", place, units, taken, **header)
        await self.imports("snapshot", {}, taken, fits=True, **header)
        if missing == "zero" and shelf.counted_at <= taken:
            shelf.counted_at = taken
            if shelf.on_hand > shelf.since(taken):
                shelf.on_hand = min(shelf.on_hand, max(0, shelf.since(taken)))
        return None

    async def snapshot_to_zero(self, place: str, units: int, age: int) -> None:
        await self.snapshot(place, units, age, "zero")

    async def counted(self, kind: Kind, place: str, units: int, taken: int, **header: Any) -> None:
        shelf = self.shelves[place]
        is_live, after = shelf.counted_at <= taken, units + shelf.since(taken)
        fits = not is_live or after >= 0
        await self.imports(kind, {place: units}, taken, fits=fits, **header)
        if is_live and fits:
            shelf.on_hand, shelf.counted_at = after, taken

    async def deltas(self, place: str, units: int, age: int) -> None:
        taken, delta = self.step - age // 3, units - 2
        fits = self.shelves[place].on_hand + delta >= 0
        await self.imports("deltas", {place: delta}, taken, fits=fits)
        if fits:
            self.shelves[place].move(delta, taken)

    async def wrong(self, place: str, units: int, _: int) -> None:
        rows = [StagedRow(self.sku, place, units, None), StagedRow("NOBODY", place, 1, None)]
        await self._import("counts", rows, self.step, fits=False)

    async def imports(
        self, kind: Kind, rows: dict[str, int], taken: int, *, fits: bool, **header: Any
    ) -> None:
        sent = [StagedRow(self.sku, place, units, None) for place, units in rows.items()]
        await self._import(kind, sent, taken, fits=fits, **header)

    async def _import(
        self,
        kind: Kind,
        rows: list[StagedRow],
        taken: int,
        *,
        fits: bool,
        location: str | None = None,
        missing: Missing = "report",
    ) -> None:
        answers = []
        for _ in "12":
            async with self.stockroom.db.begin() as tx:
                opened = await open_import(
                    tx, scope="", reference=f"{self.sku} {self.step}", kind=kind,
                    location=location, missing=missing, taken_at=self.at(taken),
                    now=self.at(self.step),
                )  # fmt: skip
                assert isinstance(opened, tuple)
                if rows:
                    await put_part(tx, opened[0], 1, rows, b"content")
                done = await apply_import(tx, opened[0].id, rows=len(rows), now=self.at(self.step))
            assert isinstance(done, Applied)
            assert (done.stored.state == "applied") == fits
            answers.append(done.stored._replace(version=0))
        assert answers[0] == answers[1], "the same import twice is once"

    async def reserve(self, place: str, units: int, _: int) -> None:
        shelf = self.shelves[place]
        fits = max(0, shelf.on_hand - shelf.reserved) >= units
        wanted = [Want(sku=self.sku, location=place, quantity=units)] if units else []
        async with self.stockroom.db.begin() as tx:
            taken = await take(
                tx, wanted, cause="test", key=f"{self.sku}:{self.step}", at=self.at(self.step)
            )
        assert isinstance(taken, Taken) == fits, "nothing is sold that is not there"
        shelf.reserved += units if fits else 0

    async def cancel(self, place: str, units: int, _: int) -> None:
        await self._give_back(place, units, leaves=False)

    async def hand_over(self, place: str, units: int, _: int) -> None:
        await self._give_back(place, units, leaves=True)

    async def _give_back(self, place: str, most: int, *, leaves: bool) -> None:
        """Of what is reserved: back to the shelf, or to the customer."""
        shelf = self.shelves[place]
        units = min(most, shelf.reserved, shelf.on_hand)
        change = StockChange(
            sku=self.sku, location=place, reserved=-units, on_hand=-units if leaves else 0
        )
        key, at = f"{self.sku}:{self.step}", self.at(self.step)
        async with self.stockroom.db.begin() as tx:
            await apply_changes(tx, [change], cause="test", key=key, at=at)
        shelf.reserved -= units
        if leaves and units:
            shelf.move(-units, self.step)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=8, max_size=16))
async def test_whatever_is_imported_in_whatever_order_movements_add_up(
    stockroom: Stockroom, steps: list[tuple[str, str, int, int]]
) -> None:
    sku = f"SKU-{next(examples)}"
    await stockroom.sells(sku)
    play = Play(stockroom, sku)
    try:
        await play.deltas("lyon", 8, 0)
        for step, *arguments in steps:
            play.step += 1
            await getattr(play, step)(*arguments)
        for place, shelf in play.shelves.items():
            level = {"on_hand": shelf.on_hand, "reserved": shelf.reserved}
            assert await stockroom.level(sku, place) == {b: n for b, n in level.items() if n}
        assert await stockroom.adds_up()
    finally:
        # A snapshot speaks of everything at its place.
        await stockroom.is_emptied()
