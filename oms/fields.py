"""What a field may hold, whatever message it stands in.

Nothing is coerced: ``"2"``, ``true`` and ``1.0`` are no integers. An unknown field is refused.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from oms.money import is_currency
from oms.places import is_country

MAX_LINES = 500
MAX_QUANTITY = 9_999
MAX_AMOUNT_MINOR = 10**12

ID_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
_NO_CONTROL_CHARACTERS = r"^[^\u0000-\u001f\u007f-\u009f]*$"


class Wire(BaseModel):
    """A message from outside: frozen, strict, and holding no field it does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_PART = r"(?:[A-Za-z]{1,24}\d{0,4}|\d{1,4})"
_CODE = re.compile(rf"{_PART}(?:[_.-]{_PART}){{0,7}}")


def code_like(said: str, otherwise: str) -> str:
    """A stranger's code, e.g. `insufficient_funds` or `E102`, if it looks like one.

    What it says in sentences may quote a name, a street or a token, and would stand in histories.
    """
    return said if _CODE.fullmatch(said) else otherwise


def _known_country(code: str) -> str:
    if not is_country(code):
        raise PydanticCustomError("country_unknown", "no country of ISO 3166-1 alpha-2")
    return code


def _known_currency(code: str) -> str:
    if not is_currency(code):
        raise PydanticCustomError("currency_unknown", "no currency of ISO 4217")
    return code


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _moment(value: object) -> object:
    """Read a time of RFC 3339. Pydantic would also take dates, and numbers of seconds."""
    if not isinstance(value, str):
        return value
    try:
        when = datetime.fromisoformat(value.upper()) if _RFC_3339.fullmatch(value) else None
        # The first and the last year leave no room for an offset.
        if when is not None and 1 < when.year < 9999:
            return when.astimezone(UTC)
    except ValueError:
        pass
    raise PydanticCustomError("time_invalid", "a time of RFC 3339 with its offset is wanted")


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=255, pattern=_NO_CONTROL_CHARACTERS)]
Words = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=_NO_CONTROL_CHARACTERS)
]
Country = Annotated[str, AfterValidator(_known_country)]
Currency = Annotated[str, AfterValidator(_known_currency)]
Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT_MINOR)]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]


class Flaw(BaseModel):
    """One thing wrong with a message. `pointer` is RFC 6901; `code` is for machines and stable."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    code: str
    detail: str


class Address(Wire):
    """Where a place is. Personal data when it is a customer's: never log it."""

    line1: Text | None = None
    line2: Text | None = None
    city: Text | None = None
    region: Text | None = None
    postal_code: Text | None = None
    country: Country
