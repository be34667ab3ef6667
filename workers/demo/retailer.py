"""Hus & Heim, the retailer that comes with the product: 42 stores in real European towns.

Its places and goods are files beside this module; its stock and its customers' orders are drawn
from a seed, so that the same seed always shows the same day.
"""

import csv
import json
from importlib.resources import files
from random import Random
from typing import NamedTuple

from workers.demo.catalogue import Json, StockRow

CHANNELS = {
    "web-de": "Web shop, German",
    "web-fr": "Web shop, French",
    "phone": "Telephone",
    "till": "Ordered in the store",
    "marketplace": "Marketplace",
}
FRENCH_SPEAKING = {"BE", "FR", "LU"}
CURRENCY = "EUR"

# Standard rates of value-added tax in percent, as included in the prices.
VAT_PERCENT = {
    "AT": 20, "BE": 21, "DE": 19, "ES": 21, "FR": 20, "IT": 22, "LU": 17, "NL": 21, "PL": 23,
}  # fmt: skip


class Product(NamedTuple):
    """Something to sell, with its price: minor units of `CURRENCY`, tax included."""

    sku: str
    price_minor: int
    body: Json


class Town(NamedTuple):
    """Where a customer may live."""

    country: str
    city: str
    postal_code: str


def locations() -> dict[str, Json]:
    """Read the stores, warehouses and the supplier by id."""
    return {row.pop("id"): row for row in _rows("locations.jsonl")}


def products() -> list[Product]:
    """Read the goods, best sellers first."""
    return [Product(row.pop("sku"), row.pop("price_minor"), row) for row in _rows("products.jsonl")]


def towns() -> list[Town]:
    """Read the towns customers live in."""
    text = (files("workers.demo") / "data" / "towns.csv").read_text(encoding="utf-8")
    return [Town(**row) for row in csv.DictReader(text.splitlines())]


def draw_stock(
    places: dict[str, Json], goods: list[Product], *, seed: int, orders: int
) -> tuple[StockRow, ...]:
    """Spread the goods unevenly: most of it in two warehouses of three, a little in many stores.

    The amounts grow with the number of orders to come, so that a long run does not end in empty
    shelves, and a few goods stay scarce whatever its length.
    """
    draw = Random(f"stock:{seed}")
    scale = 1 + orders // 150
    rows: list[StockRow] = []
    for good in goods:
        scarce = draw.random() < 0.08
        warehouses = [id_ for id_, place in places.items() if place["kind"] == "warehouse"]
        stocked = set(draw.sample(warehouses, k=1 if scarce else 2))
        for id_, place in places.items():
            match place["kind"]:
                case "warehouse" if id_ in stocked:
                    units = draw.randint(2, 5) if scarce else draw.randint(15, 60) * scale
                case "supplier":
                    units = 0 if scarce else draw.choice([0, 40 * scale])
                case "store":
                    units = draw.choice([0, 0, 1, 2]) if scarce else _on_a_shelf(draw, scale)
                case _:
                    units = 0
            rows.append(StockRow(good.sku, id_, units))
    return tuple(rows)


def _on_a_shelf(draw: Random, scale: int) -> int:
    return draw.choice([0, 0, 1, 2, 3, 4, 6, 8]) * scale


def _rows(name: str) -> list[Json]:
    text = (files("workers.demo") / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
