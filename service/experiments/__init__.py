"""Experiments: matrices of jobs that answer whether an algorithm beats backprop here.

request.py         what is asked for
matrix.py          every job of it, resolved, or every wrong part
workloads.py       short names for its networks
lifecycle.py       rows from a matrix; cancelling
presentation.py    state, progress, time left
collecting.py      rows → the comparison's plain data
reporting.py       the report in every format, and its figures
"""
