"""Tokens: what opens the service, for how long, and what no longer does."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from service.accounts.authentication import TokenAuthentication
from service.accounts.tokens import make_token, revoke_token, valid_tokens


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice")


def owner_of(text: str) -> str:
    user, _ = TokenAuthentication().authenticate_credentials(text.encode("latin-1"))
    return str(user)


def test_a_token_stands_for_its_user_and_only_its_hash_is_stored(alice: User) -> None:
    made, text = make_token(alice)
    assert owner_of(text) == "alice"
    assert text not in {made.digest, made.token_key}
    assert text.startswith(made.token_key)


@pytest.mark.parametrize("days", [1, 3650])
def test_a_token_lives_as_long_as_it_was_made_for(alice: User, days: int) -> None:
    made, _ = make_token(alice, days=days)
    assert abs(made.expiry - timezone.now() - timedelta(days=days)) < timedelta(minutes=1)


def test_by_default_a_token_outlives_a_long_experiment(alice: User) -> None:
    made, _ = make_token(alice)
    assert made.expiry is None or made.expiry > timezone.now() + timedelta(days=30)


def test_an_expired_token_opens_nothing_and_is_cleared_away(alice: User) -> None:
    _, text = make_token(alice, days=1)
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    with pytest.raises(AuthenticationFailed, match="expired at"):
        owner_of(text)
    assert not valid_tokens(alice).exists()
    make_token(alice)
    assert AuthToken.objects.count() == 1


def test_a_revoked_token_opens_nothing(alice: User) -> None:
    made, text = make_token(alice)
    assert revoke_token(alice, made.token_key)
    assert not revoke_token(alice, made.token_key)
    with pytest.raises(AuthenticationFailed, match="no such token"):
        owner_of(text)


def test_a_dismissed_user_is_not_let_in(alice: User) -> None:
    _, text = make_token(alice)
    User.objects.update(is_active=False)
    with pytest.raises(AuthenticationFailed, match="inactive"):
        owner_of(text)


@pytest.mark.parametrize("text", ["", "x", "\xff\xfe", "a" * 100_000])
def test_what_is_no_token_is_refused(alice: User, text: str) -> None:
    with pytest.raises(AuthenticationFailed):
        owner_of(text)


def test_one_look_up_is_enough(alice: User, django_assert_num_queries: object) -> None:
    text = [make_token(alice)[1] for _ in range(5)][-1]
    with django_assert_num_queries(1):  # type: ignore[operator]
        owner_of(text)
