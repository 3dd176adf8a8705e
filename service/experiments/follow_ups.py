"""What follows when jobs of an experiment have ended: the next phase, more seeds, an end.

`advance_all` is called by the maintenance worker (tasks.py), as often as one likes: each experiment is taken in one
transaction that begins with its row's lock, looks at its jobs, and writes what follows from them. Two workers at once
take different experiments, and one that is killed half-way has changed nothing.
"""

import logging
from uuid import UUID

from django.db import OperationalError, transaction
from django.db.models.functions import Now

from service.experiments import adaptive, budget, early_stop, tuning
from service.experiments.lifecycle import asked_for
from service.experiments.models import Experiment, Phase
from service.experiments.request import ExperimentRequest
from service.jobs.states import TERMINAL, State

logger = logging.getLogger(__name__)


def advance_all() -> int:
    """Every experiment whose rules may have something to do; returns how many were looked at."""
    looked_at = 0
    for id in Experiment.objects.unsettled().order_by("id").values_list("pk", flat=True):
        try:
            looked_at += advance(id)
        except OperationalError:
            raise  # the database is away: for all of them
        except Exception:
            logger.exception("experiment %s cannot be taken further", id)  # the others can
    return looked_at


@transaction.atomic
def advance(id: UUID) -> bool:
    """One experiment as far as it goes now; False where somebody else holds it, or it is settled."""
    # Its cells, which may be large, are read only where jobs are made from them.
    rows = Experiment.objects.unsettled().defer("cells").select_for_update(no_key=True, skip_locked=True)
    experiment = rows.filter(pk=id).first()
    if experiment is None:
        return False
    asked = asked_for(experiment)
    _enforce(experiment, asked)
    if not _is_over(experiment, asked):
        return True
    Experiment.objects.filter(pk=id).update(settled_at=Now())
    return True


def _enforce(experiment: Experiment, asked: ExperimentRequest) -> None:
    """The rules that end jobs."""
    if asked.budget is not None and asked.budget.seconds is not None:
        budget.enforce(experiment, asked.budget.seconds)
    if asked.tune is not None and asked.tune.seconds is not None and experiment.phase == Phase.TUNING:
        budget.enforce_tuning(experiment, asked.tune.seconds)
    if asked.early_stop is not None:
        early_stop.enforce(experiment, asked.early_stop)


def _is_over(experiment: Experiment, asked: ExperimentRequest) -> bool:
    """Whether nothing follows any more; what does follow is begun."""
    if experiment.phase == Phase.TUNING:
        if _is_open(experiment, tuning=True):
            return False
        if experiment.tuning is None:
            tuning.choose(experiment)
        if experiment.stopped is None:
            if not _is_paused(experiment):
                tuning.begin_main(experiment)
            return False
    if _is_open(experiment, tuning=False):
        return False
    if asked.adaptive_seeds is not None and experiment.stopped is None:
        return not adaptive.look(experiment, asked.adaptive_seeds)
    return True


def _is_paused(experiment: Experiment) -> bool:
    """Its owner has paused it: nothing begins until they resume it."""
    return experiment.jobs.filter(state__in=(State.PAUSED, State.PAUSING)).exists()


def _is_open(experiment: Experiment, *, tuning: bool) -> bool:
    """Whether a job of the search, or of the comparison, has not ended."""
    places = experiment.places.exclude(job__state__in=TERMINAL)
    return (places.filter if tuning else places.exclude)(phase=Phase.TUNING).exists()
