"""Articles, by SKU."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field, StringConstraints

from adapters.db import master
from api.answers import IfMatch
from api.auth import Database, Operator
from api.body import JsonBody
from api.ids import PathId
from api.writing import put_resource, read_resource
from oms.fields import Moment, Text, Wire, Words

router = APIRouter(prefix="/v1/products", tags=["Master data"])

Gtin = Annotated[str, StringConstraints(pattern=r"^(\d{8}|\d{12,14})$")]
Millimetres = Annotated[int, Field(ge=0, le=1_000_000)]


class ProductBody(Wire):
    """An article as it is written. `dimensions_mm` is length, width, height.

    Before `available_from` its units are sold only as preorders, and none is sent. It runs low when
    `low_at` units or fewer are available at all places together.
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
    return await put_resource(
        db, master.PRODUCTS, sku, body.model_dump(), if_version=if_version, model=Product
    )


@router.get("/{sku}", response_model=Product)
async def get_product(who: Operator, sku: PathId, db: Database) -> Response:
    """Read an article."""
    return await read_resource(db, master.PRODUCTS, sku, Product)
