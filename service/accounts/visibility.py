"""Who may see what: each user sees their own, staff sees all.

Job.objects.filter(visible_to(request.user))
"""

from typing import Self, TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models
from django.db.models import Q

Row = TypeVar("Row", bound=models.Model)


def visible_to(user: AbstractBaseUser | AnonymousUser, *, owner: str = "owner") -> Q:
    """A condition on rows that belong to users; `owner` is the look-up of their user, e.g. "job__owner"."""
    if not user.is_authenticated or not user.is_active:
        return Q(pk__in=())  # nothing
    if getattr(user, "is_staff", False):
        return Q()
    return Q(**{owner: user.pk})


class OwnedQuerySet(models.QuerySet[Row]):
    """Rows that belong to users, by way of `owner`."""

    owner = "owner"

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Each user's own; all for staff."""
        return self.filter(visible_to(user, owner=self.owner))
