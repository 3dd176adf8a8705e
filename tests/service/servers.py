"""A real PostgreSQL and a real Redis for the tests of the service, one of each per pytest-xdist worker.

Imported by the conftest.py of each folder whose tests need it; however many do, a process has one of each server.
Both start when a test first needs them, and migrations run once. Tests use pytest-django's `db` (each test in a
transaction that is rolled back) or `transactional_db` (committed, tables emptied afterwards) as usual; with the
fixture `redis_server` Celery's messages reach a broker. Nothing of this stands in `os.environ`, so that programs
started by a test get an address only when the test gives it to them (`service_environment`).
"""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from service.local_stack.postgres import start_postgres
from service.local_stack.redis import start_redis

PLACEHOLDERS = {
    # Not left in os.environ either: a pytest-xdist worker that inherits it would read the settings before this is run.
    "DJANGO_SETTINGS_MODULE": "service.settings",
    # Port 1 refuses at once: what runs without the fixtures fails quickly instead of finding somebody's server.
    "DATABASE_URL": "postgresql://altprop@127.0.0.1:1/altprop",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "SECRET_KEY": "for tests only, fifty characters and more, not a secret",
    "ALTPROP_LEASE_SECONDS": "3",
    "ALTPROP_HEARTBEAT_SECONDS": "0.3",
    "ALTPROP_WISHES_SECONDS": "0.1",
    "ALTPROP_REAPER_SECONDS": "0.5",
    "ALTPROP_DISPATCH_SECONDS": "0.5",
}


def _set_up_django() -> None:
    """Settings read the environment once, at import; afterwards it is as it was."""
    before = dict(os.environ)
    os.environ.update(PLACEHOLDERS)
    try:
        import django
        from django.conf import settings

        django.setup()
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one is slow by design
    finally:
        os.environ.clear()
        os.environ.update(before)


_set_up_django()


@functools.cache
def _server_folder() -> Path:
    """Short-lived, and open to the account that PostgreSQL runs as when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="altprop-tests-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _database() -> str:
    """Start PostgreSQL, point Django's connections at it, migrate."""
    import environ
    from django.core.management import call_command
    from django.db import connections

    server = start_postgres(_server_folder() / "postgres", durable=False)
    atexit.register(server.stop)
    settings = connections.settings["default"]
    parsed = environ.Env.db_url_config(server.url)
    settings.update({key: parsed[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")})
    settings["CONN_MAX_AGE"] = None
    settings["TEST"]["NAME"] = settings["NAME"]
    call_command("migrate", verbosity=0)
    return server.url


@functools.cache
def _redis() -> str:
    """Start the broker, and have Celery's messages go to it."""
    from service.celery import app

    server = start_redis(_server_folder() / "redis")
    atexit.register(server.stop)
    app.conf.broker_url = server.url
    app._after_fork()  # lets go of the pool made for the address before; closing that one would leave it closed
    return server.url


@pytest.fixture(scope="session")
def database_url(django_db_blocker: Any) -> str:
    """Address of a migrated database; Django's own connection points there too."""
    with django_db_blocker.unblock():
        return _database()


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, database_url: str) -> None:
    """In place of pytest-django's: the whole server is ours, so its database needs no twin for tests."""


@pytest.fixture(scope="session")
def redis_server() -> str:
    """Address of a broker that Celery's messages go to from now on."""
    return _redis()


@pytest.fixture(scope="session")
def service_environment(database_url: str, redis_server: str) -> dict[str, str]:
    """Environment for programs of the service that a test starts."""
    return {
        **os.environ,
        **PLACEHOLDERS,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_server,
        "CELERY_SKIP_CHECKS": "1",
        "OMP_NUM_THREADS": "1",
    }
