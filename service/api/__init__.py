"""The HTTP API under /api/v1: one file a resource, its query, answer's shape and view together."""
