"""The example retailer, whole: its shelves and its customers' orders."""

from workers.demo import retailer
from workers.demo.catalogue import Catalogue
from workers.demo.customers import draw_orders


def example_retailer(*, orders: int, seed: int, prefix: str) -> Catalogue:
    """Build Hus & Heim with `orders` orders drawn from `seed`, their references under `prefix`."""
    places, goods = retailer.locations(), retailer.products()
    stock = retailer.draw_stock(places, goods, seed=seed, orders=orders)
    return Catalogue(
        channels=retailer.CHANNELS,
        locations=places,
        products={good.sku: good.body for good in goods},
        stock=stock,
        orders=draw_orders(goods, places, stock, count=orders, seed=seed, prefix=prefix),
    )
