"""A small client for Altprop's HTTP API: it imports nothing of the service and nothing of torch."""

from client.api import Client
from client.comparisons import compare_jobs
from client.problem import Problem

__all__ = ["Client", "Problem", "compare_jobs"]
