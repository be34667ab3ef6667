from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the environment says, every name with the prefix `SIM_`.

    `books` is the file that keeps the books over a restart; without it they live in memory.
    A party without a secret sends no webhooks, since nobody could verify them.
    """

    model_config = SettingsConfigDict(env_prefix="SIM_")

    oms_url: str = "http://127.0.0.1:8080"
    secret_payments: str | None = None
    secret_carriers: str | None = None
    secret_nodes: str | None = None
    seed: int = 0
    books: Path | None = None

    def secret(self, party: str) -> str | None:
        """Give the `whsec_…` secret that this party signs with."""
        return {
            "payments": self.secret_payments,
            "carriers": self.secret_carriers,
            "nodes": self.secret_nodes,
        }[party]


@dataclass(frozen=True)
class Timings:
    """How long things take, in seconds; tests shorten them.

    The first group passes in real time, the second is divided by the clock's speed.
    """

    hang: float = 30
    slow: float = 8
    settle: float = 3
    hold_back: float = 2
    after_label: float = 1
    first_retry: float = 0.2
    last_retry: float = 10
    give_up: float = 6 * 3600

    node_step: float = 1800
    scan_soonest: float = 4 * 3600
    scan_latest: float = 48 * 3600
