"""Tokens of a user: made, listed, revoked. Only a hash is stored; the token itself is shown once, when it is made."""

from datetime import timedelta

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q, QuerySet
from django.utils import timezone
from knox.models import AuthToken
from knox.settings import knox_settings

LONGEST_DAYS = 3650


def make_token(user: AbstractBaseUser, *, days: int | None = None) -> tuple[AuthToken, str]:
    """A new token and its text; `days` None takes the service's usual lifetime. Expired ones of the user go."""
    AuthToken.objects.filter(user=user, expiry__lte=timezone.now()).delete()
    lifetime = timedelta(days=days) if days is not None else knox_settings.TOKEN_TTL
    made, text = AuthToken.objects.create(user=user, expiry=lifetime)
    return made, text


def valid_tokens(user: AbstractBaseUser) -> "QuerySet[AuthToken]":
    """The user's tokens that still open the service, newest first."""
    alive = Q(expiry__isnull=True) | Q(expiry__gt=timezone.now())
    return AuthToken.objects.filter(alive, user=user).order_by("-created", "token_key")


def revoke_token(user: AbstractBaseUser, key: str) -> bool:
    """Whether there was such a token of this user; it opens nothing from now on."""
    deleted, _ = AuthToken.objects.filter(user=user, token_key=key).delete()
    return deleted > 0
