"""A small client for Altprop's HTTP API: it imports nothing of the service and nothing of torch."""

from client.api import Client, Problem

__all__ = ["Client", "Problem"]
