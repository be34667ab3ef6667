"""What a stack remembers: its secrets for good, its addresses while it runs.

Both files hold keys, and are readable by their owner alone.
"""

import base64
import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workers.embedded.places import is_locked

ROLES = ("operator", "channel", "node")
PARTIES = ("payments", "carriers", "nodes")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Secrets(_Frozen):
    """Made once for a home, since the data in it is only of use together with them.

    Attributes:
        stack_id: Names this home, whatever folder it lies in.
        postgres_password: Of the embedded PostgreSQL.
        keys: One API key for each role, reaching everything.
        webhook_secrets: What each outside party signs with, as Standard Webhooks spell it.
    """

    stack_id: str
    postgres_password: str
    keys: dict[str, str]
    webhook_secrets: dict[str, str]


class Process(_Frozen):
    """A process of the stack. The start time tells it from a later one with the same number."""

    pid: int
    started: float


class Running(_Frozen):
    """A running stack, as `oms status --json` shows it; fields may be added.

    `temporal_ui` is null where the Temporal server is not ours and we know no address of its UI.
    """

    api: str
    simulator: str
    temporal_ui: str | None
    keys: dict[str, str]
    webhook_secrets: dict[str, str]
    temporal: str
    database_url: str
    supervisor: int
    processes: dict[str, Process]


def new_key(role: str) -> str:
    """Draw an API key. The role in it tells people what they hold; nothing relies on it."""
    return f"oms_{role}_{secrets.token_urlsafe(32)}"


def load_secrets(home: Path) -> Secrets:
    """Read the secrets of a home, or make them."""
    path = home / "secrets.json"
    if path.exists():
        return Secrets.model_validate_json(path.read_bytes())
    made = Secrets(
        stack_id=secrets.token_hex(8),
        postgres_password=secrets.token_urlsafe(24),
        keys={role: new_key(role) for role in ROLES},
        webhook_secrets={party: _webhook_secret() for party in PARTIES},
    )
    write_private(path, made.model_dump_json(indent=2))
    return made


def read_running(home: Path) -> Running | None:
    """Read what runs in a home; none when nothing does."""
    if not (home / "stack.lock").exists() or not is_locked(home / "stack.lock"):
        return None
    return read_left_over(home)


def read_left_over(home: Path) -> Running | None:
    """Read the state file, whether or not its stack still runs."""
    path = home / "state.json"
    return Running.model_validate_json(path.read_bytes()) if path.exists() else None


def write_private(path: Path, content: str) -> None:
    """Replace a file in one step, readable by its owner from the first moment."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content + "\n")
    part.replace(path)


def _webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
