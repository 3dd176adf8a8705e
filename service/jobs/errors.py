"""What the job engine refuses, typed; `sentence` is for people."""


class JobError(Exception):
    """Base of the errors below."""

    @property
    def sentence(self) -> str:
        return str(self)


class TransitionRefused(JobError):
    """The job is in a state from which this is not possible; the text says what to do or to wait for. (409)"""


class LeaseLost(JobError):
    """The job is no longer this worker's: whatever it still wanted to write is void."""


class CheckpointCorrupt(JobError):
    """Stored bytes are not those that were written."""


class StorageFull(JobError):
    """The database or the disk has no room for what a job wants to store."""
