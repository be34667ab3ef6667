"""Places that hold stock."""

from datetime import date
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from adapters.db import master
from api.answers import IfMatch
from api.auth import Database, Operator
from api.body import JsonBody, invalid
from api.ids import PathId
from api.lists import ListQuery, QueryOf
from api.problems import Problem
from api.writing import list_resources, put_resource, read_resource
from oms.fields import (
    Address,
    Amount,
    Currency,
    Flaw,
    Id,
    Latitude,
    Longitude,
    Wire,
    Words,
)
from oms.places import postal_code_possible

router = APIRouter(prefix="/v1/locations", tags=["Master data"])

Kind = Literal["warehouse", "store", "supplier", "marketplace", "reseller", "third_party_logistics"]
Method = Literal["home", "pickup_point", "locker", "store_pickup", "carry_out"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Closing = Annotated[str, StringConstraints(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PydanticCustomError("time_zone_unknown", "no time zone of the IANA list") from None
    return name


def no_repeats(items: list[Any]) -> list[Any]:
    """Refuse a list that holds a value twice."""
    if len(set(items)) != len(items):
        raise PydanticCustomError("repeated", "each value once")
    return items


def _in_order(hours: list[str]) -> list[str]:
    if hours[0] >= hours[1]:
        raise PydanticCustomError("not_allowed", "opens before it closes")
    return hours


def _known_day(day: str) -> str:
    try:
        date.fromisoformat(day)
    except ValueError:
        raise PydanticCustomError("day_invalid", "no day of the calendar") from None
    return day


Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_known_day)]
TimeZone = Annotated[Words, AfterValidator(_known_zone)]
Hours = Annotated[list[Closing], Field(min_length=2, max_length=2), AfterValidator(_in_order)]
Some = Annotated[list[Id], Field(max_length=100), AfterValidator(no_repeats)]
Channels = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9._-]{1,64})$")]],
    Field(max_length=1000),
    AfterValidator(no_repeats),
]


class LocationBody(Wire):
    """A location as it is written. Hours and cut-off are local time; `handling_minor` a parcel.

    `handling_minutes`: from the order to a packed parcel, within its hours. It is closed on the
    public holidays of its country and region, unless `open_on_holidays`, and on `closed_on`.
    """

    name: Words
    kind: Kind
    address: Address
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    time_zone: TimeZone = "UTC"
    cutoff: Clock | None = None
    opening_hours: dict[Weekday, Hours] | None = None
    handling_minutes: Annotated[int, Field(ge=0, le=4 * 7 * 24 * 60)] = 60
    closed_on: Annotated[list[Day], Field(max_length=1000), AfterValidator(no_repeats)] = Field([])
    open_on_holidays: bool = False
    serves: Annotated[list[Method], AfterValidator(no_repeats)] | None = None
    channels: Channels = Field(["*"])
    groups: Some = Field([])
    daily_capacity: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    handling_minor: Amount = 0
    currency: Currency | None = None
    active: bool = True


class Location(LocationBody):
    """A location as it is read."""

    id: str
    serves: list[Method]
    version: int


class LocationList(Wire):
    """Locations, newest first."""

    data: list[Location]
    next_cursor: str | None


@router.put("/{id}", response_model=Location, responses={201: {"model": Location}})
async def put_location(
    who: Operator,
    id: PathId,
    body: Annotated[LocationBody, Depends(JsonBody(LocationBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Make or change a location."""
    _check(body)
    return await put_resource(
        db, master.LOCATIONS, id, _columns(body), if_version=if_version, model=Location
    )


@router.get("/{id}", response_model=Location)
async def get_location(who: Operator, id: PathId, db: Database) -> Response:
    """Read a location."""
    return await read_resource(db, master.LOCATIONS, id, Location)


@router.get("", response_model=LocationList)
async def list_locations(
    who: Operator, db: Database, query: Annotated[ListQuery, Depends(QueryOf(ListQuery))]
) -> Response:
    """List locations, newest first."""
    return await list_resources(db, master.LOCATIONS, query, Location)


def _check(body: LocationBody) -> None:
    if (body.latitude is None) != (body.longitude is None):
        missing = "latitude" if body.latitude is None else "longitude"
        flaw = Flaw(
            pointer=f"/{missing}", code="required", detail="Latitude and longitude come together."
        )
        raise invalid([flaw])
    code, country = body.address.postal_code, body.address.country
    if code is not None and not postal_code_possible(country, code):
        detail = f"No postal code of {country} looks like this."
        flaw = Flaw(pointer="/address/postal_code", code="address_invalid", detail=detail)
        raise Problem("address_invalid", detail, errors=[flaw])


def _columns(body: LocationBody) -> dict[str, Any]:
    values = body.model_dump()
    values["country"] = body.address.country
    if body.active:
        values["cleared_at"] = None  # it is open, and keeps what it has
    if body.serves is None:
        at_the_counter = ["store_pickup", "carry_out"] if body.kind == "store" else []
        values["serves"] = ["home", *at_the_counter]
    return values
