"""A user, a worker without Celery, and an experiment that it has trained."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from tests.service.jobs.conftest import bench, worker

__all__ = ["bench", "worker"]


@pytest.fixture
def user(db: None) -> Any:
    return get_user_model().objects.create_user("alice", password="not a secret")
