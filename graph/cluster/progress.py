"""The progress of a start, as Serve's status tells it."""

import re
import time
from collections.abc import Callable, Sequence

from ray import serve
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatusOverview,
)

from graph.cluster.preflight import LaunchFailed
from graph.serve_private import DeploymentStatus

# Takes a sentence on the progress of a start.
Report = Callable[[str], None]

# Failed states of applications and of deployments.
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
# Before a line such as `module.Exception: ` or `SomeError: `.
_EXCEPTION = r"^\s*(?=(?:[a-z0-9_]+\.)+[A-Z]\w*: |[A-Z]\w*Error: )"


def no_report(sentence: str) -> None:
    """The Report that leaves everything out."""


class Progress:
    """The deployments that are ready, each reported once, and those that are not."""

    def __init__(self, report: Report, began: float) -> None:
        self._report = report
        self._began = began
        self._reported: set[tuple[str, str]] = set()
        self.waiting = "no deployment is known yet"

    def say(self, part: str) -> None:
        self._report(f"{part} ready after {time.monotonic() - self._began:.1f} s")

    def is_ready(self, names: Sequence[str]) -> bool:
        """Tell whether all these applications run. Raises LaunchFailed if one has failed."""
        found = serve.status().applications
        applications = [found[name] for name in names if name in found]
        waiting = []
        for application in applications:
            if application.status in _FAILED:
                raise _failure(application)
            for name, deployment in application.deployments.items():
                if deployment.status != DeploymentStatus.HEALTHY:
                    waiting.append(name)
                self._tell(name, deployment)
        if waiting:
            self.waiting = f"waiting for {', '.join(waiting)}"
        running = [one.status for one in applications if one.status == ApplicationStatus.RUNNING]
        return len(running) == len(names)

    def _tell(self, name: str, deployment: DeploymentStatusOverview) -> None:
        """Report that a deployment is ready or why it takes long, once."""
        if deployment.status == DeploymentStatus.HEALTHY:
            reason = ""
        elif deployment.message:
            reason = reason_of(deployment.message)
        else:
            return
        if (name, reason) in self._reported:
            return
        self._reported.add((name, reason))
        if reason:
            self._report(f"{name} is not ready yet: {reason}")
        else:
            self.say(name)


def _failure(application: ApplicationStatusOverview) -> LaunchFailed:
    """The error of a failed application, with Serve's reasons."""
    messages = {
        f"{name} did not start: ": deployment.message
        for name, deployment in application.deployments.items()
        if deployment.status in _FAILED
    } or {"": application.message}
    sentences = [start + reason_of(message) for start, message in messages.items()]
    return LaunchFailed("; ".join(sentences), serve=list(messages.values()))


def reason_of(message: str) -> str:
    """A message of Serve in one line: of a traceback only the last exception."""
    last = re.split(_EXCEPTION, message, flags=re.MULTILINE)[-1]
    return " ".join(re.sub(r"^deployments\.errors\.\w+: ", "", last).split())
