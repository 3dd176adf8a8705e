"""The trigger that fills the outbox (service/webhooks/schema.py)."""

from django.db import migrations

from service.webhooks.schema import install_sql, remove_sql


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]

    operations = [migrations.RunSQL(install_sql(), remove_sql())]
