"""Which checkpoints stay: best, last and milestones; of a job that is not done also the one before the last.

That one is what a job falls back to if the bytes of its last are damaged.
"""

from django.db import connection, transaction

from service.jobs.states import TERMINAL


def retain() -> int:
    """Remove all others; returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            WITH loose AS (
                SELECT checkpoint.id, job.state,
                       (SELECT count(*) FROM jobs_checkpoint AS newer
                        WHERE newer.job_id = job.id AND newer.published_at > checkpoint.published_at) AS newer
                FROM jobs_checkpoint AS checkpoint JOIN jobs_job AS job ON job.id = checkpoint.job_id
                WHERE checkpoint.published_at IS NOT NULL AND checkpoint.kinds = '{}'
                  AND NOT EXISTS (SELECT FROM jobs_job AS heir WHERE heir.start_from_checkpoint_id = checkpoint.id
                                  AND heir.state <> ALL(%(terminal)s))
            ), doomed AS (
                SELECT id FROM loose WHERE state = ANY(%(terminal)s) OR newer >= 2
            ), freed AS (
                UPDATE jobs_job SET start_from_checkpoint_id = NULL
                WHERE start_from_checkpoint_id IN (SELECT id FROM doomed)
            ), emptied AS (
                DELETE FROM jobs_checkpointchunk WHERE checkpoint_id IN (SELECT id FROM doomed)
            )
            SELECT id FROM doomed
            """,
            {"terminal": [state.value for state in TERMINAL]},
        )
        doomed = [row[0] for row in cursor.fetchall()]
        cursor.execute("DELETE FROM jobs_checkpoint WHERE id = ANY(%s)", [doomed])
    return len(doomed)
