"""The stock of a benchmark: articles at places, laid out by set-based SQL."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

LOCATIONS = 1_000
PLACES_A_SKU = 10
UNITS = 1_000_000_000
CHANNEL = "bench"
HOT = "SKU-000000"
EVERYWHERE = "SKU-EVERYWHERE"
"""An article that each location has."""


def sku_name(number: int) -> str:
    """Name the article of a number."""
    return f"SKU-{number:06d}"


def place_name(number: int) -> str:
    """Name the location of a number."""
    return f"place-{number % LOCATIONS:04d}"


class Shelf:
    """Articles with numbers from 0, each at ten of a thousand places; grows on request."""

    def __init__(self, db: AsyncEngine) -> None:
        self._db = db
        self.skus = 0

    @property
    def rows(self) -> int:
        """How many stock rows there are, but for the article that is everywhere."""
        return self.skus * PLACES_A_SKU

    def first_place(self, number: int) -> str:
        """One of the places that have the article."""
        return place_name(number * 37)

    async def lay_out(self) -> None:
        """Make the channel, the places, and the article that is everywhere."""
        async with self._db.begin() as tx:
            for statement in _PLACES:
                await tx.execute(
                    text(statement),
                    {
                        name: value
                        for name, value in {
                            "channel": CHANNEL,
                            "most": LOCATIONS - 1,
                            "sku": EVERYWHERE,
                            "units": UNITS,
                        }.items()
                        if f":{name}" in statement
                    },
                )

    async def grow(self, rows: int) -> None:
        """Add articles until there are so many stock rows; statistics are brought up to date."""
        skus = rows // PLACES_A_SKU
        async with self._db.begin() as tx:
            await tx.execute(text("SET LOCAL statement_timeout = 0"))
            names = {"first": self.skus, "last": skus - 1}
            await tx.execute(text(_ARTICLES), names)
            await tx.execute(
                text(_LEVELS),
                names | {"units": UNITS, "places": PLACES_A_SKU - 1, "locations": LOCATIONS},
            )
        self.skus = skus
        async with self._db.connect() as plain:
            tx = await plain.execution_options(isolation_level="AUTOCOMMIT")
            await tx.execute(text("SET statement_timeout = 0"))
            await tx.execute(text("VACUUM ANALYZE stock_levels"))
            await tx.execute(text("ANALYZE products, locations"))


_PLACES = (
    "INSERT INTO channels (id, name, active, version) VALUES (:channel, 'Benchmark', true, 1)",
    "INSERT INTO locations (id, name, kind, address, country, time_zone, handling_minor, active,"
    " version, serves, channels) SELECT 'place-' || lpad(i::text, 4, '0'), 'Place', 'store', '{}',"
    " 'FR', 'UTC', 0, true, 1, '{home,store_pickup}', '{*}' FROM generate_series(0, :most) i",
    "INSERT INTO products (sku, name, sellable, version) VALUES (:sku, 'Everywhere', true, 1)",
    "INSERT INTO stock_levels (sku, location, on_hand) SELECT :sku, id, :units FROM locations",
)
_ARTICLES = """
INSERT INTO products (sku, name, sellable, version)
SELECT 'SKU-' || lpad(i::text, 6, '0'), 'Article', true, 1
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) i
"""
_LEVELS = """
INSERT INTO stock_levels (sku, location, on_hand)
SELECT 'SKU-' || lpad(i::text, 6, '0'),
  'place-' || lpad(((i * 37 + k * 101) % :locations)::text, 4, '0'), :units
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) i,
  generate_series(0, CAST(:places AS int)) k
"""
