"""Webhooks: every move of a job, posted to whoever asked for it; signed, and at least once.

models, schema    the outbox: a trigger writes a row in the transaction that moves the job
outbox            the doorbell after the commit, messages for trial, messages sent again
delivery          claims what is due, writes down what came of it; sending, addresses: how and where to one is posted
endpoints         made, changed, given new secrets
retention         what is old is removed
"""
