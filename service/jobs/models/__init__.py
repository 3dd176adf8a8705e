"""Tables of the job engine, by subject."""

from service.jobs.models.artefact import Artefact
from service.jobs.models.checkpoint import Checkpoint, CheckpointChunk
from service.jobs.models.history import Event, Transition
from service.jobs.models.job import Job
from service.jobs.models.log import LogLine
from service.jobs.models.metric import Diagnostic, MetricPoint, MetricSummary
from service.jobs.models.worker import Worker

__all__ = [
    "Artefact",
    "Checkpoint",
    "CheckpointChunk",
    "Diagnostic",
    "Event",
    "Job",
    "LogLine",
    "MetricPoint",
    "MetricSummary",
    "Transition",
    "Worker",
]
