"""What a channel can have of an article or a basket: how, by when, and for how much."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from adapters.db.availability import read_availability
from adapters.db.credentials import Credential
from adapters.db.engine import by_statement
from adapters.db.offers import Line, Offering, Option, ask, offers
from adapters.db.promises import Where
from api.answers import answer
from api.auth import ChannelOrOperator, Database
from api.body import JsonBody, invalid
from api.lists import Query, QueryOf, WholeNumber
from api.problems import Problem, not_found
from api.wiring import ApiSettings, SettingsOfApi
from oms.fields import (
    MAX_LINES,
    MAX_QUANTITY,
    Amount,
    Country,
    Currency,
    Flaw,
    Id,
    Latitude,
    Longitude,
    Moment,
    Quantity,
    Text,
    Wire,
)
from oms.places import Point, locate, postal_code_possible

router = APIRouter(prefix="/v1/availability", tags=["Availability"])

MAX_SKUS = 100
_SKUS = r"^[A-Za-z0-9._,-]{1,6500}$"


def _ids(text: str) -> str:
    skus = text.split(",")
    if len(skus) > MAX_SKUS:
        raise PydanticCustomError("too_many", f"at most {MAX_SKUS} articles")
    if any(not 1 <= len(sku) <= 64 for sku in skus):
        raise PydanticCustomError("invalid", "ids with commas between")
    if len(set(skus)) < len(skus):
        raise PydanticCustomError("repeated", "each article once")
    return text


class AvailabilityQuery(Query):
    """What is asked for. `country`, `postal_code` and `region` say where it would go.

    `sku` is one article, or several with commas between.
    """

    sku: Annotated[str, Field(pattern=_SKUS), AfterValidator(_ids)]
    channel: Id
    quantity: Annotated[WholeNumber, Field(ge=1, le=MAX_QUANTITY)] = 1
    country: Country | None = None
    postal_code: Text | None = None
    region: Text | None = None


class Expected(Wire):
    """Units on their way."""

    quantity: int
    expected_at: Moment


class OptionView(Wire):
    """A way to have all of it, by `promise`; `location` is the store to collect from.

    An order that is placed with `allow_split` and `allow_backorder` as they stand here is promised
    no later than `promise`, within the time that offers hold and while the goods are there.
    `cost_minor` is for the order, however many parcels it takes; 0 where no service names a price.
    """

    method: str
    location: str | None
    promise: Moment
    earliest: Moment
    cost_minor: int
    currency: str | None
    parcels: int
    allow_split: bool
    allow_backorder: bool


class Availability(Wire):
    """Units that could be had now. `in_stock`: as many as were asked for.

    `backorderable`: units that may be promised beyond stock. With `preorder` these are all there
    is, until `available_from`.
    """

    sku: str
    available: int
    in_stock: bool
    backorderable: int
    preorder: bool
    available_from: Moment | None
    incoming: list[Expected]
    options: list[OptionView]


class AvailabilityList(Wire):
    """What could be had of several articles, in the order asked for."""

    data: list[Availability]


@router.get("", response_model=Availability | AvailabilityList)
async def get_availability(
    who: ChannelOrOperator,
    db: Database,
    settings: SettingsOfApi,
    query: Annotated[AvailabilityQuery, Depends(QueryOf(AvailabilityQuery))],
) -> Response:
    """Say how much of an article a channel can have now, and by when.

    Several articles, with commas between, are answered as a list, each for itself. Of each way of
    delivery the best option is told; stores to collect from, the nearest first.
    """
    _reach(who, query.channel)
    where = _where(query.country, query.postal_code, query.region, None, settings, query=True)
    skus = query.sku.split(",")
    baskets = [[Line(1, sku, query.quantity)] for sku in skus]
    offering = _offering(query.channel, where, settings)
    async with by_statement(db).connect() as tx:
        known, levels, places = await ask(tx, skus, baskets, offering, _now())
        _check_books(known, skus, ["/sku"] * len(skus))
        found = read_availability(levels, skus, quantity=query.quantity)
        options = await offers(tx, baskets, offering, places)
    shown = [
        Availability(
            sku=each.sku,
            available=each.available,
            in_stock=each.in_stock,
            backorderable=each.backorderable,
            preorder=each.preorder_until is not None,
            available_from=each.preorder_until,
            incoming=[Expected(**coming._asdict()) for coming in each.incoming],
            options=[_option(option) for option in _best_of_each(ways)],
        )
        for each, ways in zip(found, options, strict=True)
    ]
    return answer(shown[0] if len(skus) == 1 else AvailabilityList(data=shown)).response()


def _best_of_each(options: Sequence[Option]) -> list[Option]:
    """One option at home, the soonest, and every store."""
    at_home = sorted((o for o in options if o.method == "home"), key=lambda o: o.promise.by)
    return [*at_home[:1], *(option for option in options if option.method != "home")]


# --- a basket -------------------------------------------------------------------------------


class BasketLine(Wire):
    """Units of an article that are asked for; the rest as the order would have it.

    Rules may look at prices, if all lines say them and the basket its `currency`.
    """

    sku: Id
    quantity: Quantity
    kit: Id | None = None
    unit_price_minor: Amount | None = None
    discount_minor: Amount = 0


class BasketDelivery(Wire):
    """Where it would go. No name and no street is needed."""

    country: Country
    postal_code: Text | None = None
    region: Text | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class BasketRequest(Wire):
    """A whole basket, and where it would go. `segment`: of the customer who asks."""

    channel: Id
    segment: Text | None = None
    currency: Currency | None = None
    lines: Annotated[list[BasketLine], Field(min_length=1, max_length=MAX_LINES)]
    delivery: BasketDelivery


class LineView(Wire):
    """A line and what the channel could have of its article altogether.

    `short`: units that all places together lack, after the lines before it.
    """

    line: int
    sku: str
    quantity: int
    available: int
    short: int


class ServedView(Wire):
    """Units of a line from one place. `backordered`: they are yet to come."""

    line: int
    location: str
    quantity: int
    backordered: bool


class BasketOption(OptionView):
    """A way to have the whole basket, and which place serves what."""

    lines: list[ServedView]


class BasketView(Wire):
    """What can be done about a basket. `in_stock`: there is enough of everything."""

    in_stock: bool
    lines: list[LineView]
    options: list[BasketOption]


@router.post("", response_model=BasketView)
async def ask_for_basket(
    who: ChannelOrOperator,
    db: Database,
    settings: SettingsOfApi,
    body: Annotated[BasketRequest, Depends(JsonBody(BasketRequest))],
) -> Response:
    """Say how a whole basket could be had, by when, and for how much. Nothing is held.

    From one place where that is possible; else split into parcels, or with units that come later
    as far as their date is known; and collected from the nearest stores that have all of it.
    """
    _reach(who, body.channel)
    to = body.delivery
    if (to.latitude is None) != (to.longitude is None):
        missing = "latitude" if to.latitude is None else "longitude"
        flaw = Flaw(
            pointer=f"/delivery/{missing}",
            code="required",
            detail="Latitude and longitude come together.",
        )
        raise invalid([flaw])
    point = None
    if to.latitude is not None and to.longitude is not None:
        point = Point(to.latitude, to.longitude)
    where = _where(to.country, to.postal_code, to.region, point, settings)
    basket = [
        Line(i, line.sku, line.quantity, line.kit, line.unit_price_minor or 0)
        for i, line in enumerate(body.lines, start=1)
    ]
    skus = list(dict.fromkeys(line.sku for line in basket))
    offering = _offering(body.channel, where, settings)._replace(
        segment=body.segment, currency=body.currency, goods_minor=_goods(body)
    )
    async with by_statement(db).connect() as tx:
        known, levels, places = await ask(tx, skus, [basket], offering, _now())
        pointers = [f"/lines/{i}/sku" for i in range(len(basket))]
        _check_books(known, [line.sku for line in basket], pointers)
        found = read_availability(levels, skus)
        (options,) = await offers(tx, [basket], offering, places)
    lines = _lines(basket, {each.sku: each.available for each in found})
    view = BasketView(
        in_stock=not any(line.short for line in lines),
        lines=lines,
        options=[_basket_option(option) for option in options],
    )
    return answer(view).response()


def _lines(basket: Sequence[Line], available: dict[str, int]) -> list[LineView]:
    left = dict(available)
    lines = []
    for each in basket:
        served = min(each.quantity, left[each.sku])
        left[each.sku] -= served
        lines.append(
            LineView(
                line=each.line,
                sku=each.sku,
                quantity=each.quantity,
                available=available[each.sku],
                short=each.quantity - served,
            )
        )
    return lines


def _goods(body: BasketRequest) -> int | None:
    """What the goods cost, if that is known of all."""
    if body.currency is None or any(line.unit_price_minor is None for line in body.lines):
        return None
    full = sum(line.quantity * (line.unit_price_minor or 0) for line in body.lines)
    return max(0, full - sum(line.discount_minor for line in body.lines))


# --- both -----------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


def _reach(who: Credential, channel: str) -> None:
    if not who.reaches_channel(channel):
        raise not_found()


def _check_books(known: Any, skus: Sequence[str], pointers: Sequence[str]) -> None:
    """Check that the channel and the articles exist; `pointers` say where each was named."""
    if not known.is_open:
        raise _unknown("channel_unknown", ["/channel"])
    if known.unknown:
        wrong = [at for at, sku in zip(pointers, skus, strict=True) if sku in known.unknown]
        raise _unknown("sku_unknown", list(dict.fromkeys(wrong)))


def _where(
    country: str | None,
    postal_code: str | None,
    region: str | None,
    point: Point | None,
    settings: ApiSettings,
    *,
    query: bool = False,
) -> Where | None:
    """Find where it would go, as placing an order does."""
    if country is None:
        return None
    if postal_code is not None and not postal_code_possible(country, postal_code):
        pointer = "/postal_code" if query else "/delivery/postal_code"
        raise _unknown("address_invalid", [pointer])
    here = point or locate(country, postal_code, settings.postal_table)
    return Where(country, region, *here)


def _offering(channel: str, where: Where | None, settings: ApiSettings) -> Offering:
    policy = settings.policy
    return Offering(channel, where, _now() + policy.offer, policy)


def _option(option: Option) -> OptionView:
    return OptionView(**_shown(option))


def _basket_option(option: Option) -> BasketOption:
    lines = [ServedView(**each._asdict()) for each in option.served]
    return BasketOption(**_shown(option), lines=lines)


def _shown(option: Option) -> dict[str, Any]:
    values = option._asdict()
    del values["served"]
    return values | {"promise": option.promise.by, "earliest": option.promise.earliest}


def _unknown(code: str, pointers: Sequence[str]) -> Problem:
    flaws = [Flaw(pointer=each, code=code, detail="Unknown or impossible.") for each in pointers]
    return Problem(code, "See errors.", errors=flaws)
