"""What of an order is served together: units of an article, and kits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from oms.sourcing import Demand


@dataclass(frozen=True, slots=True)
class Item:
    """What is served together: units of an article, or the parts of a kit.

    `per`: units of each article in one; `count`: so many are wanted. `merged`: lines that would be
    served apart if they had to, as they share an article with a kit.
    """

    lines: tuple[Demand, ...]
    per: Mapping[str, int]
    count: int
    merged: bool = False

    @property
    def units(self) -> int:
        """Of articles, in one."""
        return sum(self.per.values())

    @property
    def weight_g(self) -> int:
        """Of one."""
        weights = {line.sku: line.weight_g for line in self.lines}
        return sum(per * weights[sku] for sku, per in self.per.items())


def items_of(lines: Sequence[Demand], open: Mapping[int, int]) -> tuple[Item, ...]:
    """What is served together, sorted by article: an article's lines, the parts of a kit.

    A kit and the lines of its articles, or kits that share one, are served together, too: two of
    them could not be counted from one shelf apart.
    """
    kits: dict[str, list[Demand]] = {}
    plain: dict[str, list[Demand]] = {}
    for each in lines:
        group, name = (plain, each.sku) if each.kit is None else (kits, each.kit)
        group.setdefault(name, []).append(each)
    items = [_kit(parts, open) for parts in kits.values()]
    items += [
        Item(tuple(same), {sku: 1}, sum(open[each.line] for each in same))
        for sku, same in plain.items()
    ]
    return tuple(sorted(_merged(items, open), key=lambda item: sorted(item.per)))


def _kit(parts: Sequence[Demand], open: Mapping[int, int]) -> Item:
    count = gcd(*(open[each.line] for each in parts))
    per: dict[str, int] = {}
    for each in parts:
        per[each.sku] = per.get(each.sku, 0) + open[each.line] // count
    return Item(tuple(parts), per, count)


def _merged(items: Sequence[Item], open: Mapping[int, int]) -> Iterator[Item]:
    """Put those together that share an article."""
    rest = list(items)
    while rest:
        together = [rest.pop(0)]
        skus = set(together[0].per)
        while sharing := [item for item in rest if not skus.isdisjoint(item.per)]:
            together += sharing
            skus |= {sku for item in sharing for sku in item.per}
            rest = [item for item in rest if item not in sharing]
        if len(together) == 1:
            yield together[0]
            continue
        lines = sorted((line for item in together for line in item.lines), key=lambda d: d.line)
        per: dict[str, int] = {}
        for line in lines:
            per[line.sku] = per.get(line.sku, 0) + open[line.line]
        yield Item(tuple(lines), per, 1, merged=True)


def apart(item: Item) -> list[list[Demand]]:
    """Take merged lines apart: the kits one by one, then the other lines."""
    kits = sorted({line.kit for line in item.lines if line.kit is not None})
    parts = [[line for line in item.lines if line.kit == kit] for kit in [*kits, None]]
    return [part for part in parts if part]
