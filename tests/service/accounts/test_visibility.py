"""Who may see what: each user their own, staff all, strangers and the dismissed nothing."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from knox.models import AuthToken

from service.accounts.tokens import make_token
from service.accounts.visibility import visible_to


@pytest.fixture
def people(db: None) -> dict[str, User]:
    """Three users with a token each, which stands for whatever belongs to them."""
    made = {name: User.objects.create_user(name, is_staff=name == "staff") for name in ("alice", "bob", "staff")}
    for user in made.values():
        make_token(user)
    return made


def seen(user: object) -> set[str]:
    rows = AuthToken.objects.filter(visible_to(user, owner="user"))  # type: ignore[arg-type]
    return {token.user.username for token in rows}


def test_a_user_sees_their_own(people: dict[str, User]) -> None:
    assert seen(people["alice"]) == {"alice"}


def test_staff_sees_all(people: dict[str, User]) -> None:
    assert seen(people["staff"]) == {"alice", "bob", "staff"}


def test_strangers_and_the_dismissed_see_nothing(people: dict[str, User]) -> None:
    people["staff"].is_active = False
    assert seen(people["staff"]) == seen(AnonymousUser()) == set()
