"""Who may see what: each user sees their own, staff sees all.

Job.objects.filter(visible_to(request.user))
"""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q


def visible_to(user: AbstractBaseUser | AnonymousUser, *, owner: str = "owner") -> Q:
    """A condition on rows that belong to users; `owner` is the look-up of their user, e.g. "job__owner"."""
    if not user.is_authenticated or not user.is_active:
        return Q(pk__in=())  # nothing
    if getattr(user, "is_staff", False):
        return Q()
    return Q(**{owner: user.pk})
