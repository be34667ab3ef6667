"""docker-compose.yml starts what the code offers, with settings that the code knows."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from simulator.__main__ import serve
from simulator.settings import Settings as SimulatorSettings
from workers.cli import app
from workers.embedded import cluster, toolchains
from workers.embedded.services import COMMANDS
from workers.encryption import KeyRing
from workers.main import LAST_SECONDS
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if "build" in each}
LASTING = {name: each for name, each in OURS.items() if each["restart"] == "unless-stopped"}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

OMS = {f"OMS_{name.upper()}" for name in Settings.model_fields}
SIM = {f"SIM_{name.upper()}" for name in SimulatorSettings.model_fields}
NEITHER = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "HEALTH_URL"}

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)
each_that_lasts = pytest.mark.parametrize("name", LASTING)


def environment(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment") or {}


def inside(name: str) -> set[int]:
    """The ports that a service of ours listens on, by its settings and its command."""
    said = environment(name)
    listens = {
        "worker": ["OMS_METRICS_PORT", "OMS_SDK_METRICS_PORT"],
        "api": ["OMS_API_PORT", "OMS_METRICS_PORT", "OMS_SDK_METRICS_PORT"],
        "codec": ["OMS_CODEC_PORT"],
        "simulator": [],
    }[name]
    ports = [
        said.get(each, Settings.model_fields[each.removeprefix("OMS_").lower()].default)
        for each in listens
    ]
    command = shlex.split(SERVICES[name]["command"])
    if "--port" in command:
        ports.append(command[command.index("--port") + 1])
    return {int(port) for port in ports}


@each_of_ours
def test_every_command_of_ours_exists(name: str) -> None:
    program, *arguments = shlex.split(SERVICES[name]["command"])

    if program == "oms":
        assert arguments[0] in typer.main.get_command(app).commands  # type: ignore[attr-defined]
    else:
        assert (program, arguments[0]) == ("python", "-m")
        module = arguments[1]
        assert importlib.util.find_spec(module) is not None
        main = module if module != "simulator" else "simulator.__main__"
        importlib.import_module(main)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_stack_on_one_machine_runs_the_very_same_commands(name: str) -> None:
    program, *arguments = shlex.split(SERVICES[name]["command"])

    length = len(COMMANDS[name])
    assert program == "python"
    assert tuple(arguments[:length]) == tuple(COMMANDS[name])
    options = dict(zip(arguments[length::2], arguments[length + 1 :: 2], strict=True))
    offered = {f"--{parameter}" for parameter in serve.__annotations__ if parameter != "return"}
    assert set(options) <= (offered if name == "simulator" else set())


@each_of_ours
def test_every_setting_exists_and_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = environment(name)
    assert set(said) <= OMS | SIM | NEITHER

    for key, value in said.items():
        monkeypatch.setenv(key, value)
    Settings()
    SimulatorSettings()
    if keys := said.get("OMS_CODEC_KEYS"):
        assert KeyRing.read(keys).seals_with is not None


@each_that_lasts
def test_a_process_of_ours_is_asked_for_its_health_where_it_listens(name: str) -> None:
    url = urlsplit(environment(name)["HEALTH_URL"])

    assert url.hostname == "127.0.0.1"
    assert url.port in inside(name)
    assert "HEALTHCHECK" in DOCKERFILE
    assert "HEALTH_URL" in DOCKERFILE


@each_that_lasts
def test_what_is_published_of_ours_is_listened_on_by_everybody_in_there(name: str) -> None:
    for published in SERVICES[name].get("ports", []):
        assert int(published.rsplit(":", 1)[1]) in inside(name)
    hosts = [value for key, value in environment(name).items() if key.endswith("_HOST")]
    assert set(hosts) <= {"0.0.0.0"}


@each_service
def test_nothing_listens_outside_this_machine(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_no_two_services_are_published_on_one_port() -> None:
    published = [port.split(":")[1] for each in SERVICES.values() for port in each.get("ports", [])]

    assert len(published) == len(set(published))


@each_service
def test_what_a_service_waits_for_exists_and_can_come_to_be(name: str) -> None:
    waits_for: dict[str, dict[str, str]] = SERVICES[name].get("depends_on", {})

    for other, how in waits_for.items():
        match how["condition"]:
            case "service_healthy":
                assert other in LASTING or "healthcheck" in SERVICES[other]
            case "service_completed_successfully":
                assert SERVICES[other].get("restart") != "unless-stopped"
            case started:
                assert started == "service_started"


@each_service
def test_addresses_of_other_services_name_services_that_exist(name: str) -> None:
    for value in environment(name).values():
        for host in re.findall(r"(?:https?://|@)([a-z][a-z0-9-]*)", str(value)):
            assert host in SERVICES


@each_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    if name not in OURS:
        assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


def test_the_temporal_of_compose_is_the_one_of_this_machine() -> None:
    assert SERVICES["temporal"]["image"] == f"temporalio/server:{toolchains.SERVER_VERSION}"
    assert f":{toolchains.SERVER_VERSION}-" in SERVICES["temporal-schema"]["image"]
    assert SERVICES["temporal-ui"]["image"] == f"temporalio/ui:{toolchains.UI_VERSION}"
    assert environment("temporal")["NUM_HISTORY_SHARDS"] == str(cluster.HISTORY_SHARDS)
    schema = SERVICES["temporal-schema"]["command"][0]
    for database, path in cluster.STORES.items():
        assert f"prepare {database} {path}\n" in schema
    dynamic = yaml.safe_load((ROOT / "deploy/temporal/dynamicconfig.yaml").read_text())
    assert dynamic == {key: [{"value": value}] for key, value in cluster.DYNAMIC.items()}


@each_service
def test_every_file_and_volume_that_is_mounted_exists(name: str) -> None:
    for mounted in SERVICES[name].get("volumes", []):
        source = mounted.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists()
        else:
            assert source in COMPOSE["volumes"]


@each_of_ours
def test_our_containers_can_change_nothing_but_what_is_theirs(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER oms$", DOCKERFILE, re.MULTILINE)


def test_the_build_of_the_workers_is_made_current_once_they_run() -> None:
    assert SERVICES["deploy"]["command"] == "oms deploy"
    assert "worker" in SERVICES["deploy"]["depends_on"]
    for setting in ("OMS_DEPLOYMENT", "OMS_BUILD_ID"):
        assert environment("deploy")[setting] == environment("worker")[setting]


def test_a_worker_that_is_stopped_has_time_to_finish() -> None:
    asked = float(environment("worker").get("OMS_SHUTDOWN_SECONDS", Settings().shutdown_seconds))

    assert int(SERVICES["worker"]["stop_grace_period"].rstrip("s")) > asked + LAST_SECONDS


def test_the_image_is_made_of_what_exists() -> None:
    let_in = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]

    assert all((ROOT / name).exists() for name in let_in)
    project = (ROOT / "pyproject.toml").read_text()
    for package in re.search(r"^packages = \[(.*)\]$", project, re.MULTILINE)[1].split(", "):  # type: ignore[index]
        assert package.strip('"') in let_in


def test_prometheus_asks_services_that_exist_where_they_tell() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    tells = {name: inside(name) for name in ("worker", "api")}
    tells["temporal"] = {int(environment("temporal")["PROMETHEUS_ENDPOINT"].split(":")[1])}

    for job in config["scrape_configs"]:
        for found in job.get("dns_sd_configs", []):
            assert all(found["port"] in tells[name] for name in found["names"])
        for fixed in job.get("static_configs", []):
            for target in fixed["targets"]:
                name, port = target.split(":")
                assert int(port) in tells[name]
