"""What the database itself refuses, as SQL made from the table of transitions.

A migration installs it; when the table changes, a new migration runs `install_sql()` again (a test compares).
"""

from service.jobs.states import TRANSITIONS, State

WRONG_MOVE = "AL001"
"""SQLSTATE of the refusal, of a class that PostgreSQL does not use."""

CHANNEL = "altprop_jobs"
"""LISTEN here: {"job", "type", and "event" (its row) or "data" (said once, kept nowhere)}."""


def guard_body() -> str:
    """PL/pgSQL of the trigger that guards every change of a job's state and numbers."""
    pairs = ", ".join(f"('{a.value}', '{b.value}')" for a, targets in TRANSITIONS.items() for b in targets)
    return f"""
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> '{State.QUEUED.value}' THEN
            RAISE EXCEPTION 'a job begins as queued, not as %', NEW.state USING ERRCODE = '{WRONG_MOVE}';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state IS DISTINCT FROM OLD.state AND (OLD.state, NEW.state) NOT IN ({pairs}) THEN
        RAISE EXCEPTION 'a job does not move from % to %', OLD.state, NEW.state USING ERRCODE = '{WRONG_MOVE}';
    END IF;
    IF NEW.attempt < OLD.attempt OR NEW.failures < OLD.failures THEN
        RAISE EXCEPTION 'attempt and failures of a job only grow' USING ERRCODE = '{WRONG_MOVE}';
    END IF;
    RETURN NEW;
END
"""


def install_sql() -> str:
    """Functions and triggers; safe to run again."""
    return f"""
CREATE OR REPLACE FUNCTION jobs_guard_job() RETURNS trigger LANGUAGE plpgsql AS $body${guard_body()}$body$;
CREATE OR REPLACE TRIGGER jobs_guard_job BEFORE INSERT OR UPDATE OF state, attempt, failures ON jobs_job
    FOR EACH ROW EXECUTE FUNCTION jobs_guard_job();

CREATE OR REPLACE FUNCTION jobs_keep_history() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'the history of a job is only added to' USING ERRCODE = '{WRONG_MOVE}';
END
$body$;
CREATE OR REPLACE TRIGGER jobs_keep_history BEFORE UPDATE ON jobs_transition
    FOR EACH ROW EXECUTE FUNCTION jobs_keep_history();

CREATE OR REPLACE FUNCTION jobs_announce_event() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM pg_notify('{CHANNEL}',
                      json_build_object('job', NEW.job_id, 'event', NEW.id, 'type', NEW.type)::text);
    RETURN NULL;
END
$body$;
CREATE OR REPLACE TRIGGER jobs_announce_event AFTER INSERT ON jobs_event
    FOR EACH ROW EXECUTE FUNCTION jobs_announce_event();

-- Stored as they are: a checkpoint does not compress, and trying costs more than writing.
ALTER TABLE jobs_checkpointchunk ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE jobs_artefact ALTER COLUMN content SET STORAGE EXTERNAL;
-- A job's row is rewritten every few seconds while it trains: room for that on its own page.
ALTER TABLE jobs_job SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
"""


def remove_sql() -> str:
    """The inverse of `install_sql`."""
    return """
DROP TRIGGER jobs_guard_job ON jobs_job;
DROP TRIGGER jobs_keep_history ON jobs_transition;
DROP TRIGGER jobs_announce_event ON jobs_event;
DROP FUNCTION jobs_guard_job(), jobs_keep_history(), jobs_announce_event();
"""
