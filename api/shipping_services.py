"""Shipping services: how parcels get to customers, how long it takes, and what it costs them."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from adapters.db import master
from api.answers import IfMatch
from api.auth import Database, Operator
from api.body import JsonBody
from api.ids import PathId
from api.lists import ListQuery, QueryOf
from api.locations import Closing, Kind, Some, Weekday, no_repeats
from api.writing import list_resources, put_resource, read_resource
from oms.fields import Amount, Country, Currency, Id, Wire
from oms.places import is_country

router = APIRouter(prefix="/v1/shipping-services", tags=["Master data"])


def _country_or_all(code: str) -> str:
    if code != "*" and not is_country(code):
        raise PydanticCustomError("country_unknown", "no country of ISO 3166-1 alpha-2, nor *")
    return code


CountryOrAll = Annotated[str, StringConstraints(max_length=2), AfterValidator(_country_or_all)]
Countries = Annotated[
    list[CountryOrAll], Field(min_length=1, max_length=250), AfterValidator(no_repeats)
]
Weekdays = Annotated[list[Weekday], Field(min_length=1), AfterValidator(no_repeats)]
DaysOnTheRoad = Annotated[int, Field(ge=0, le=60)]


class Transit(Wire):
    """Fewest and most days on the road, counted in days on which the carrier delivers."""

    min: DaysOnTheRoad
    max: DaysOnTheRoad

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise PydanticCustomError("not_allowed", "at most as many as max")
        return self


class ShippingServiceBody(Wire):
    """A service as it is written.

    `countries` it delivers to, `*` for all; it fetches from locations of `from_kinds` and
    `from_groups`, empty for any, on `picks_up_on`. `deliver_until` is the customer's local time.
    `cost_minor` is what a customer pays for an order that goes by it.
    """

    method: Literal["home", "pickup_point", "locker"]
    carrier: Id
    countries: Countries = Field(["*"])
    from_kinds: Annotated[list[Kind], AfterValidator(no_repeats)] = Field([])
    from_groups: Some = Field([])
    transit_days: Transit
    transit_days_by_country: dict[Country, Transit] = Field({})
    picks_up_on: Weekdays = Field(["mon", "tue", "wed", "thu", "fri"])
    delivers_on: Weekdays = Field(["mon", "tue", "wed", "thu", "fri"])
    deliver_until: Closing = "18:00"
    cost_minor: Amount
    currency: Currency
    active: bool = True


class ShippingService(ShippingServiceBody):
    """A service as it is read."""

    id: str
    version: int


class ShippingServiceList(Wire):
    """Services, newest first."""

    data: list[ShippingService]
    next_cursor: str | None


@router.put("/{id}", response_model=ShippingService, responses={201: {"model": ShippingService}})
async def put_shipping_service(
    who: Operator,
    id: PathId,
    body: Annotated[ShippingServiceBody, Depends(JsonBody(ShippingServiceBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Make or change a service. What was promised before stays promised."""
    return await put_resource(
        db,
        master.SHIPPING_SERVICES,
        id,
        body.model_dump(),
        if_version=if_version,
        model=ShippingService,
    )


@router.get("/{id}", response_model=ShippingService)
async def get_shipping_service(who: Operator, id: PathId, db: Database) -> Response:
    """Read a service."""
    return await read_resource(db, master.SHIPPING_SERVICES, id, ShippingService)


@router.get("", response_model=ShippingServiceList)
async def list_shipping_services(
    who: Operator, db: Database, query: Annotated[ListQuery, Depends(QueryOf(ListQuery))]
) -> Response:
    """List services, newest first."""
    return await list_resources(db, master.SHIPPING_SERVICES, query, ShippingService)
