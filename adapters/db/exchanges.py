"""Exchange orders, as their returns let them go or call them off."""

from datetime import datetime

from adapters.db.book import SqlBook


async def let_go(book: SqlBook, id: str, at: datetime) -> None:
    """Let the goods in exchange leave."""
    raise AssertionError(f"{id} has no exchange order")


async def call_off(book: SqlBook, id: str, at: datetime) -> None:
    """Keep the goods in exchange."""
    raise AssertionError(f"{id} has no exchange order")
