"""Past orders, places, goods and stock read from files, for `oms routing simulate`.

The shapes are the API's: orders as JSON Lines of `{"at", "order"}`, locations and products as JSON
Lines of what `PUT` takes with their `id` or `sku`, shipping services likewise; stock as for
`oms stock import`. Plain or `.gz`. Fields that are not needed are not looked at.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from oms.fields import Wire
from oms.locations import Location, Locations
from oms.past import Fetching, PastOrder, PricedArticle, Serving, World, demand
from oms.places import Point, PostalTable, locate, time_zone
from oms.placing import HomeDelivery, OrderRequest, StorePickup
from oms.sourcing import Ask
from workers.stock_files import read_stock

MOST_ERRORS = 20
Json = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


class BadFile(Exception):
    """Files cannot be read as what they are meant to be; `errors` says where and why."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class _Read(Wire):
    model_config = ConfigDict(extra="ignore", strict=False)


class _Address(_Read):
    country: str
    postal_code: str | None = None


class _Location(_Read):
    id: str
    name: str = ""
    kind: str
    address: _Address
    latitude: float | None = None
    longitude: float | None = None
    time_zone: str | None = None
    serves: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ("*",)
    groups: tuple[str, ...] = ()
    daily_capacity: int | None = None
    handling_minor: int = 0
    currency: str | None = None
    active: bool = True


class _Product(_Read):
    sku: str
    weight_g: int | None = None
    tags: tuple[str, ...] = ()
    unit_cost_minor: int | None = None
    cost_currency: str | None = None


class _Service(_Read):
    carrier: str
    method: str
    countries: tuple[str, ...] = ("*",)
    from_kinds: tuple[str, ...] = ()
    from_groups: tuple[str, ...] = ()
    active: bool = True


class _Placed(_Read):
    at: AwareDatetime | None = None
    order: OrderRequest


@dataclass
class Orders:
    """Orders in the order of time, and how many were left out, by reason."""

    orders: list[PastOrder] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


# --- places and goods -----------------------------------------------------------------------


def read_world(
    locations: Path,
    stock: Path,
    *,
    articles: Mapping[str, PricedArticle],
    services: Path | None = None,
) -> World:
    """Read places, and what lies there.

    Raises:
        BadFile: a file is missing or wrong.
    """
    rows = list(_models(locations, _Location))
    if not rows:
        raise BadFile([f"{locations}: no locations"])
    twice = [id for id, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise BadFile([f"{locations}: {id} comes twice" for id in twice])
    places = Locations(_location(row) for row in rows)
    return World(
        locations=places,
        serving={row.id: _serving(row) for row in rows},
        stock=_stock(stock, places),
        goods={a.sku: [a.cost] * len(places) for a in articles.values() if a.cost is not None},
        services=[] if services is None else [_fetching(s) for s in _models(services, _Service)],
    )


def read_articles(path: Path | None) -> dict[str, PricedArticle]:
    """Read products by SKU; none without a file.

    Raises:
        BadFile
    """
    return {} if path is None else {each.sku: _article(each) for each in _models(path, _Product)}


def _article(row: _Product) -> PricedArticle:
    known = row.unit_cost_minor
    cost = None if known is None else (known, row.cost_currency)
    return PricedArticle(row.sku, row.weight_g or 0, frozenset(row.tags), cost)


def _fetching(row: _Service) -> Fetching:
    # One that is not on offer fetches for nobody.
    countries = frozenset(row.countries if row.active else ())
    kinds, groups = frozenset(row.from_kinds), frozenset(row.from_groups)
    return Fetching(row.carrier, row.method, countries, kinds, groups)


def _location(row: _Location) -> Location:
    return Location(
        id=row.id,
        name=row.name,
        kind=row.kind,
        country=row.address.country,
        groups=frozenset(row.groups),
        latitude=row.latitude,
        longitude=row.longitude,
        handling_minor=row.handling_minor,
        currency=row.currency,
        daily_capacity=row.daily_capacity,
    )


def _serving(row: _Location) -> Serving:
    at_the_counter = ["store_pickup", "carry_out"] if row.kind == "store" else []
    zone = row.time_zone
    if zone is None and row.latitude is not None and row.longitude is not None:
        zone = time_zone(row.address.country, Point(row.latitude, row.longitude)).key
    return Serving(
        active=row.active,
        methods=frozenset(("home", *at_the_counter) if row.serves is None else row.serves),
        channels=frozenset(row.channels),
        time_zone=zone or "UTC",
    )


def _stock(path: Path, places: Locations) -> dict[str, Any]:
    try:
        read = read_stock(path)
    except OSError as fault:
        raise BadFile([f"{path}: {fault}"]) from fault
    errors = [f"{path}:{e.line} {e.field} {e.code}: {e.detail}" for e in read.errors]
    stock: dict[str, Any] = {}
    for line, row in zip(read.lines, read.rows, strict=True):
        if not {"sku", "location", "on_hand"} <= row.keys():
            errors.append(f"{path}:{line} a row has sku, location and on_hand")
        elif row["location"] not in places.row_of:
            errors.append(f"{path}:{line} location {row['location']} is not among the locations")
        else:
            units = stock.setdefault(row["sku"], np.zeros(len(places), dtype=np.int64))
            units[places.row_of[row["location"]]] = row["on_hand"]
    if errors:
        raise BadFile(errors)
    return stock


# --- orders ---------------------------------------------------------------------------------


def read_orders(
    path: Path, world: World, articles: Mapping[str, PricedArticle], postal_codes: PostalTable
) -> Orders:
    """Read orders, and leave out those that would not be taken.

    Raises:
        BadFile: a line is no order.
    """
    found = Orders()
    known: set[str] = set()
    for number, row in enumerate(_models(path, _Placed), start=1):
        request = row.order
        id = f"{request.channel}/{request.reference}"
        reason = _refused(request, world, articles)
        if reason is None and id in known:
            reason = "reference_taken"
        known.add(id)
        if reason is not None:
            found.left_out[reason] += 1
            continue
        if row.at is None and number > 1 and found.orders:
            at = found.orders[-1].at
        else:
            at = row.at or datetime.fromisoformat("2000-01-01T00:00:00Z")
        found.orders.append(_past(request, id, at, world, articles, postal_codes))
    found.orders.sort(key=lambda order: order.at)
    return found


def _refused(
    request: OrderRequest, world: World, articles: Mapping[str, PricedArticle]
) -> str | None:
    """Why the API would not take it, by its code."""
    if articles and any(line.sku not in articles for line in request.lines):
        return "sku_unknown"
    match request.delivery:
        case StorePickup(location=store):
            serving = world.serving.get(store)
            if serving is None or not serving.active or "store_pickup" not in serving.methods:
                return "location_unknown"
        case HomeDelivery():
            pass
        case _:
            return "not_supported"
    return None


def _past(
    request: OrderRequest,
    id: str,
    at: datetime,
    world: World,
    articles: Mapping[str, PricedArticle],
    postal_codes: PostalTable,
) -> PastOrder:
    delivery = request.delivery
    country: str | None
    point: tuple[float, float] | None
    if isinstance(delivery, StorePickup):
        store = world.locations.rows[world.locations.row_of[delivery.location]]
        country, point = store.country, _point(store.latitude, store.longitude)
    else:
        assert isinstance(delivery, HomeDelivery)
        address = delivery.address
        country = address.country
        point = _point(address.latitude, address.longitude) or locate(
            address.country, address.postal_code, postal_codes
        )
    return PastOrder(
        id=id,
        at=at,
        ask=Ask(
            channel=request.channel,
            method=delivery.method,
            country=country,
            segment=request.customer.segment,
            currency=request.currency,
            value_minor=sum(line.total_minor for line in request.lines),
            point=point,
            allow_split=request.allow_split,
        ),
        demands=tuple(
            demand(
                articles.get(line.sku) or PricedArticle(line.sku),
                number,
                line.quantity,
                kit=line.kit,
                price_minor=line.unit_price_minor,
            )
            for number, line in enumerate(request.lines, start=1)
        ),
        allow_backorder=request.allow_backorder,
        pickup=delivery.location if isinstance(delivery, StorePickup) else None,
    )


def _point(latitude: float | None, longitude: float | None) -> tuple[float, float] | None:
    return None if latitude is None or longitude is None else (latitude, longitude)


# --- lines ----------------------------------------------------------------------------------


def _models(path: Path, model: type[Model]) -> Iterator[Model]:
    """Read JSON Lines, all of them, or say what is wrong."""
    errors: list[str] = []
    for number, line in _lines(path):
        try:
            # As JSON, so that a list may stand where the model has a tuple.
            found = model.model_validate_json(line)
        except ValidationError as refused:
            errors += [
                f"{path}:{number} /{'/'.join(str(part) for part in error['loc'])} {error['msg']}"
                for error in refused.errors(include_url=False, include_input=False)
            ]
            if len(errors) >= MOST_ERRORS:
                break
            continue
        if not errors:
            yield found
    if errors:
        raise BadFile(errors[:MOST_ERRORS])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig")
        ) as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
        raise BadFile([f"{path}: cannot be read: {fault}"]) from fault
