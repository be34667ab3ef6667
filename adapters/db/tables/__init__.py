"""The books: every table, its constraints, and what each column means. A module an area.

Quantities are units, money is integer minor units, times are UTC with a zone. Ledgers
(`stock_movements`, `payment_entries`' amounts, `events`) only grow. The order row is locked
before any other row of the order; stock rows are locked last, sorted by (sku, location).

Importing the package declares all of them.
"""

from adapters.db.tables import (
    arrivals,
    fulfillment,
    master,
    money,
    orders,
    processes,
    requests,
    reservations,
    returns,
    routing,
    stock,
    stock_imports,
)

__all__ = [
    "arrivals",
    "fulfillment",
    "master",
    "money",
    "orders",
    "processes",
    "requests",
    "reservations",
    "returns",
    "routing",
    "stock",
    "stock_imports",
]
