"""For whoever keeps this process running."""

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import text
from temporalio.service import RPCError

from api.auth import Database
from api.wiring import Temporal, TemporalClient

router = APIRouter(tags=["Health"])

_PATIENCE = 1.0
"""Seconds. Whoever asks whether we are ready does not wait long, and Temporal is not needed."""


class Health(BaseModel):
    """How this process is."""

    status: str


class Readiness(Health):
    """Whether requests can be served, and what happens to new orders meanwhile."""

    temporal: Literal["answers", "away"] = Field(
        description="`away`: orders are stored and answered 202; their runs start when it is back."
    )


@router.get("/health")
async def health() -> Health:
    """Say that the process lives, whatever it can reach."""
    return Health(status="ok")


@router.get("/ready")
async def ready(db: Database, temporal: Temporal) -> Readiness:
    """Say that requests can be served: PostgreSQL answers.

    Temporal is asked too, but not needed: without it orders wait in the books.
    """
    async with db.connect() as tx:
        await tx.execute(text("SELECT 1"))
    answers = await _answers(temporal)
    return Readiness(status="ready", temporal="answers" if answers else "away")


async def _answers(temporal: TemporalClient) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await (await temporal()).service_client.check_health()
    except (RPCError, RuntimeError, TimeoutError):
        return False
