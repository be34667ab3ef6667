"""For whoever keeps this process running."""

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from api.auth import Database

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    """How this process is."""

    status: str


@router.get("/health")
async def health() -> Health:
    """Say that the process lives, whatever it can reach."""
    return Health(status="ok")


@router.get("/ready")
async def ready(db: Database) -> Health:
    """Say that requests can be served. Temporal is not needed: orders wait for it in the books."""
    async with db.connect() as tx:
        await tx.execute(text("SELECT 1"))
    return Health(status="ready")
