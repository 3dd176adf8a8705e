"""A real PostgreSQL and a real Redis for the tests of the service: servers.py."""

from tests.service.servers import database_url, django_db_setup, redis_server, service_environment

__all__ = ["database_url", "django_db_setup", "redis_server", "service_environment"]
