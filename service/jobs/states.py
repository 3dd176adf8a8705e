"""States of a job and the moves between them: the one table that code, constraints and trigger are made from.

new ──→ queued ──→ running ──→ succeeded
          ↑ ↓         ↓   ↘ failed
        paused ←── pausing
          ↓           ↓
        cancelled ←─ cancelling
"""

from django.db import models


class State(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(models.TextChoices):
    """Why a job came into its state; codes are stable, sentences are for people."""

    CREATED = "created"
    CLAIMED = "claimed"
    REQUESTED = "requested"
    RESUMED = "resumed"
    COMPLETED = "completed"
    WORKER_STOPPING = "worker_stopping"
    WORKER_LOST = "worker_lost"
    TRAINER_KILLED = "trainer_killed"
    TRAINER_ERROR = "trainer_error"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    DATASET_UNAVAILABLE = "dataset_unavailable"
    CHECKPOINT_UNUSABLE = "checkpoint_unusable"
    STORAGE_FULL = "storage_full"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    PENDING_TOO_LONG = "pending_too_long"


TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.QUEUED: (State.RUNNING, State.PAUSED, State.CANCELLED, State.FAILED),
    State.RUNNING: (State.SUCCEEDED, State.FAILED, State.PAUSING, State.CANCELLING, State.QUEUED),
    State.PAUSING: (State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLING),
    State.PAUSED: (State.QUEUED, State.CANCELLED),
    State.CANCELLING: (State.CANCELLED, State.SUCCEEDED),
    State.SUCCEEDED: (),
    State.FAILED: (),
    State.CANCELLED: (),
}
"""From each state, those that a job may move to. A job begins as queued."""

HELD = (State.RUNNING, State.PAUSING, State.CANCELLING)
"""A worker holds the job: worker and lease are set in these states, and in no other."""

TERMINAL = tuple(state for state, targets in TRANSITIONS.items() if not targets)
"""Final: reached once, left never."""


def allowed(origin: State, target: State) -> bool:
    """Whether a job may move from one state to the other."""
    return target in TRANSITIONS[origin]
