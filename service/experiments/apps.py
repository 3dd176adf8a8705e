"""The Django app of experiments."""

from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    name = "service.experiments"
    label = "experiments"
    verbose_name = "Experiments"

    def ready(self) -> None:
        """Hear of every move of a job, in whichever process it is made."""
        from service.experiments.hearing import hear
        from service.jobs.history import job_moved

        job_moved.connect(hear, dispatch_uid="service.experiments.hear")
