"""A small client for Altprop's HTTP API: it imports nothing of the service and nothing of torch."""

from client.api import Client, Problem
from client.comparisons import compare_jobs

__all__ = ["Client", "Problem", "compare_jobs"]
