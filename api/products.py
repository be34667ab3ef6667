"""Articles, by SKU."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Response
from pydantic import Field, StringConstraints

from adapters.db import master
from api.answers import IfMatch
from api.auth import Database, Operator
from api.body import JsonBody, invalid
from api.ids import PathId
from api.writing import put_resource, read_resource
from oms.fields import Currency, Flaw, Moment, Text, Wire, Words

router = APIRouter(prefix="/v1/products", tags=["Master data"])

Gtin = Annotated[str, StringConstraints(pattern=r"^(\d{8}|\d{12,14})$")]
Millimetres = Annotated[int, Field(ge=0, le=1_000_000)]
UnitCost = Annotated[int, Field(ge=0, le=10**9)]
"""What a unit of an article costs the merchant, in minor units."""


class Costed(Protocol):
    """What says what a unit costs."""

    @property
    def unit_cost_minor(self) -> int | None:
        """Minor units of `cost_currency`."""

    @property
    def cost_currency(self) -> str | None:
        """Given together with the cost."""


class ProductBody(Wire):
    """An article as it is written. `dimensions_mm` is length, width, height.

    Before `available_from` its units are sold only as preorders, and none is sent. It runs low when
    `low_at` units or fewer are available at all places together. `unit_cost_minor`: what a unit
    costs the merchant, in `cost_currency`; a place may say another (its policy).
    """

    name: Words
    gtin: Gtin | None = None
    weight_g: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    dimensions_mm: Annotated[list[Millimetres], Field(min_length=3, max_length=3)] | None = None
    tags: Annotated[list[Words], Field(max_length=100)] = Field([])
    sellable: bool = True
    image_url: Text | None = None
    available_from: Moment | None = None
    low_at: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    unit_cost_minor: UnitCost | None = None
    cost_currency: Currency | None = None


class Product(ProductBody):
    """An article as it is read."""

    sku: str
    version: int


@router.put("/{sku}", response_model=Product, responses={201: {"model": Product}})
async def put_product(
    who: Operator,
    sku: PathId,
    body: Annotated[ProductBody, Depends(JsonBody(ProductBody))],
    db: Database,
    if_version: IfMatch,
) -> Response:
    """Make or change an article."""
    check_cost(body)
    return await put_resource(
        db, master.PRODUCTS, sku, body.model_dump(), if_version=if_version, model=Product
    )


@router.get("/{sku}", response_model=Product)
async def get_product(who: Operator, sku: PathId, db: Database) -> Response:
    """Read an article."""
    return await read_resource(db, master.PRODUCTS, sku, Product)


def check_cost(body: Costed) -> None:
    """Refuse a cost without its currency, or a currency without a cost.

    Raises:
        Problem: `validation_failed`.
    """
    if (body.unit_cost_minor is None) == (body.cost_currency is None):
        return
    missing = "unit_cost_minor" if body.unit_cost_minor is None else "cost_currency"
    detail = "A cost and its currency come together."
    raise invalid([Flaw(pointer=f"/{missing}", code="required", detail=detail)])
