"""Best so far, target and patience: what decides which checkpoint is `best` and when a run ends early.

All of it is state of the run: a resumed run must stop where the unbroken one does.
"""

from typing import Any

from trainers.spec import Training


class Scores:
    """Follows `training.target_metric` over the epochs. The validation split decides; test is only reported."""

    def __init__(self, training: Training) -> None:
        self.metric, self.target, self.patience = training.target_metric, training.target_value, training.patience
        self.higher_is_better = training.target_metric.endswith("accuracy")
        self.best: dict[str, Any] = {}
        self.reached: dict[str, Any] = {}
        self.followed: float | None = None  # the best of all epochs, checkpointed or not: for patience
        self.waited = 0
        self.stop_reason: str | None = None

    @property
    def should_stop(self) -> bool:
        return self.stop_reason is not None

    def add(self, values: dict[str, float], *, epoch: int, step: int, seconds: float) -> None:
        """An epoch's values."""
        self.see(values, epoch=epoch, step=step, seconds=seconds)
        value = values.get(self.metric)
        if value is None:
            return
        if self.reached:
            self.stop_reason = "target"
            return
        if self._is_better(value, self.followed):
            self.followed, self.waited = value, 0
        else:
            self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            self.stop_reason = "patience"

    def see(self, values: dict[str, float], *, epoch: int, step: int, seconds: float) -> None:
        """Values measured at any step: the first to reach the target is noted."""
        value = values.get(self.metric)
        if self.target is None or value is None or self.reached:
            return
        if value == self.target or self._is_better(value, self.target):
            self.reached = {"epoch": epoch, "step": step, "seconds": seconds, self.metric: value}

    def is_best_now(self, values: dict[str, float], *, epoch: int, step: int) -> bool:
        """Called for epochs that are checkpointed: `best` is chosen among them."""
        value = values.get(self.metric)
        if value is None or not self._is_better(value, self.best.get(self.metric)):
            return False
        self.best = {"epoch": epoch, "step": step, **values}
        return True

    def summary(self) -> dict[str, Any]:
        """For the result: `best`, and `target` with what was reached when."""
        target = None
        if self.target is not None:
            target = {"metric": self.metric, "value": self.target, "reached": self.reached or None}
        return {"best": self.best or None, "target": target, "stopped_early": self.stop_reason}

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": dict(self.best),
            "reached": dict(self.reached),
            "followed": self.followed,
            "waited": self.waited,
            "stop_reason": self.stop_reason,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.reached = dict(state["best"]), dict(state["reached"])
        self.followed = state["followed"]
        self.waited, self.stop_reason = state["waited"], state["stop_reason"]

    def _is_better(self, value: float, than: float | None) -> bool:
        if than is None:
            return True
        return value > than if self.higher_is_better else value < than
