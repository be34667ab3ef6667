"""Reading a JSON body: bounded, strict, and each flaw named by its pointer."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from typing_extensions import override

from api.problems import Problem
from oms.fields import Flaw
from oms.flaws import escaped, flaws_of

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 64

Model = TypeVar("Model", bound=BaseModel)


class JsonBody(Generic[Model]):
    """A dependency that reads the request's body as one `Model`.

    An empty body is the empty object where every field has a default.
    """

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        self.may_be_empty = not any(f.is_required() for f in model.model_fields.values())

    async def __call__(self, request: Request) -> Model:
        """Read, check and keep the body; the parsed JSON stays in `request.state.json`."""
        raw = await read_body(request)
        if not raw.strip() and self.may_be_empty:
            raw = b"{}"
        request.state.json = document = parse_json(raw)
        return validated(self.model, raw, document)


class JsonDocument(JsonBody[Model]):
    """A dependency that reads the body as JSON of any kind; its route checks it against `Model`."""

    @override
    async def __call__(self, request: Request) -> Any:
        """Read the body and say what it holds."""
        raw = await read_body(request)
        request.state.json = document = parse_json(raw)
        try:
            from_json(raw)
        except ValueError:
            raise _unholdable() from None
        return document


async def read_body(request: Request) -> bytes:
    """Read the whole body once, and no more than 1 MiB of it.

    Raises:
        Problem: `body_too_large`, whether the length was announced or the body came in chunks.
    """
    read: bytes | None = getattr(request.state, "body", None)
    if read is not None:
        return read
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        chunks.append(chunk)
    request.state.body = body = b"".join(chunks)
    return body


def parse_json(raw: bytes) -> Any:
    """Parse JSON as RFC 8259 has it, with each name at most once in an object and a bounded depth.

    Raises:
        Problem: `malformed_json`.
    """
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
        )
    except RecursionError:
        raise _malformed("nested too deeply") from None
    except ValueError as fault:
        # A decoding error quotes the input, which may be personal; where it is says enough.
        raise _malformed(_where(fault)) from None
    if _too_deep(document):
        raise _malformed(f"nested deeper than {MAX_DEPTH}")
    return document


def validated(model: type[Model], raw: bytes, document: Any) -> Model:
    """Check a parsed body against its model.

    Raises:
        Problem: `validation_failed` with a pointer to each flaw; `malformed_json` for texts that
            are no Unicode.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as fault:
        if any(error["type"] == "json_invalid" for error in fault.errors(include_input=False)):
            raise _unholdable() from None
        raise invalid(flaws_of(fault, document)) from None


def invalid(errors: Sequence[Flaw]) -> Problem:
    """Make the problem of a body that can be read but not accepted."""
    return Problem("validation_failed", "See errors.", errors=errors)


def odd_values(value: Any, pointer: str) -> Iterator[Flaw]:
    """Find what a free document holds that PostgreSQL cannot keep or nobody could have meant."""
    match value:
        case dict():
            for name, child in value.items():
                here = f"{pointer}/{escaped(name)}"
                yield from odd_values(name, here)
                yield from odd_values(child, here)
        case list():
            for i, child in enumerate(value):
                yield from odd_values(child, f"{pointer}/{i}")
        case str() if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value):
            yield Flaw(pointer=pointer, code="not_allowed", detail="Holds a control character.")
        case int() if abs(value) >= 2**63:
            yield Flaw(pointer=pointer, code="too_large", detail="At most 64 bits.")
        case float() if not math.isfinite(value):
            yield Flaw(pointer=pointer, code="too_large", detail="No number of 64 bits.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _integer(digits: str) -> int | str:
    # Python refuses to read thousands of digits; the model says it better: too large.
    return int(digits) if len(digits) <= 40 else digits


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _too_deep(document: Any) -> bool:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, (dict, list))
        ]
    return False


def _where(fault: ValueError) -> str:
    if isinstance(fault, json.JSONDecodeError):
        return f"{fault.msg} at character {fault.pos}"
    return "not UTF-8" if isinstance(fault, UnicodeDecodeError) else str(fault)


def _malformed(why: str) -> Problem:
    return Problem("malformed_json", f"Not readable as JSON: {why}.")


def _unholdable() -> Problem:
    return _malformed("a text or number no program can hold")


def _too_large() -> Problem:
    return Problem("body_too_large", f"At most {MAX_BODY_BYTES} bytes.")
