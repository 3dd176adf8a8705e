"""A staff user logged in, and jobs of two owners."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from service.jobs import lifecycle
from service.jobs.models import Job
from tests.service.servers import database_url, django_db_setup, redis_server
from trainers.resolve import resolve

__all__ = ["database_url", "django_db_setup", "redis_server"]


@pytest.fixture
def staff(db: None) -> Any:
    return get_user_model().objects.create_user("olga", password="not a secret", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(client: Client, staff: Any) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def job(staff: Any) -> Job:
    spec = {"algorithm": "backprop", "dataset": "digits", "training": {"epochs": 3, "seed": 1}}
    return lifecycle.create_job(staff, resolve(spec), name="<b>first</b> job")
