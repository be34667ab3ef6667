"""Every setting of the product, read from the environment as ``OMS_<NAME>``.

Where Temporal lives is not here: ``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE`` and
``TEMPORAL_API_KEY`` are Temporal's own and are read by ``temporalio.envconfig``.
"""

import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from oms.policy import Policy
from workflows.queues import Kind

Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[int, Field(ge=0, le=365)]
PerSecond = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


def _checkout() -> Path:
    """The folder of this checkout; where we were installed from a wheel, the current folder."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").exists() else Path.cwd()


class Settings(BaseSettings):
    """What a process needs to know before it starts. All durations are in seconds or days."""

    model_config = SettingsConfigDict(env_prefix="OMS_", frozen=True, env_ignore_empty=True)

    database_url: SecretStr = Field(
        SecretStr("postgresql+psycopg:///oms"), description="PostgreSQL, as SQLAlchemy spells it."
    )
    task_queue: str = Field(
        "oms",
        description="The Temporal task queue of our runs; those of outside parties are named after"
        " it: `oms-payments`.",
    )
    worker_kinds: Annotated[tuple[Kind, ...], NoDecode] = Field(
        tuple(Kind),
        description="What a worker process serves: `all`, or some of `orders`, `payments`,"
        " `carriers`, `nodes`, with commas between.",
    )
    payments_per_second: PerSecond | None = Field(
        None,
        description="The most calls a second to payment providers, by all workers together; unset:"
        " no limit.",
    )
    carriers_per_second: PerSecond | None = Field(None, description="The same for carriers.")
    nodes_per_second: PerSecond | None = Field(None, description="The same for locations.")
    deployment: str | None = Field(
        None,
        description="The name of our deployment in Temporal. Set: workers get work only while"
        " their build is the one that `oms deploy` made current. Unset: always.",
    )
    build_id: str | None = Field(
        None, description="This build's own name there, such as a release or a commit."
    )
    api_host: str = Field("127.0.0.1", description="The address the API listens on.")
    api_port: Port = Field(8080, description="The port the API listens on.")
    api_url: str = Field("http://127.0.0.1:8080", description="Where others reach the API.")
    simulator_url: str = Field(
        "http://127.0.0.1:8090", description="Where the pretend outside world listens."
    )

    grace_seconds: Annotated[float, Field(ge=0)] = Field(
        900, description="How long an order may still be changed freely before it is routed."
    )
    reservation_seconds: Seconds = Field(
        1800, description="How long stock is held for an order that is not paid yet."
    )
    node_answer_seconds: Seconds = Field(
        3600, description="How long a location may take to accept or reject its work."
    )
    pick_seconds: Seconds = Field(
        86_400,
        description="How long accepted work may stay unpacked before somebody looks.",
    )
    pickup_seconds: Seconds = Field(
        604_800, description="How long goods wait in the store for the customer who collects."
    )
    silent_seconds: Seconds = Field(
        86_400, description="How long a parcel may send no scan before its carrier is asked."
    )
    payment_poll_seconds: Seconds = Field(
        60, description="How often an unknown payment outcome is looked up."
    )
    heal_seconds: Seconds = Field(
        60, description="How often a step parked by an outage tries again by itself."
    )
    provider_timeout_seconds: Seconds = Field(
        10, description="How long one call to a payment provider, carrier or node may take."
    )
    shutdown_seconds: Seconds = Field(
        25,
        description="How long a stopping worker lets its calls finish: above the longest one. The"
        " process ends three seconds later at the latest.",
    )
    promise_days_home: Days = Field(
        3, description="Days promised for a delivery at home where no shipping service fits."
    )
    promise_days_pickup: Days = Field(
        1, description="Days promised for collection in a store that tells no hours."
    )
    offer_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        60, description="How long a date that was offered holds: for an order placed within it."
    )

    retention_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        30, description="Days that Temporal keeps closed runs; `oms prepare` sets it."
    )
    technical_days: Annotated[int, Field(ge=3, le=3650)] = Field(
        30,
        description="Days to keep applied webhooks, commands of closed orders and rows of imports.",
    )

    webhook_secrets_payments: SecretStr | None = Field(
        None, description="`whsec_…` that payment providers sign with."
    )
    webhook_secrets_carriers: SecretStr | None = Field(
        None, description="`whsec_…` that carriers sign with."
    )
    webhook_secrets_nodes: SecretStr | None = Field(
        None, description="`whsec_…` that locations sign with."
    )

    codec_keys: SecretStr | None = Field(
        None,
        description="`id:base64key,…` that payloads in Temporal are encrypted with: the first"
        " encrypts, all decrypt; `plain` in the first place encrypts nothing new. Unset: off.",
    )
    codec_host: str = Field("127.0.0.1", description="The address the codec server listens on.")
    codec_port: Port = Field(8091, description="The port the codec server listens on.")
    codec_origins: str = Field(
        "http://localhost:8233,http://127.0.0.1:8233",
        description="The origins of the Temporal UI that may ask the codec server, by commas.",
    )
    codec_token: SecretStr | None = Field(
        None,
        description="The bearer token that the codec server asks for. Unset it listens on this"
        " machine only; `none` asks for none, where something in front of it does.",
    )

    postal_table: Path | None = Field(
        None, description="CSV with `country,postal_code,latitude,longitude`; unset: our own."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="The address that metrics and health are told on."
    )
    metrics_port: Port | None = Field(
        None,
        description="The port of `/metrics`, `/live` and `/ready` of a worker, of `/metrics` of an"
        " API process; unset: none. No key is asked for: keep it from the world.",
    )
    sdk_metrics_port: Port | None = Field(
        None, description="The port on which Temporal's SDK tells its own metrics; unset: none."
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="`auto` is pretty in a terminal and JSON elsewhere."
    )
    home: Path = Field(
        default_factory=lambda: _checkout() / ".oms",
        description="Where the embedded stack keeps its state, data and logs.",
    )
    cache: Path | None = Field(
        None, description="Where built and downloaded programs are kept; unset: `~/.cache/oms`."
    )
    temporal_server: Path | None = Field(
        None,
        description="A folder with `temporal-server` and `temporal-sql-tool`, for `--server real`;"
        " unset: the PATH, or they are built.",
    )
    test_server: Path | None = Field(
        None, description="Temporal's time-skipping server, for the tests; unset: it is fetched."
    )

    @field_validator("worker_kinds", mode="before")
    @classmethod
    def _kinds(cls, value: object) -> object:
        """Read `payments,carriers`; a kind named twice is served once."""
        if not isinstance(value, str):
            return value
        if value.strip() == "all":
            return tuple(Kind)
        return tuple(dict.fromkeys(each.strip() for each in value.split(",")))

    @property
    def per_second(self) -> dict[Kind, float]:
        """The most calls a second for each kind that has a limit."""
        limits = {
            Kind.PAYMENTS: self.payments_per_second,
            Kind.CARRIERS: self.carriers_per_second,
            Kind.NODES: self.nodes_per_second,
        }
        return {kind: limit for kind, limit in limits.items() if limit is not None}


EMBEDDED = {
    "OMS_GRACE_SECONDS": "2",
    "OMS_NODE_ANSWER_SECONDS": "10",
    "OMS_RESERVATION_SECONDS": "60",
    "OMS_PICK_SECONDS": "600",
    "OMS_PICKUP_SECONDS": "3600",
    "OMS_SILENT_SECONDS": "60",
    "OMS_PAYMENT_POLL_SECONDS": "5",
    "OMS_HEAL_SECONDS": "5",
}
"""What the embedded stack sets unless the environment says otherwise: days become seconds."""


def policy_of(config: Settings) -> Policy:
    """The merchant's durations, from the settings."""
    return Policy(
        grace=timedelta(seconds=config.grace_seconds),
        node_answer=timedelta(seconds=config.node_answer_seconds),
        reservation=timedelta(seconds=config.reservation_seconds),
        pick=timedelta(seconds=config.pick_seconds),
        pickup=timedelta(seconds=config.pickup_seconds),
        silent=timedelta(seconds=config.silent_seconds),
        promise_days_home=config.promise_days_home,
        promise_days_pickup=config.promise_days_pickup,
        offer=timedelta(seconds=config.offer_seconds),
    )


def embedded_settings() -> Settings:
    """The settings as the processes of a stack on this machine have them."""
    given = {name: value for name, value in EMBEDDED.items() if not os.environ.get(name)}
    fields: dict[str, Any] = {n.removeprefix("OMS_").lower(): v for n, v in given.items()}
    return Settings(**fields)


@lru_cache
def settings() -> Settings:
    """Read the environment once; a process does not change its mind about its settings."""
    return Settings()
