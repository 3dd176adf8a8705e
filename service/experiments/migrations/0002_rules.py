"""Rules of an experiment, and the place of each of its jobs; experiments from before get both from their jobs."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

PHASES = [("tuning", "Tuning"), ("main", "Main"), ("extra_seeds", "Extra Seeds")]


def place_jobs(apps: Any, schema_editor: Any) -> None:
    """Until now every arm was an algorithm and every job belonged to the comparison."""
    Experiment, Place = apps.get_model("experiments", "Experiment"), apps.get_model("experiments", "Place")
    Job = apps.get_model("jobs", "Job")
    for experiment in Experiment.objects.all():
        cells: dict[tuple[str, int], Any] = {}
        places = []
        known = [(each["dataset"], each["network"]) for each in experiment.workloads]
        for job in Job.objects.filter(experiment=experiment.pk).order_by("id"):
            if (job.dataset, job.spec["network"]) not in known:
                continue
            workload = known.index((job.dataset, job.spec["network"]))
            open_parts = {name: experiment.request["training"].get(name) for name in ("device", "threads")}
            spec = {**job.spec, "training": {**job.spec["training"], **open_parts, "seed": 0}}
            cells.setdefault((job.algorithm, workload), spec)
            seed = job.spec["training"]["seed"]
            places.append(
                Place(job=job, experiment=experiment, phase="main", arm=job.algorithm, workload=workload, seed=seed)
            )
        experiment.cells = [{"arm": arm, "workload": workload, "spec": spec} for (arm, workload), spec in cells.items()]
        experiment.arms = [{"name": arm, "algorithm": arm} for arm in dict.fromkeys(arm for arm, _ in cells)]
        experiment.settled_at = Now()
        experiment.save(update_fields=["arms", "cells", "settled_at"])
        Place.objects.bulk_create(places)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_guards"), ("experiments", "0001_initial")]

    operations = [
        migrations.AddField("experiment", "arms", models.JSONField(default=list)),
        migrations.AddField("experiment", "cells", models.JSONField(default=list)),
        migrations.AddField("experiment", "phase", models.CharField(choices=PHASES, default="main", max_length=12)),
        migrations.AddField("experiment", "tuning", models.JSONField(blank=True, null=True)),
        migrations.AddField("experiment", "looks", models.JSONField(default=list)),
        migrations.AddField("experiment", "stopped", models.JSONField(blank=True, null=True)),
        migrations.AddField("experiment", "settled_at", models.DateTimeField(blank=True, null=True)),
        migrations.CreateModel(
            name="Place",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="place",
                        serialize=False,
                        to="jobs.job",
                    ),
                ),
                ("phase", models.CharField(choices=PHASES, max_length=12)),
                ("arm", models.TextField()),
                ("workload", models.PositiveSmallIntegerField()),
                ("seed", models.BigIntegerField()),
                ("tuned", models.BooleanField(default=False)),
                ("trial", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("stopped", models.JSONField(blank=True, null=True)),
                (
                    "experiment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="places",
                        to="experiments.experiment",
                    ),
                ),
            ],
            options={"ordering": ["job"]},
        ),
        migrations.RunPython(place_jobs, migrations.RunPython.noop),
        migrations.AddIndex(
            "experiment",
            models.Index(
                models.F("id"),
                name="experiments_unsettled",
                condition=models.Q(("settled_at__isnull", True)),
            ),
        ),
    ]
