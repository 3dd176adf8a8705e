"""`client.experiments`: start an experiment, follow it through its phases, read its report.

made = client.experiments.start({"algorithms": ["backprop", "frozen"], "datasets": ["digits"]})
client.experiments.follow(made["id"], lambda experiment: print(experiment["sentence"]))
print(client.experiments.report(made["id"])["answer"])
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from client.following import looks

if TYPE_CHECKING:
    from client.api import Client

Experiment = dict[str, Any]
Table = Literal["tuned", "default"]

ENDED = frozenset({"finished", "cancelled"})


class Experiments:
    """The experiments of one service, as its token's owner sees them."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def start(self, request: dict[str, Any], *, idempotency_key: str | None = None) -> Experiment:
        """Queue all jobs of an experiment: a matrix of `algorithms`, `datasets`, … or a list of `jobs`, and its rules.

        Raises Problem that names every wrong part; nothing is queued then.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._client.send("POST", "experiments", json=request, headers=headers)

    def dry_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """What it would be: arms, jobs by phase, expected FLOPs and seconds. Raises Problem as `start` does."""
        return self._client.send("POST", "experiments", json=request, params={"dry_run": "true"})

    def get(self, experiment_id: str) -> Experiment:
        """State, phase, progress, what its rules have done, and the request."""
        return self._client.send("GET", f"experiments/{experiment_id}")

    def list(self, **parameters: Any) -> Iterator[Experiment]:
        """All of them, newest first, page by page."""
        yield from self._client.pages("experiments", parameters)

    def jobs(self, experiment_id: str) -> Iterator[dict[str, Any]]:
        """Its jobs, newest first."""
        yield from self._client.jobs(experiment=experiment_id)

    def add_seeds(self, experiment_id: str, *seeds: int) -> Experiment:
        """Train every arm with these seeds too."""
        return self._client.send("POST", f"experiments/{experiment_id}/seeds", json={"seeds": list(seeds)})

    def pause(self, experiment_id: str) -> Experiment:
        """Pause every job that waits or trains."""
        return self._client.send("POST", f"experiments/{experiment_id}/pause")

    def resume(self, experiment_id: str) -> Experiment:
        """Queue every paused job again."""
        return self._client.send("POST", f"experiments/{experiment_id}/resume")

    def cancel(self, experiment_id: str) -> Experiment:
        """Cancel every job that has not ended; no phase follows."""
        return self._client.send("POST", f"experiments/{experiment_id}/cancel")

    def rerun(self, experiment_id: str) -> Experiment:
        """A new experiment from the same request."""
        return self._client.send("POST", f"experiments/{experiment_id}/rerun")

    def report(self, experiment_id: str, *, hyperparameters: Table | None = None) -> dict[str, Any]:
        """The answer with all its numbers. Raises Problem (409) until the first run of backprop has ended.

        hyperparameters: of a tuned experiment one table alone; left out, the tuned one with the other within it.
        """
        wanted = {} if hyperparameters is None else {"hyperparameters": hyperparameters}
        return self._client.send("GET", f"experiments/{experiment_id}/report", params={"format": "json", **wanted})

    def save_report(self, experiment_id: str, to: Path, *, kind: Literal["html", "markdown", "latex", "csv"]) -> Path:
        """Write the report to the file `to`; the HTML page holds its figures and fetches nothing."""
        path = "report.csv" if kind == "csv" else f"report?format={kind}"
        return self._client.fetch(f"experiments/{experiment_id}/{path}", to)

    def save_plot(self, experiment_id: str, name: str, to: Path) -> Path:
        """Write a figure (`seeds.svg`, `pareto.png`, …; the report's `plots` names them) to the file `to`."""
        return self._client.fetch(f"experiments/{experiment_id}/plots/{name}", to)

    def save_bundle(self, experiment_id: str, to: Path) -> Path:
        """Write all that is needed to repeat it, as a zip, to the file `to`."""
        return self._client.fetch(f"experiments/{experiment_id}/bundle", to)

    def follow(
        self,
        experiment_id: str,
        on_change: Callable[[Experiment], None],
        *,
        every: float = 1.0,
        timeout: float = 86_400,
    ) -> Experiment:
        """The experiment once it has ended; `on_change` sees each poll, and waits while the service is restarted.

        Raises TimeoutError.
        """
        for experiment in looks(lambda: self.get(experiment_id), every=every, timeout=timeout):
            on_change(experiment)
            progress = experiment["progress"]
            if experiment["state"] in ENDED and progress["ended"] == progress["jobs"]:
                return experiment
        left = progress["planned"] - progress["ended"]
        raise TimeoutError(f"{left} jobs of the experiment have not ended after {timeout:g} s")
