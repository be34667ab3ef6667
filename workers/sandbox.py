"""The one sandbox for workers, tests and the replayer."""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy


def workflow_runner() -> SandboxedWorkflowRunner:
    """Run workflows sandboxed; what they import is passed through by the files themselves.

    A workflow file that forgets to keeps the worker from starting: what is loaded anew for each
    run costs many times the run, and is another class than the one activities answer with.
    """
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(
            "pydantic", "pydantic_core", "opentelemetry"
        ).with_import_notification_policy(
            SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
            | SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        )
    )
