"""`/tokens` and `/me`: a user's own tokens, made, listed and revoked over HTTP."""

import pytest

from tests.service.api.conftest import Person


def test_a_new_token_opens_the_service_until_it_is_revoked(alice: Person) -> None:
    answer = alice.post("tokens", {"days": 2})
    assert answer.status_code == 201
    made = answer.json()
    other = Person(alice.user, made["token"])
    assert other.get("me").json()["token_expires_at"] == made["expires_at"]
    assert alice.send("DELETE", answer.headers["Location"]).status_code == 204
    assert other.get("me").status_code == 401
    assert alice.send("DELETE", answer.headers["Location"]).status_code == 404


def test_a_list_shows_no_token_itself(alice: Person, bob: Person) -> None:
    text = alice.post("tokens").json()["token"]
    answer = alice.get("tokens")
    assert text not in answer.content.decode()
    assert [token["current"] for token in answer.json()["results"]] == [False, True]


def test_tokens_of_others_cannot_be_revoked(alice: Person, bob: Person) -> None:
    (theirs,) = bob.get("tokens").json()["results"]
    assert alice.send("DELETE", f"tokens/{theirs['key']}").status_code == 404
    assert bob.get("me").status_code == 200


@pytest.mark.parametrize("days", [0, -1, 3651, True, "5", 1.5])
def test_a_lifetime_that_makes_no_sense_is_refused(alice: Person, days: object) -> None:
    answer = alice.post("tokens", {"days": days})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/days")


def test_me_is_the_user_of_the_token(alice: Person, staff: Person) -> None:
    assert alice.get("me").json()["username"] == "alice"
    assert (alice.get("me").json()["is_staff"], staff.get("me").json()["is_staff"]) == (False, True)
