"""Customers of the example retailer and what they order, drawn from a seed.

Most pay with a good card. Every twentieth meets each kind of trouble an order can meet by itself,
and one order of the run is the showpiece: its payment cannot be captured, so that it parks.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random

from workers.demo.catalogue import Json, StockRow
from workers.demo.retailer import CURRENCY, FRENCH_SPEAKING, VAT_PERCENT, Product, Town, towns

SHOWPIECE = 6
"""The place in the run, from zero, of the order whose capture fails."""

MORE_THAN_ANYBODY_HAS = 9_999
FREE_SHIPPING_FROM_MINOR = 7_500
SHIPPING_MINOR = 490

# By the order's place in each twenty: what becomes of its payment.
_TROUBLE = {
    4: "tok_declined",
    8: "tok_error_after",
    10: "tok_pending",
    14: "tok_insufficient_funds",
    17: "tok_slow",
}
_TOO_MANY = 12

_FIRST_NAMES = (
    "Ada", "Anna", "Ben", "Camille", "Clara", "David", "Elena", "Emma", "Felix", "Hugo", "Ines",
    "Jan", "Jonas", "Julia", "Lea", "Louise", "Lukas", "Marta", "Mila", "Nina", "Noah", "Paul",
)  # fmt: skip
_LAST_NAMES = (
    "Bauer", "Bernard", "Costa", "De Smet", "Dubois", "Fischer", "Garcia", "Huber", "Jansen",
    "Kowalski", "Lefevre", "Martin", "Meyer", "Moreau", "Novak", "Peeters", "Rossi", "Schmidt",
)  # fmt: skip
_STREETS = {
    "AT": "Feldgasse {}", "BE": "Kerkstraat {}", "DE": "Gartenstraße {}", "ES": "Calle Mayor {}",
    "FR": "{} rue des Lilas", "IT": "Via Garibaldi {}", "LU": "{} rue de la Gare",
    "NL": "Molenstraat {}", "PL": "ul. Lipowa {}",
}  # fmt: skip


def draw_orders(
    goods: Sequence[Product],
    places: dict[str, Json],
    stock: Sequence[StockRow],
    *,
    count: int,
    seed: int,
    prefix: str,
) -> tuple[Json, ...]:
    """Draw `count` bodies of `POST /v1/orders`; the reference of each is `{prefix}-{place}`."""
    draw = Random(f"orders:{seed}")
    shelves = _Shelves(places, stock)
    homes = towns()
    orders: list[Json] = []
    for place in range(count):
        pickup = place % 20 not in {*_TROUBLE, _TOO_MANY, SHOWPIECE} and draw.random() < 0.2
        order = (
            _collected(draw, goods, places, shelves)
            if pickup
            else _delivered(draw, goods, draw.choice(homes), too_many=place % 20 == _TOO_MANY)
        )
        order["reference"] = f"{prefix}-{place + 1:04d}"
        order["tenders"] = _tenders(order, _token(place))
        orders.append(order)
    return tuple(orders)


class _Shelves:
    """What stores can still promise to customers who come by."""

    def __init__(self, places: dict[str, Json], stock: Sequence[StockRow]) -> None:
        self.left: dict[str, Counter[str]] = {
            id_: Counter() for id_, place in places.items() if place["kind"] == "store"
        }
        for row in stock:
            # The last pieces are left alone: orders delivered from this store compete for them.
            if row.location in self.left and row.on_hand >= 4:
                self.left[row.location][row.sku] = row.on_hand // 2

    def offer(self, draw: Random) -> tuple[str, list[str]]:
        store = draw.choice(sorted(self.left))
        return store, sorted(+self.left[store])


def _collected(
    draw: Random, goods: Sequence[Product], places: dict[str, Json], shelves: _Shelves
) -> Json:
    store, skus = shelves.offer(draw)
    by_sku = {good.sku: good for good in goods}
    chosen = draw.sample(skus, k=min(len(skus), draw.choice([1, 1, 2, 3])))
    for sku in chosen:
        shelves.left[store][sku] -= 1
    country = places[store]["address"]["country"]
    order = _order(draw, [(by_sku[sku], 1) for sku in chosen], country, name=_name(draw))
    return order | {"delivery": {"method": "store_pickup", "location": store}}


def _delivered(draw: Random, goods: Sequence[Product], home: Town, *, too_many: bool) -> Json:
    basket = _basket(draw, goods)
    if too_many:
        basket[-1] = (basket[-1][0], MORE_THAN_ANYBODY_HAS)
    name = _name(draw)
    address = {
        "name": name,
        "line1": _STREETS[home.country].format(draw.randint(1, 120)),
        "city": home.city,
        "postal_code": home.postal_code,
        "country": home.country,
    }
    order = _order(draw, basket, home.country, name=name)
    goods_minor = sum(
        line["quantity"] * line["unit_price_minor"] - line["discount_minor"]
        for line in order["lines"]
    )
    shipping = 0 if goods_minor >= FREE_SHIPPING_FROM_MINOR else SHIPPING_MINOR
    return order | {
        "shipping_minor": shipping,
        "shipping_tax_minor": _tax_in(shipping, home.country),
        "delivery": {"method": "home", "address": address},
    }


def _basket(draw: Random, goods: Sequence[Product]) -> list[tuple[Product, int]]:
    lines = draw.choices([1, 2, 3, 4, 5, 6], weights=[38, 27, 16, 10, 6, 3])[0]
    popular = [1 / (rank + 4) for rank in range(len(goods))]
    chosen: dict[str, tuple[Product, int]] = {}
    while len(chosen) < lines:
        good = draw.choices(goods, weights=popular)[0]
        chosen[good.sku] = good, draw.choices([1, 2, 3, 4], weights=[70, 18, 5, 7])[0]
    return list(chosen.values())


def _order(draw: Random, basket: Sequence[tuple[Product, int]], country: str, *, name: str) -> Json:
    french = country in FRENCH_SPEAKING
    web = "web-fr" if french else "web-de"
    return {
        "channel": draw.choices([web, "phone", "marketplace", "till"], weights=[72, 11, 10, 7])[0],
        "currency": CURRENCY,
        "customer": {
            "id": f"c-{draw.randint(1, 99_999):05d}",
            "name": name,
            "email": f"{name.replace(' ', '.').lower()}@example.com",
            "locale": "fr-FR" if french else "de-DE",
        },
        "lines": [_line(draw, good, quantity, country) for good, quantity in basket],
        "allow_split": True,
        "allow_backorder": False,
    }


def _line(draw: Random, good: Product, quantity: int, country: str) -> Json:
    full = good.price_minor * quantity
    discount = full * draw.choice([10, 15, 20, 25]) // 100 if draw.random() < 0.15 else 0
    return {
        "sku": good.sku,
        "quantity": quantity,
        "unit_price_minor": good.price_minor,
        "discount_minor": discount,
        "tax_minor": _tax_in(full - discount, country),
    }


def _tax_in(gross_minor: int, country: str) -> int:
    """Take the tax out of a price that includes it, rounded half up to the minor unit."""
    rate = VAT_PERCENT[country]
    return (2 * gross_minor * rate + 100 + rate) // (2 * (100 + rate))


def _token(place: int) -> str:
    if place == SHOWPIECE:
        return "tok_capture_fails"
    return _TROUBLE.get(place % 20, "tok_ok")


def _tenders(order: Json, token: str) -> list[Json]:
    total = order.get("shipping_minor", 0) + sum(
        line["quantity"] * line["unit_price_minor"] - line["discount_minor"]
        for line in order["lines"]
    )
    # The till has the money already, and knows before it asks whether the card is good.
    if order["channel"] == "till" and token == "tok_ok":
        return [{"kind": "terminal", "reference": order["reference"], "amount_minor": total}]
    return [{"kind": "card", "provider": "simulator", "token": token, "amount_minor": total}]


def _name(draw: Random) -> str:
    return f"{draw.choice(_FIRST_NAMES)} {draw.choice(_LAST_NAMES)}"
