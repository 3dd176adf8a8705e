"""Triggers and storage made from the table of transitions (service/jobs/schema.py)."""

from django.db import migrations

from service.jobs.schema import install_sql, remove_sql


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]

    operations = [migrations.RunSQL(install_sql(), remove_sql())]
