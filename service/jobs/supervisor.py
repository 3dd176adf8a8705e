"""One attempt of one job: claim, hand it to the trainer process, store what that says, bring it to its end.

Runs in the pool child of a Celery worker, and as well without Celery (`with ThisWorker(...) as worker:
train_next(worker)`). The main thread does all of this; the heartbeat beside it keeps the lease.

    claim → recovery.prepare → trainer.train → events and printed lines → recorder → an end in lifecycle
"""

import logging
import selectors
import time
from collections import deque
from pathlib import Path
from typing import Protocol

from django.db import close_old_connections
from pydantic import ValidationError

from service.jobs import lifecycle, recovery
from service.jobs.errors import CheckpointCorrupt, LeaseLost, StorageFull
from service.jobs.heartbeat import Heartbeat, Hold
from service.jobs.lease import Lease
from service.jobs.lines import Lines
from service.jobs.memory import out_of_memory_kills
from service.jobs.metrics import finite
from service.jobs.models import Job
from service.jobs.presence import Identity
from service.jobs.queue import claim
from service.jobs.recorder import Recorder
from service.jobs.scratch import Scratch
from service.jobs.software import software
from service.jobs.states import Reason, State
from service.jobs.trainer_process import Bench, TrainerProcess
from trainers import events

logger = logging.getLogger(__name__)

SAVE_PATIENCE = 60.0  # seconds that a trainer may take to save and stop before it is killed
EXIT_PATIENCE = 5.0  # seconds that it may take to end once it has told how the run ended
TAIL_LINES = 20  # of the log, in the failure of a trainer that died without a word

Ending = events.Succeeded | events.Failed | events.Stopped


class Workplace(Protocol):
    """What an attempt needs of its worker."""

    identity: Identity
    heartbeat: Heartbeat
    bench: Bench
    scratch: Scratch
    stopping: bool
    """Asked to stop in good order: the job is saved and handed back."""


def train_next(worker: Workplace) -> bool:
    """Claim the next job and train it to an end or a pause; False if there was none."""
    close_old_connections()
    claimed = claim(worker.identity.capacity)
    if claimed is None:
        return False
    job, lease = claimed
    logger.info("Job %s: attempt %d begins (%s)", job.id, job.attempt, job)
    try:
        with (
            worker.heartbeat.holding(lease, seconds_before=job.seconds_trained) as hold,
            worker.scratch.for_job(job.id) as folder,
        ):
            Attempt(worker, job, lease, hold, folder).run()
    except LeaseLost:
        logger.warning("Job %s: attempt %d has lost it; nothing more is written", job.id, job.attempt)
    finally:
        if not worker.stopping:
            worker.bench.warm()
    return True


class Cancelled(Exception):
    """The user no longer wants the job, seen between two writes."""


class Attempt:
    """From a claimed job to a row that is no longer ours."""

    def __init__(self, worker: Workplace, job: Job, lease: Lease, hold: Hold, folder: Path) -> None:
        self.worker, self.job, self.lease, self.hold, self.folder = worker, job, lease, hold, folder
        self.ending: Ending | None = None
        self.asked_at: float | None = None  # when the trainer was asked to save and stop
        self.past_deadline = False
        self.pending: deque[events.Event] = deque()
        self.tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self.recorder = Recorder(hold, check=self.check)

    def run(self) -> None:
        """Raises LeaseLost."""
        if self.worker.stopping:
            self.hand_back()
            return
        kills_before = out_of_memory_kills()
        trainer = self.worker.bench.take()
        try:
            resume = self.folder / "resume.safetensors"
            found = self.recorder.persist(lambda: recovery.prepare(self.lease, self.job, resume, check=self.check))
            output = self.folder / "output"
            output.mkdir()
            trainer.train(self.job.spec, resume=resume if found else None, output=output)
            self.follow(trainer)
            status = trainer.wait(EXIT_PATIENCE)
        except Cancelled:
            trainer.close()
            self.finish_cancel()
            return
        except (StorageFull, CheckpointCorrupt) as error:
            trainer.close()
            reason = Reason.STORAGE_FULL if isinstance(error, StorageFull) else Reason.CHECKPOINT_UNUSABLE
            self.end_as_failed(reason, error.sentence)
            return
        finally:
            trainer.close()
        self.conclude(status, killed_for_memory=out_of_memory_kills() > kills_before)

    def check(self) -> None:
        """Before each write. Raises LeaseLost, Cancelled."""
        self.hold.check()
        if self.hold.state == State.CANCELLING and not isinstance(self.ending, events.Succeeded):
            raise Cancelled

    # While it trains -------------------------------------------------------------------------------------------------

    def follow(self, trainer: TrainerProcess) -> None:
        """Store what the trainer says until both of its pipes are closed."""
        said, printed = Lines(trainer.events), Lines(trainer.log)
        awake = self.worker.heartbeat.awake
        with selectors.DefaultSelector() as selector:
            for source in (said, printed):
                selector.register(source.descriptor, selectors.EVENT_READ, source)
            selector.register(awake, selectors.EVENT_READ)
            while said.open or printed.open:
                ready = [key.data for key, _ in selector.select(self.patience())]
                if not ready and trainer.exit_status is not None:
                    break  # dead; something that it started still has its pipes
                self.worker.heartbeat.drain()
                for source in filter(None, ready):
                    lines = source.read()
                    if not source.open:
                        selector.unregister(source.descriptor)
                    if source is printed:
                        self.take_printed(lines)
                    else:
                        self.pending.extend(self.parse(lines))
                self.check()
                self.take_pending()
                if self.recorder.due_in == 0.0:
                    self.recorder.flush()
                self.steer(trainer)
        self.recorder.flush()

    def patience(self) -> float:
        """Seconds until something is due even if nothing comes."""
        waits = [1.0, self.recorder.due_in]
        if self.job.max_seconds is not None and self.asked_at is None:
            waits.append(self.job.max_seconds - self.hold.seconds_trained)
        return max(0.0, min(wait for wait in waits if wait is not None))

    def parse(self, lines: list[bytes]) -> list[events.Event]:
        parsed: list[events.Event] = []
        for line in lines:
            try:
                parsed.append(events.parse_event(line))
            except ValidationError:
                self.take_printed([b"not an event: " + line])
        return parsed

    def take_printed(self, lines: list[bytes]) -> None:
        for line in lines:
            self.tail.append(line)
            self.recorder.take_line(line)

    def take_pending(self) -> None:
        """Store events in their order; of checkpoints that wait, one that a later one replaces is left out."""
        while self.pending:
            event = self.pending.popleft()
            match event:
                case events.CheckpointSaved():
                    if self.is_replaced(event):
                        self.recorder.drop_file(event)
                    else:
                        self.recorder.store_checkpoint(event)
                case events.Succeeded() | events.Failed() | events.Stopped():
                    self.ending = event
                case events.Ready():
                    pass
                case _:
                    if isinstance(event, events.Started):
                        self.hold.start_clock()
                    self.recorder.take(event)

    def is_replaced(self, saved: events.CheckpointSaved) -> bool:
        """A checkpoint that has come meanwhile is newer, and best or milestone wherever this one is."""
        if "milestone" in saved.kinds:
            return False
        later = [event for event in self.pending if isinstance(event, events.CheckpointSaved)]
        return any("best" in event.kinds or "best" not in saved.kinds for event in later)

    def steer(self, trainer: TrainerProcess) -> None:
        """What is wished, and what is due: stop, or be killed."""
        limit = self.job.max_seconds
        if limit is not None and self.ending is None and self.hold.seconds_trained >= limit:
            self.past_deadline = True
        if self.hold.state == State.PAUSING or self.worker.stopping or self.past_deadline:
            if self.asked_at is None:
                self.asked_at = time.monotonic()
                trainer.ask_to_stop()
            elif time.monotonic() - self.asked_at > SAVE_PATIENCE:
                trainer.kill()

    # How it ends -----------------------------------------------------------------------------------------------------

    def conclude(self, status: int | None, *, killed_for_memory: bool) -> None:
        """Bring the job to where its attempt ended. Raises LeaseLost."""
        match self.ending:
            case events.Succeeded(result=result):
                self.end_as_succeeded(result)
            case events.Failed(code=code, sentence=sentence, detail=detail):
                self.end_as_failed(_reason(code), sentence, detail)
            case events.Stopped() if self.past_deadline:
                self.end_past_deadline()
            case events.Stopped():
                self.hand_back()
            case None if self.asked_at is not None and status is not None and status < 0:
                # It took too long to save: what was saved before stands.
                self.end_past_deadline() if self.past_deadline else self.hand_back()
            case None if status is not None and status < 0 and killed_for_memory:
                self.end_as_failed(
                    Reason.OUT_OF_MEMORY,
                    "The system killed the trainer because memory ran out; a smaller batch needs less.",
                )
            case None if status is None or status < 0:
                self.lose_trainer(status)
            case _:
                self.end_without_a_word(status)

    def finish_cancel(self) -> None:
        self.recorder.check = self.hold.check
        self.recorder.persist(lambda: lifecycle.finish_cancel(self.lease))
        logger.info("Job %s: cancelled", self.job.id)

    def end_as_succeeded(self, result: dict[str, object]) -> None:
        done = {"fraction": 1.0, "eta_seconds": 0.0}
        for name, key in (("epoch", "epochs"), ("step", "steps"), ("samples_per_second", "samples_per_second")):
            if key in result:
                done[name] = result[key]  # type: ignore[assignment]
        progress = {**self.recorder.progress, **done}
        result = {**result, "software": software()}
        self.recorder.persist(
            lambda: lifecycle.succeed(
                self.lease, finite(result), progress=finite(progress), seconds_trained=self.hold.seconds_trained
            )
        )
        logger.info("Job %s: succeeded", self.job.id)

    def end_as_failed(self, reason: Reason, sentence: str, detail: dict[str, object] | None = None) -> None:
        self.recorder.check = self.hold.check  # a wish to cancel is for `fail` to honour, under the lock
        self.recorder.persist(
            lambda: lifecycle.fail(
                self.lease, reason, sentence, detail=finite(detail or {}), seconds_trained=self.hold.seconds_trained
            )
        )
        logger.info("Job %s: failed (%s) %s", self.job.id, reason, sentence)

    def end_past_deadline(self) -> None:
        where = f"Its checkpoint at step {self.recorder.last_step:,} is kept." if self.recorder.last_step else ""
        sentence = f"It trained for {self.hold.seconds_trained:.1f} s, its limit (max_seconds). {where}".strip()
        self.end_as_failed(Reason.DEADLINE_EXCEEDED, sentence)

    def hand_back(self) -> None:
        self.recorder.check = self.hold.check
        job = self.recorder.persist(
            lambda: lifecycle.hand_back(
                self.lease, step=self.recorder.last_step, seconds_trained=self.hold.seconds_trained
            )
        )
        logger.info("Job %s: %s (%s)", self.job.id, job.state, job.reason)

    def lose_trainer(self, status: int | None) -> None:
        how = f"signal {-status}" if status is not None else "no exit status"
        self.recorder.check = self.hold.check
        self.recorder.persist(
            lambda: lifecycle.lose_trainer(
                self.lease, f"The trainer process was killed ({how})", seconds_trained=self.hold.seconds_trained
            )
        )
        logger.warning("Job %s: the trainer was killed (%s)", self.job.id, how)

    def end_without_a_word(self, status: int | None) -> None:
        tail = [line.decode(errors="replace").rstrip() for line in self.tail]
        last = next((line for line in reversed(tail) if line.strip()), "it printed nothing")
        sentence = f"The trainer ended with exit status {status} without saying why; its last line: {last}"
        self.end_as_failed(Reason.TRAINER_ERROR, sentence, {"exit_status": status, "log": tail})


def _reason(code: str) -> Reason:
    """A trainer's failure code as the reason of a transition."""
    return Reason(code) if code in _TRAINER_CODES else Reason.TRAINER_ERROR


_TRAINER_CODES = {
    Reason.DIVERGED,
    Reason.OUT_OF_MEMORY,
    Reason.DATASET_UNAVAILABLE,
    Reason.CHECKPOINT_UNUSABLE,
    Reason.STORAGE_FULL,
}
