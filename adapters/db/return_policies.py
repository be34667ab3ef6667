"""The return policy in the books: versions are kept, the highest one stands."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from oms.return_policy import USUAL, ReturnPolicy, VersionedPolicy


async def current_policy(tx: AsyncConnection) -> VersionedPolicy:
    """The policy that stands now; the usual one where none was ever stored."""
    row = (
        await tx.execute(
            text("SELECT version, document FROM return_policies ORDER BY version DESC LIMIT 1")
        )
    ).one_or_none()
    if row is None:
        return USUAL
    return VersionedPolicy(
        version=row.version, policy=ReturnPolicy.model_validate(row.document, strict=False)
    )
