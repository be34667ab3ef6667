import itertools
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.db.adjustments import Adjusted, Adjustment, adjust
from adapters.db.stock import StockChange, Taken, Want
from tests.adapters.db.stockroom import NOW, Stockroom

PLACES = ("lyon", "nice", "paris")
BASKETS = st.dictionaries(st.sampled_from(PLACES), st.integers(1, 4), min_size=1)
STEPS = st.one_of(
    st.tuples(st.just("count"), st.sampled_from(PLACES), st.integers(0, 6)),
    st.tuples(st.just("damage"), st.sampled_from(PLACES), st.integers(1, 3)),
    st.tuples(st.just("reserve"), BASKETS),
    st.tuples(st.just("confirm"), BASKETS),
    st.tuples(st.just("release"), BASKETS),
    st.tuples(st.just("hand over"), BASKETS),
)
examples = itertools.count()


class Books:
    """What the levels must be: the rules said once more, as plainly as possible."""

    def __init__(self) -> None:
        self.units: Counter[tuple[str, str]] = Counter()

    def available(self, place: str) -> int:
        units = self.units
        held = units[place, "reserved"] + units[place, "allocated"]
        return max(0, units[place, "on_hand"] - held)

    def has(self, basket: dict[str, int], *buckets: str) -> bool:
        return all(self.units[p, b] >= n for p, n in basket.items() for b in buckets)

    def add(self, basket: dict[str, int], **signs: int) -> None:
        for place, units in basket.items():
            for bucket, sign in signs.items():
                self.units[place, bucket] += sign * units

    def level(self, place: str) -> dict[str, int]:
        return {b: n for (p, b), n in self.units.items() if p == place and n}


class Play:
    """One run of steps, on the books and in the database."""

    def __init__(self, stockroom: Stockroom, sku: str) -> None:
        self.stockroom, self.sku, self.books = stockroom, sku, Books()
        self.keys = (f"{sku}:{step}" for step in itertools.count())

    async def count(self, place: str, units: int) -> None:
        await self._adjust(Adjustment(sku=self.sku, location=place, set_to=units, reason="count"))
        self.books.units[place, "on_hand"] = units

    async def damage(self, place: str, units: int) -> None:
        lost = Adjustment(sku=self.sku, location=place, delta=-units, reason="damaged")
        fits = self.books.has({place: units}, "on_hand")
        assert await self._adjust(lost) == fits
        if fits:
            self.books.add({place: units}, on_hand=-1, damaged=1)

    async def _adjust(self, adjustment: Adjustment) -> bool:
        async with self.stockroom.db.begin() as tx:
            made = await adjust(tx, [adjustment], key=next(self.keys), at=NOW)
        return isinstance(made, Adjusted)

    async def reserve(self, basket: dict[str, int]) -> None:
        wanted = [Want(sku=self.sku, location=p, quantity=n) for p, n in basket.items()]
        fits = all(self.books.available(place) >= units for place, units in basket.items())
        taken = await self.stockroom.take(next(self.keys), *wanted)
        assert isinstance(taken, Taken) == fits
        if fits:
            self.books.add(basket, reserved=1)

    async def confirm(self, basket: dict[str, int]) -> None:
        await self._change(basket, reserved=-1, allocated=1)

    async def release(self, basket: dict[str, int]) -> None:
        await self._change(basket, allocated=-1)

    async def hand_over(self, basket: dict[str, int]) -> None:
        await self._change(basket, on_hand=-1, allocated=-1)

    async def _change(self, basket: dict[str, int], **signs: int) -> None:
        if not self.books.has(basket, *(bucket for bucket, sign in signs.items() if sign < 0)):
            return
        changes = [
            StockChange(
                sku=self.sku, location=place, **{b: sign * units for b, sign in signs.items()}
            )
            for place, units in basket.items()
        ]
        key = next(self.keys)
        assert await self.stockroom.change(key, *changes)
        assert not await self.stockroom.change(key, *reversed(changes)), "once is enough"
        self.books.add(basket, **signs)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
async def test_whatever_happens_movements_add_up_to_levels(
    stockroom: Stockroom, steps: list[tuple[str, *tuple[object, ...]]]
) -> None:
    sku = f"SKU-{next(examples)}"
    await stockroom.sells(sku)
    play = Play(stockroom, sku)

    for step, *arguments in steps:
        await getattr(play, step.replace(" ", "_"))(*arguments)

    for place in PLACES:
        assert await stockroom.level(sku, place) == play.books.level(place)
    assert await stockroom.adds_up()
