"""What routes answer with: a status, a body and headers, before they become bytes.

An answer is a value so that the first one under an idempotency key can be kept and given again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from api.problems import PROBLEM_JSON, Problem


@dataclass(frozen=True)
class Answer:
    """An answer to send. `kept`: it is stored under its idempotency key already."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    kept: bool = False

    def response(self, **more: str) -> Response:
        """The bytes to send; `more` are headers of this one response."""
        headers = {"content-type": "application/json", **self.headers, **more}
        return Response(self.body, status_code=self.status, headers=headers)


def answer(
    body: BaseModel | Mapping[str, Any],
    status: int = 200,
    *,
    version: int | None = None,
    location: str | None = None,
) -> Answer:
    """Answer with a resource. `version` becomes its `ETag`, `location` says where it lives."""
    headers = {}
    if version is not None:
        headers["etag"] = f'"{version}"'
    if location is not None:
        headers["location"] = location
    text = body.model_dump_json() if isinstance(body, BaseModel) else json.dumps(body)
    return Answer(status, text, headers)


def problem_answer(problem: Problem) -> Answer:
    """Turn a problem into an answer that can be kept."""
    headers = {"content-type": PROBLEM_JSON, **problem.headers}
    return Answer(problem.status, json.dumps(problem.body()), headers)


_ETAG = re.compile(r'"(\d{1,9})"')
_NO_VERSION = -1


def if_match(request: Request) -> int | None:
    """Read the version `If-Match` names; None asks for none, as does `*`.

    What is no single ETag of ours (a weak one, a list) matches no version, as any stale one.
    """
    tag = request.headers.get("if-match")
    if tag is None or tag.strip() == "*":
        return None
    ours = _ETAG.fullmatch(tag.strip())
    return int(ours[1]) if ours else _NO_VERSION


IfMatch = Annotated[int | None, Depends(if_match)]


def version_conflict() -> Problem:
    """Say that what was read is no longer what there is."""
    return Problem("version_conflict", "Read it again, then decide again.")
