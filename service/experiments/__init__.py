"""Experiments: jobs that together answer whether an algorithm beats backprop here.

request.py, rules.py       what is asked for: a matrix or a list of jobs, and rules fixed beforehand
arms.py, drafts.py         its arms and jobs, before they are resolved
planning.py                every job of it, resolved, or every wrong part (request_checks.py)
trials.py                  the search for hyperparameters, over the spaces of search_spaces.py
workloads.py               short names for its networks
models.py                  its row, and the place of each of its jobs
lifecycle.py               rows from a plan; adding seeds; cancelling, pausing
hearing.py, tasks.py       told when a job ends → the maintenance worker
follow_ups.py              what follows then: tuning.py, adaptive.py, early_stop.py, budget.py
presentation.py            state, phase, progress, time left
collecting.py              rows → the comparison's plain data, with where they come from (provenance.py)
reporting.py               the report in every format, and its figures; second_table.py of a tuned one
rerun.py, bundle.py        an experiment once more, here or anywhere
side_by_side.py            any jobs next to each other
"""
