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
BASKETS = st.dictionaries(st.sampled_from(PLACES), st.integers(1, 3), min_size=1)
AGES = st.integers(0, 4)
"""How many steps ago it was counted."""

STEPS = st.one_of(
    st.tuples(
        st.just("counts"),
        st.dictionaries(st.sampled_from(PLACES), st.integers(0, 6), min_size=1),
        AGES,
    ),
    st.tuples(
        st.just("snapshot"),
        st.sampled_from(PLACES),
        st.one_of(st.none(), st.integers(0, 6)),
        st.sampled_from(["report", "zero"]),
        AGES,
    ),
    st.tuples(
        st.just("deltas"),
        st.dictionaries(st.sampled_from(PLACES), st.integers(-3, 3), min_size=1),
        AGES,
    ),
    st.tuples(st.just("wrong"), st.sampled_from(PLACES), st.integers(0, 6)),
    st.tuples(st.just("reserve"), BASKETS),
    st.tuples(st.just("cancel"), BASKETS),
    st.tuples(st.just("hand_over"), BASKETS),
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

    async def counts(self, rows: dict[str, int], age: int) -> None:
        taken = self.step - age
        live = {p: n for p, n in rows.items() if self.shelves[p].counted_at <= taken}
        after = {p: n + self.shelves[p].since(taken) for p, n in live.items()}
        fits = all(units >= 0 for units in after.values())
        await self.imports("counts", rows, taken, fits=fits)
        for place in live if fits else ():
            self.shelves[place].on_hand = after[place]
            self.shelves[place].counted_at = taken

    async def snapshot(self, place: str, units: int | None, missing: Missing, age: int) -> None:
        taken, shelf = self.step - age, self.shelves[place]
        if units is not None:
            return await self.counted(place, units, taken, missing)
        await self.imports("snapshot", {}, taken, fits=True, location=place, missing=missing)
        if missing == "zero" and shelf.counted_at <= taken:
            shelf.counted_at = taken
            if shelf.on_hand > shelf.since(taken):
                shelf.on_hand = min(shelf.on_hand, max(0, shelf.since(taken)))
        return None

    async def counted(self, place: str, units: int, taken: int, missing: Missing) -> None:
        shelf = self.shelves[place]
        is_live, after = shelf.counted_at <= taken, units + shelf.since(taken)
        fits = not is_live or after >= 0
        await self.imports(
            "snapshot", {place: units}, taken, fits=fits, location=place, missing=missing
        )
        if is_live and fits:
            shelf.on_hand, shelf.counted_at = after, taken

    async def deltas(self, rows: dict[str, int], age: int) -> None:
        taken = self.step - age
        fits = all(self.shelves[place].on_hand + units >= 0 for place, units in rows.items())
        await self.imports("deltas", rows, taken, fits=fits)
        for place, units in rows.items() if fits else ():
            self.shelves[place].move(units, taken)

    async def wrong(self, place: str, units: int) -> None:
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

    async def reserve(self, basket: dict[str, int]) -> None:
        fits = all(
            max(0, self.shelves[p].on_hand - self.shelves[p].reserved) >= n
            for p, n in basket.items()
        )
        wanted = [Want(sku=self.sku, location=p, quantity=n) for p, n in basket.items()]
        async with self.stockroom.db.begin() as tx:
            taken = await take(
                tx, wanted, cause="test", key=f"{self.sku}:{self.step}", at=self.at(self.step)
            )
        assert isinstance(taken, Taken) == fits, "nothing is sold that is not there"
        for place, units in basket.items() if fits else ():
            self.shelves[place].reserved += units

    async def cancel(self, basket: dict[str, int]) -> None:
        await self._change(basket, reserved=-1)

    async def hand_over(self, basket: dict[str, int]) -> None:
        await self._change(basket, reserved=-1, on_hand=-1)

    async def _change(self, basket: dict[str, int], *, reserved: int, on_hand: int = 0) -> None:
        shelves = {place: self.shelves[place] for place in basket}
        if any(s.reserved < basket[p] or s.on_hand < basket[p] for p, s in shelves.items()):
            return
        key, at = f"{self.sku}:{self.step}", self.at(self.step)
        changes = [
            StockChange(sku=self.sku, location=place, reserved=reserved * n, on_hand=on_hand * n)
            for place, n in basket.items()
        ]
        async with self.stockroom.db.begin() as tx:
            await apply_changes(tx, changes, cause="test", key=key, at=at)
        for place, shelf in shelves.items():
            shelf.reserved += reserved * basket[place]
            if on_hand:
                shelf.move(on_hand * basket[place], self.step)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEPS, min_size=1, max_size=10))
async def test_whatever_is_imported_in_whatever_order_movements_add_up(
    stockroom: Stockroom, steps: list[tuple[str, *tuple[Any, ...]]]
) -> None:
    sku = f"SKU-{next(examples)}"
    await stockroom.sells(sku)
    play = Play(stockroom, sku)
    try:
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
