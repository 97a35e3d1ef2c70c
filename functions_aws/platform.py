"""The Glue client: each operation sends once what `shared.platforms.glue` builds, and hands back what that reads.

https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-materialized-views.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from functions_aws.clients import Clients, attempt
from shared.platforms import glue
from shared.platforms.failures import Operation
from shared.platforms.paging import Page, gather
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh.failure import Failure
from shared.refresh.ports import Report, Started
from shared.targets import GlueView, Target

Parameters = dict[str, Any]
"""Parameters of an operation, as botocore takes them by name."""


class Platform:
    """Glue's four operations on materialized views: `shared.refresh.ports.Platform`.

    What is sent and what an answer means stands in `shared.platforms.glue`; here it is sent, once.
    """

    capabilities = glue.CAPABILITIES

    def __init__(self, clients: Clients, redactor: Redactor = NOTHING_KNOWN) -> None:
        """`redactor` takes secrets out of what exceptions say, before it becomes a trouble that records keep."""
        self._clients = clients
        self._redactor = redactor

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """StartMaterializedViewRefreshTaskRun. Glue takes no token that would make a second one harmless (rule 4)."""
        parameters = glue.start_parameters(_view(target), full=full)
        answer = self._ask(Operation.START, "start_materialized_view_refresh_task_run", parameters)
        return answer if isinstance(answer, Failure) else glue.start_answer(answer)

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """GetMaterializedViewRefreshTaskRun, of a run whose id is known."""
        parameters = glue.get_parameters(_view(target), run_id)
        answer = self._ask(Operation.GET, "get_materialized_view_refresh_task_run", parameters)
        return answer if isinstance(answer, Failure) else glue.get_answer(answer)

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """ListMaterializedViewRefreshTaskRuns, page by page, as far as `shared.platforms.glue` needs it."""
        view = _view(target)

        def page(parameters: Parameters) -> Page[Parameters] | Failure:
            answer = self._ask(Operation.LIST, "list_materialized_view_refresh_task_runs", parameters)
            return answer if isinstance(answer, Failure) else glue.list_answer(answer, view, since)

        first = glue.list_parameters(view)
        return first if isinstance(first, Failure) else gather(first, page, since)

    def cancel(self, target: Target, run_id: str) -> Failure | None:  # noqa: ARG002 - Glue stops whatever the view runs
        """StopMaterializedViewRefreshTaskRun, which names the view and not the run."""
        parameters = glue.stop_parameters(_view(target))
        if isinstance(parameters, Failure):
            return parameters
        return attempt(Operation.CANCEL, lambda: self._stop(parameters), self._redactor.plain)

    def _stop(self, parameters: Parameters) -> Failure | None:
        """Stop a view's run. One refusal is none: a run that is being stopped already will end."""
        try:
            self._clients.glue.stop_materialized_view_refresh_task_run(**parameters)
        except ClientError as error:
            return glue.stop_answer(error.response)
        return glue.stop_answer()

    def _ask(self, operation: Operation, method: str, parameters: Parameters | Failure) -> dict[str, Any] | Failure:
        """Make one call. Only here, where the SDK's exceptions end, is it known what was sent, so they become facts."""
        if isinstance(parameters, Failure):
            return parameters
        return attempt(operation, lambda: getattr(self._clients.glue, method)(**parameters), self._redactor.plain)


def _view(target: Target) -> GlueView:
    """Take the view of a target; the engine hands the targets of its own cloud on, and no others."""
    assert isinstance(target.resource, GlueView), f"{target.name} is no view of Glue"  # noqa: S101 - the engine's filter
    return target.resource
