"""`compare_jobs`: any jobs side by side, where they differ and how they did."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.api import Client


def compare_jobs(
    client: "Client", job_ids: Iterable[str], *, curves: Iterable[str] = (), points: int | None = None
) -> dict[str, Any]:
    """Differences of their specs, final figures, and curves against epochs, steps, seconds and FLOPs.

    job_ids: 2 to 50, each once. curves: only these; left out, all. points: of each curve at most. Raises Problem that
    names every id that is none or not yours.
    """
    wanted: dict[str, Any] = {"jobs": ",".join(job_ids), "name": list(curves)}
    if points is not None:
        wanted["points"] = points
    found: dict[str, Any] = client.send("GET", "comparisons", params=wanted)
    return found
