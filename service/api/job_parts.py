"""What hangs on a job and is read through it: `/jobs/{id}/events`, `/logs`, `/metrics` and so on share this."""

from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import Http404

from service.accounts.visibility import visible_to
from service.api.base import ApiView
from service.jobs.models import Job

User = AbstractBaseUser | AnonymousUser


def find_job(user: User, id: str) -> Job:
    """The user's job of that id; somebody else's is as unknown as none. Raises Http404."""
    job = Job.objects.filter(visible_to(user), pk=parsed_id(id, "job")).first()
    if job is None:
        raise Http404(f"There is no job {id} that you may see.")
    return job


def parsed_id(text: str, what: str) -> UUID:
    """An id of the URL. Raises Http404 for one that no row can have."""
    try:
        return UUID(text)
    except ValueError:
        raise Http404(f"There is no {what} {text[:80]!r}: ids are UUIDs.") from None


class JobPart(ApiView):
    """Base of the views of one part of one job."""

    def job(self) -> Job:
        """The job of this address."""
        return find_job(self.request.user, self.kwargs["id"])
