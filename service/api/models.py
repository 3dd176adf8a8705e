"""Answers that are given again when a client repeats a request under the same Idempotency-Key."""

from django.conf import settings
from django.db import models


class RepeatableAnswer(models.Model):
    """What was answered to a user's request with this key; in one transaction with what the request made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of address and body, to tell a repetition")
    status = models.PositiveSmallIntegerField(default=0)
    location = models.TextField(default="")
    body = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_answer_per_key")]
        indexes = [models.Index(fields=["user", "created_at"], name="answers_by_age")]

    def __str__(self) -> str:
        return self.key
