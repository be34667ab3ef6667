"""What a retailer brings: channels, places, goods, stock and orders, each as the API takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]


class StockRow(NamedTuple):
    """Units of one SKU counted at one location."""

    sku: str
    location: str
    on_hand: int


@dataclass(frozen=True)
class Catalogue:
    """One retailer. The bodies are those of `docs`' HTTP contract; the keys are the ids in paths.

    `postal_table` is the file that says where this retailer's customers live; None means the one
    that ships with the product. `returns`: what came back of these orders, and of none.
    """

    channels: Mapping[str, str]
    locations: Mapping[str, Json]
    products: Mapping[str, Json]
    stock: tuple[StockRow, ...]
    orders: tuple[Json, ...]
    postal_table: Path | None = None
    returns: tuple[Json, ...] = ()
    dropped: frozenset[str] = field(default_factory=frozenset)

    def channel_bodies(self) -> Mapping[str, Json]:
        """Give the body of `PUT /v1/channels/{id}` for each channel."""
        return {id_: {"name": name, "active": True} for id_, name in self.channels.items()}
