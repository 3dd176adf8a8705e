"""The outbox is filled by the database itself: whatever adds to a job's history, the claim's SQL included, adds to it.

A row for each endpoint that wants this move and whose owner may see the job (service.accounts.visibility; a test holds
the two together), in the transaction that makes the move: both are committed, or neither.
"""

# PostgreSQL has uuidv7() only from 18 on: 48 bits of milliseconds over a random one, with the version's bits set.
_UUID7 = """encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
        substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1),
        53, 1), 'hex')::uuid"""


def queue_body() -> str:
    """PL/pgSQL of the trigger on `jobs_transition`."""
    # FOR KEY SHARE: an endpoint that is being deleted is passed over, and one found here is not deleted before we
    # commit; otherwise its owner, deleting it at that moment, would undo the move of a job.
    return f"""
DECLARE
    moment timestamptz := clock_timestamp();  -- not now(): several moves of one transaction keep their order
BEGIN
    IF NOT EXISTS (SELECT FROM webhooks_webhookendpoint WHERE enabled) THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhooks_webhookdelivery
        (id, endpoint_id, transition_id, job, type, payload, attempts, sentence, queued_at, due_since, next_attempt_at)
    SELECT {_UUID7}, endpoint.id, NEW.id, NEW.job_id, 'job.' || NEW.target,
        jsonb_build_object(
            'type', 'job.' || NEW.target,
            'timestamp', to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', jsonb_build_object(
                'id', NEW.job_id,
                'url', endpoint.service_url || 'api/v1/jobs/' || NEW.job_id,
                'state', NEW.target,
                'origin', NEW.origin,
                'reason', NEW.reason,
                'sentence', NEW.sentence,
                'attempt', NEW.attempt,
                'by', NEW."by",  -- a word of PL/pgSQL
                'name', job.name,
                'tags', to_jsonb(job.tags),
                'algorithm', job.algorithm,
                'dataset', job.dataset,
                'experiment', job.experiment,
                'owner', owner.username,
                'result', job.result)),
        0, '', moment, moment, moment
    FROM jobs_job AS job
    JOIN auth_user AS owner ON owner.id = job.owner_id
    JOIN webhooks_webhookendpoint AS endpoint
        ON endpoint.enabled AND (endpoint.events IS NULL OR 'job.' || NEW.target = ANY (endpoint.events))
    JOIN auth_user AS reader
        ON reader.id = endpoint.owner_id AND reader.is_active AND (reader.is_staff OR reader.id = job.owner_id)
    WHERE job.id = NEW.job_id
    FOR KEY SHARE OF endpoint SKIP LOCKED;
    RETURN NULL;
END
"""


def install_sql() -> str:
    """Function and trigger; safe to run again."""
    return f"""
CREATE OR REPLACE FUNCTION webhooks_queue_deliveries() RETURNS trigger LANGUAGE plpgsql AS $body${queue_body()}$body$;
CREATE OR REPLACE TRIGGER webhooks_queue_deliveries AFTER INSERT ON jobs_transition
    FOR EACH ROW EXECUTE FUNCTION webhooks_queue_deliveries();
"""


def remove_sql() -> str:
    """The inverse of `install_sql`."""
    return """
DROP TRIGGER webhooks_queue_deliveries ON jobs_transition;
DROP FUNCTION webhooks_queue_deliveries();
"""
