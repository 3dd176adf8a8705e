"""What a job will cost, before it is queued: counted on its network, and by what such jobs have taken here.

Counting makes the network and runs a few small steps of it, in this process. So the size is looked at first, without
memory, on torch's meta device; a large network is not counted, and one request at a time counts.
"""

import logging
import threading
from statistics import median
from typing import Any

from pydantic import BaseModel, Field

from service.jobs.models import Job
from service.jobs.states import State
from trainers.errors import TrainerError
from trainers.spec import TrainingSpec

logger = logging.getLogger(__name__)

MOST_PARAMETERS = 3_000_000
COUNTED_BATCH = 64
JOBS_LOOKED_AT = 20
_one_at_a_time = threading.Lock()


class Estimate(BaseModel):
    """What is known beforehand; null where it is not."""

    parameters: int = Field(description="of the network")
    flops_per_sample: float | None = Field(
        description=f"of one epoch's training, counted; null above {MOST_PARAMETERS:,} parameters or when it is busy"
    )
    training_flops: float | None = Field(description="of the whole run")
    passes: int | None = Field(description="over the training data")
    samples_per_pass: int | None
    seconds: float | None = Field(description="of training: the median of such jobs on this service, by epochs")
    jobs: int = Field(description="finished jobs of this algorithm, data set, network and batch size that it rests on")


def estimate(spec: TrainingSpec) -> Estimate:
    """The cost of a resolved spec."""
    parameters = _parameters(spec)
    counted = _counted(spec) if parameters <= MOST_PARAMETERS else {}
    seconds, jobs = _taken(spec)
    return Estimate(
        parameters=parameters,
        flops_per_sample=counted.get("flops_per_sample"),
        training_flops=counted.get("training_flops"),
        passes=counted.get("passes"),
        samples_per_pass=counted.get("samples_per_pass"),
        seconds=seconds,
        jobs=jobs,
    )


def _parameters(spec: TrainingSpec) -> int:
    import torch

    from trainers.resolve import resolve_parts
    from trainers.streams import StreamBook

    parts = resolve_parts(spec)
    with torch.device("meta"):
        network = parts.network.build(parts.network_options, parts.task, StreamBook(0))
    return sum(weight.numel() for weight in network.parameters())


def _counted(spec: TrainingSpec) -> dict[str, Any]:
    from trainers.compute_cost import estimate as count

    # Cost is per sample, so a small batch tells it as well, and takes little memory.
    training = spec.training.model_copy(update={"batch_size": min(spec.training.batch_size, COUNTED_BATCH)})
    if not _one_at_a_time.acquire(blocking=False):
        return {}
    try:
        return count(spec.model_copy(update={"training": training}))
    except (TrainerError, RuntimeError, ValueError) as error:
        logger.warning("the cost of a spec could not be counted: %s", error)
        return {}
    finally:
        _one_at_a_time.release()


def _taken(spec: TrainingSpec) -> tuple[float | None, int]:
    """Only durations are taken, so the jobs may be anybody's."""
    alike = Job.objects.filter(
        state=State.SUCCEEDED,
        algorithm=spec.algorithm,
        dataset=spec.dataset,
        spec__network=spec.network,
        spec__training__batch_size=spec.training.batch_size,
        seconds_trained__gt=0,
    ).order_by("-created_at")
    rows = alike.values_list("seconds_trained", "spec__training__epochs")[:JOBS_LOOKED_AT]
    costs = [seconds / epochs for seconds, epochs in rows]
    return (round(median(costs) * spec.training.epochs, 3) if costs else None), len(costs)
