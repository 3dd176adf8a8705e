"""`Client`: submit jobs, follow them, fetch what they made. Talks HTTP, raises `Problem` for what the API refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from client.experiments import Experiments
from client.following import looks
from client.problem import Problem

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
Job = dict[str, Any]


class Client:
    """One service, one token. Close it, or use it in a `with` block."""

    def __init__(self, url: str, token: str, *, timeout: float = 30.0) -> None:
        headers = {"Authorization": f"Token {token}", "Accept": "application/json"}
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1/", headers=headers, timeout=timeout)
        self.experiments = Experiments(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, spec: dict[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Queue a job: a spec's keys, and beside them `name`, `tags`, `priority`, `queue`, …"""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self.send("POST", "jobs", json=spec, headers=headers)

    def job(self, job_id: str) -> Job:
        return self.send("GET", f"jobs/{job_id}")

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """All jobs that match, newest first, page by page."""
        yield from self.pages("jobs", filters)

    def cancel(self, job_id: str) -> Job:
        return self.send("POST", f"jobs/{job_id}/cancel")

    def pause(self, job_id: str) -> Job:
        return self.send("POST", f"jobs/{job_id}/pause")

    def resume(self, job_id: str) -> Job:
        return self.send("POST", f"jobs/{job_id}/resume")

    def retry(self, job_id: str) -> Job:
        return self.send("POST", f"jobs/{job_id}/retry")

    def metrics(self, job_id: str, **filters: Any) -> dict[str, Any]:
        """Learning curves by metric, at most 1,000 points each."""
        return self.send("GET", f"jobs/{job_id}/metrics", params=filters)

    def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        return list(self.pages(f"jobs/{job_id}/checkpoints", {}))

    def download(self, checkpoint_id: str, to: Path) -> Path:
        """Write a checkpoint's bytes to the file `to`."""
        return self.fetch(f"checkpoints/{checkpoint_id}/content", to)

    def fetch(self, path: str, to: Path) -> Path:
        """Write what lies at this address below /api/v1 to the file `to`, whatever its format. Raises Problem."""
        with self._http.stream("GET", path, headers={"Accept": "*/*"}) as response:
            if response.is_error:
                response.read()
            self._raise_for_problem(response)
            with to.open("wb") as file:
                for block in response.iter_bytes(1 << 20):
                    file.write(block)
        return to

    def follow(
        self, job_ids: list[str], on_change: Callable[[Job], None], *, every: float = 0.5, timeout: float = 3600
    ) -> list[Job]:
        """The jobs in their final states; `on_change` sees each poll, and waits while the service is restarted.

        Raises TimeoutError.
        """
        ended: dict[str, Job] = {}

        def look() -> dict[str, Job]:
            return {job_id: self.job(job_id) for job_id in job_ids if job_id not in ended}

        for jobs in looks(look, every=every, timeout=timeout):
            for job_id, job in jobs.items():
                on_change(job)
                if job["state"] in FINAL_STATES:
                    ended[job_id] = job
            if len(ended) == len(job_ids):
                return [ended[job_id] for job_id in job_ids]
        raise TimeoutError(f"{len(job_ids) - len(ended)} jobs have not ended after {timeout:g} s")

    def pages(self, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of a list at this address below /api/v1, page by page."""
        page = self.send("GET", path, params=params)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self.send("GET", page["next"])

    def send(self, method: str, path: str, **keywords: Any) -> Any:
        """What the service answers at this address below /api/v1. Raises Problem."""
        response = self._http.request(method, path, **keywords)
        self._raise_for_problem(response)
        return response.json() if response.content else {}

    @staticmethod
    def _raise_for_problem(response: httpx.Response) -> None:
        if response.is_error:
            try:
                body = response.json()
            except ValueError:
                body = {"title": response.reason_phrase, "detail": response.text[:200]}
            raise Problem(response.status_code, body)
