"""Seconds of training that an experiment, or its search, may take: what has not begun once they are spent never does.

What trains goes on to its end, so that the last runs are whole; they may take the experiment past its budget.
"""

from collections.abc import Iterable

from django.db.models import Sum

from service.experiments.models import Experiment, Phase, Place
from service.jobs import lifecycle
from service.jobs.states import State


def spent(experiment: Experiment, *, tuning: bool = False) -> float:
    """Seconds of training so far, over all jobs and attempts; or those of the search alone."""
    places = experiment.places.filter(phase=Phase.TUNING) if tuning else experiment.places
    return float(places.aggregate(seconds=Sum("job__seconds_trained"))["seconds"] or 0.0)


def enforce(experiment: Experiment, seconds: float) -> None:
    """Once the budget is spent, cancel what has not begun, and say why."""
    used = spent(experiment)
    if used < seconds:
        return
    sentence = f"The budget of {seconds:g} s of training is spent."
    cancelled = _cancel_unbegun(experiment.places.all(), "budget", sentence)
    if experiment.stopped is None:
        experiment.stopped = {"rule": "budget", "sentence": sentence, "seconds": seconds, "jobs": 0}
    experiment.stopped = {
        **experiment.stopped,
        "seconds_trained": round(used, 3),
        "jobs": experiment.stopped["jobs"] + cancelled,
    }
    experiment.save(update_fields=["stopped"])


def enforce_tuning(experiment: Experiment, seconds: float) -> None:
    """Once the search has taken so long, cancel its trials that have not begun."""
    if spent(experiment, tuning=True) >= seconds:
        sentence = f"The {seconds:g} s of training for tuning are spent."
        _cancel_unbegun(experiment.places.filter(phase=Phase.TUNING), "tuning budget", sentence)


def _cancel_unbegun(places: Iterable[Place], rule: str, sentence: str) -> int:
    waiting = Place.objects.filter(
        pk__in=[place.pk for place in places], job__attempt=0, job__state__in=(State.QUEUED, State.PAUSED)
    )
    cancelled = 0
    for place in waiting.select_related("job"):
        job = type(place.job).objects.select_for_update(no_key=True).get(pk=place.pk)
        if job.attempt == 0 and job.state in (State.QUEUED, State.PAUSED):  # unless a worker has just claimed it
            lifecycle.request_cancel(job, by=f"experiment, {rule}")
            Place.objects.filter(pk=place.pk).update(stopped={"rule": rule, "sentence": sentence})
            cancelled += 1
    return cancelled
