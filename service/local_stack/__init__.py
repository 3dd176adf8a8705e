"""Everything that the service needs, on one machine, without installing a server.

`stack.py` is the story: PostgreSQL and a Redis-protocol server from their wheels, then the API,
the workers and beat, each watched and started again when it dies. `manage.py up` runs it in the
foreground; tests start only the two servers (`postgres.py`, `redis.py`). Nothing outside this
package knows whether the servers behind DATABASE_URL and REDIS_URL are these or someone else's.
"""
