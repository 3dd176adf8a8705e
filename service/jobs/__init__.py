"""The job engine: jobs in Postgres, claimed by workers, trained in processes of their own.

states → models → lifecycle (every change of state) → queue (claim, lease, fence)
supervisor: one attempt of one job, from claim to its end
dispatch, reaper, retention: what the maintenance worker does now and then
presentation: a job as the API and the panel show it
"""
