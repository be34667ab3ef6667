"""Let Temporal's SDK download one of its servers: ``sdk_download KIND FOLDER``.

A process of its own, because a download inside the SDK cannot be cancelled.
"""

import asyncio
import os
import sys

from temporalio.testing import WorkflowEnvironment


async def _download(kind: str, folder: str) -> None:
    if kind == "dev-server":
        from workers.embedded.toolchains import TEMPORAL_VERSION  # noqa: PLC0415

        server = await WorkflowEnvironment.start_local(
            download_dest_dir=folder, dev_server_download_version=f"v{TEMPORAL_VERSION}"
        )
    else:
        server = await WorkflowEnvironment.start_time_skipping(download_dest_dir=folder)
    await server.shutdown()


def main() -> None:
    """Download, start once, stop."""
    code = 0
    try:
        asyncio.run(_download(sys.argv[1], sys.argv[2]))
    except RuntimeError as failed:  # what the SDK raises for everything here
        sys.stdout.write(f"{str(failed).split(' for url', 1)[0]}\n")
        code = 1
    sys.stdout.flush()
    os._exit(code)  # the SDK's threads do not always survive the interpreter's end


if __name__ == "__main__":
    main()
