"""Temporal's development server as a process of the stack."""

from pathlib import Path

from workers.embedded.processes import Child

_DYNAMIC = {
    # New search attributes are seen by the next call, not by the next minute.
    "system.forceSearchAttributesCacheRefreshOnRead": "true",
}


def development_server(
    program: Path, *, port: int, log: Path, ui_port: int | None = None, database: Path | None = None
) -> Child:
    """Describe the server; start it and wait until its port listens.

    Args:
        program: `temporal`.
        port: For clients, on 127.0.0.1.
        log: Where it writes.
        ui_port: For its UI; without one there is none.
        database: The SQLite file that keeps runs over restarts; without one they are forgotten.
    """
    options = ["--ip", "127.0.0.1", "--port", str(port), "--log-level", "warn"]
    options += ["--ui-port", str(ui_port)] if ui_port else ["--headless"]
    if database is not None:
        options += ["--db-filename", str(database)]
    for key, value in _DYNAMIC.items():
        options += ["--dynamic-config-value", f"{key}={value}"]
    return Child("temporal", [program, "server", "start-dev", *options], log=log)
