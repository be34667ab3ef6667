"""The order as a channel sends it, and the rules that need nothing but the order itself.

Prices include tax. Amounts are minor units of `currency`. What is refused here leaves no trace:
no stock, no money, no order.
"""

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from oms.fields import (
    MAX_LINES,
    Address,
    Amount,
    Currency,
    Flaw,
    Id,
    Latitude,
    Longitude,
    Quantity,
    Text,
    Wire,
    Words,
)
from oms.places import postal_code_possible
from oms.ports import Message

PAYMENT_PROVIDERS = ("simulator",)
SUPPORTED_METHODS = ("home", "store_pickup")
SUPPORTED_TENDERS = ("card", "wallet", "terminal")


def _no_card_number(token: str) -> str:
    if re.fullmatch(r"[\d -]{12,23}", token):
        raise PydanticCustomError("card_number", "a token is wanted; card numbers never enter here")
    return token


Token = Annotated[Words, AfterValidator(_no_card_number)]
Email = Annotated[Text, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")]
PositiveAmount = Annotated[Amount, Field(ge=1)]


class Customer(Wire):
    """Who buys. Only `id` and `segment` ever leave the order's document."""

    id: Id
    name: Text | None = None
    email: Email | None = None
    phone: Text | None = None
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{2,35}$")] | None = None
    segment: Text | None = None


class OrderedLine(Wire):
    """Units of one article. `discount_minor` and `tax_minor` are the whole line's.

    Lines with the same `kit` are served together, whole kits from one place. There are as many kits
    as the greatest common divisor of their quantities: 2 tables and 8 chairs are two kits.
    """

    sku: Id
    quantity: Quantity
    unit_price_minor: Amount
    discount_minor: Amount = 0
    tax_minor: Amount = 0
    kit: Id | None = None

    @property
    def total_minor(self) -> int:
        """What the line costs: after discount, tax included. Negative only in a flawed line."""
        return self.unit_price_minor * self.quantity - self.discount_minor


class DeliveryAddress(Address):
    """Where a parcel goes. Coordinates, when given, spare looking the postal code up."""

    name: Text | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class HomeDelivery(Wire):
    """A parcel to the customer's door."""

    method: Literal["home"]
    address: DeliveryAddress


class StorePickup(Wire):
    """Goods of that store's own stock, collected there."""

    method: Literal["store_pickup"]
    location: Id


class LaterDelivery(Wire):
    """Methods of the contract that are not offered yet; what else they carry is not looked at."""

    model_config = ConfigDict(extra="ignore")

    method: Literal["pickup_point", "locker", "carry_out"]


class CardTender(Wire):
    """A card or wallet, as the token that its provider gave the channel."""

    kind: Literal["card", "wallet"]
    provider: Id
    token: Token
    amount_minor: PositiveAmount


class TerminalTender(Wire):
    """Money already taken at the till. `reference` is the till's."""

    kind: Literal["terminal"]
    reference: Words
    amount_minor: PositiveAmount


class LaterTender(Wire):
    """Tenders of the contract that are not taken yet; what else they carry is not looked at."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["gift_card", "store_credit", "invoice"]
    amount_minor: PositiveAmount


Delivery = Annotated[HomeDelivery | StorePickup | LaterDelivery, Field(discriminator="method")]
OrderTender = Annotated[CardTender | TerminalTender | LaterTender, Field(discriminator="kind")]


class OrderRequest(Wire):
    """The body of ``POST /v1/orders``."""

    channel: Id
    reference: Words
    currency: Currency
    customer: Customer
    lines: Annotated[list[OrderedLine], Field(min_length=1, max_length=MAX_LINES)]
    shipping_minor: Amount = 0
    shipping_tax_minor: Amount = 0
    allow_split: bool = True
    allow_backorder: bool = False
    delivery: Delivery
    tenders: Annotated[list[OrderTender], Field(max_length=20)]

    @property
    def total_minor(self) -> int:
        """What the customer pays: lines after discount, and shipping, tax included."""
        return sum(line.total_minor for line in self.lines) + self.shipping_minor


class Unacceptable(Message):
    """An order that is refused before it becomes one. `code` is the problem's."""

    code: str
    detail: str
    errors: tuple[Flaw, ...] = ()


def check_order(order: OrderRequest) -> Unacceptable | None:
    """Find the first rule an order breaks, in a fixed order: sums, method, tender, total, address.

    Whether its channel, store and articles exist is asked of the books afterwards.
    """
    if flaws := _flaws(order):
        return Unacceptable(
            code="validation_failed", detail="The order contradicts itself.", errors=flaws
        )
    return _unsupported(order) or _unmatched_total(order) or _impossible_address(order)


def content_hash(order: OrderRequest) -> bytes:
    """Tell two orders under one reference apart. Fields left out count as their defaults."""
    content = order.model_dump(mode="json")
    for line in content["lines"]:
        # Orders taken before there were kits keep their hash: a repetition stays one.
        if line["kit"] is None:
            del line["kit"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


def _flaws(order: OrderRequest) -> tuple[Flaw, ...]:
    flaws = [flaw for i, line in enumerate(order.lines) for flaw in _line_flaws(i, line)]
    if order.shipping_tax_minor > order.shipping_minor:
        flaws.append(
            Flaw(
                pointer="/shipping_tax_minor",
                code="too_large",
                detail="More tax than shipping, which includes it.",
            )
        )
    if isinstance(order.delivery, HomeDelivery):
        address = order.delivery.address
        if (address.latitude is None) != (address.longitude is None):
            missing = "latitude" if address.latitude is None else "longitude"
            flaws.append(
                Flaw(
                    pointer=f"/delivery/address/{missing}",
                    code="required",
                    detail="Latitude and longitude come together.",
                )
            )
    for i, tender in enumerate(order.tenders):
        if isinstance(tender, CardTender) and tender.provider not in PAYMENT_PROVIDERS:
            flaws.append(
                Flaw(
                    pointer=f"/tenders/{i}/provider",
                    code="provider_unknown",
                    detail=f"Known providers: {', '.join(PAYMENT_PROVIDERS)}.",
                )
            )
    return tuple(flaws)


def _line_flaws(index: int, line: OrderedLine) -> list[Flaw]:
    if line.total_minor < 0:
        pointer, what = f"/lines/{index}/discount_minor", "More discount than the line costs."
    elif line.tax_minor > line.total_minor:
        pointer, what = f"/lines/{index}/tax_minor", "More tax than the line's price, tax included."
    else:
        return []
    return [Flaw(pointer=pointer, code="too_large", detail=what)]


def _unsupported(order: OrderRequest) -> Unacceptable | None:
    if order.delivery.method not in SUPPORTED_METHODS:
        return _refused(
            "delivery_method_unsupported",
            "/delivery/method",
            f"Not offered yet. Possible: {', '.join(SUPPORTED_METHODS)}.",
        )
    for i, tender in enumerate(order.tenders):
        if tender.kind not in SUPPORTED_TENDERS:
            return _refused(
                "tender_unsupported",
                f"/tenders/{i}/kind",
                f"Not taken yet. Possible: {', '.join(SUPPORTED_TENDERS)}.",
            )
    if len(order.tenders) > 1:
        return _refused("tender_unsupported", "/tenders/1", "One tender an order, for now.")
    return None


def _unmatched_total(order: OrderRequest) -> Unacceptable | None:
    tendered = sum(tender.amount_minor for tender in order.tenders)
    if tendered == order.total_minor:
        return None
    return _refused(
        "tenders_do_not_match_total",
        "/tenders",
        f"The tenders add up to {tendered}, the order to {order.total_minor} {order.currency}.",
    )


def _impossible_address(order: OrderRequest) -> Unacceptable | None:
    if not isinstance(order.delivery, HomeDelivery):
        return None
    address = order.delivery.address
    if address.postal_code is None or postal_code_possible(address.country, address.postal_code):
        return None
    return _refused(
        "address_invalid",
        "/delivery/address/postal_code",
        f"No postal code of {address.country} looks like this.",
    )


def _refused(code: str, pointer: str, detail: str) -> Unacceptable:
    return Unacceptable(
        code=code, detail=detail, errors=(Flaw(pointer=pointer, code=code, detail=detail),)
    )
