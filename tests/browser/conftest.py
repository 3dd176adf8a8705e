"""Pages in a real browser. Where the machine has no Chromium these tests are left out, and it is said how many."""

from pathlib import Path

import pytest

from tests.browser.chromium import path_of_chromium
from tests.service.servers import database_url, django_db_setup, redis_server

__all__ = ["database_url", "django_db_setup", "redis_server"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`apt install chromium`, or ALTPROP_CHROMIUM with the path of one, brings them back."""
    if path_of_chromium() is not None:
        return
    here = Path(__file__).parent
    left_out = [item for item in items if here in item.path.parents]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
