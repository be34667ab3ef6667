"""The examples of the OpenAPI document are calls that were really sent, and their answers.

`OMS_EXAMPLES=record .venv/bin/pytest tests/api/test_return_examples.py` writes them anew.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from api.openapi import examples
from tests.api.conftest import Api
from tests.api.return_story import story_of_returns

FILE = Path(__file__).parents[2] / "api" / "examples" / "returns.json"
RECORD = os.environ.get("OMS_EXAMPLES") == "record"


@pytest.fixture(scope="module")
async def told(api: Api) -> list[dict[str, Any]]:
    """The story, told now."""
    story = await story_of_returns(api)
    if RECORD:
        FILE.write_text(json.dumps(story, indent=1) + "\n", encoding="utf-8")
        examples.cache_clear()
        api.app.openapi_schema = None
    return story


async def test_each_example_is_answered_as_it_says(told: list[dict[str, Any]]) -> None:
    for shown, real in zip(examples(), told, strict=True):
        assert shown == real, shown["name"]


async def test_every_body_of_returns_is_shown_by_an_example(
    api: Api, told: list[dict[str, Any]]
) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()

    lacks = [
        f"{method} {path} {where}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "Returns" in operation["tags"] and not path.startswith("/v1/reports")
        for where, shown in _bodies(operation)
        if not shown.get("examples")
    ]

    assert lacks == []


def _bodies(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What is sent, and what is answered when all went well; the kinds that are JSON."""
    all_went_well = [s for s in operation["responses"] if s.startswith("2")]
    found = [("request", operation.get("requestBody", {}))]
    found += [(status, operation["responses"][status]) for status in all_went_well]
    return [
        (where, content["application/json"])
        for where, each in found
        if "application/json" in (content := each.get("content", {}))
    ]
