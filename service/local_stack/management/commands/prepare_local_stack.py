"""Brings the database up to date and makes the first account: the step before the API and workers start."""

import json
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from knox.models import get_token_model
from rest_framework.exceptions import AuthenticationFailed

from service.accounts.authentication import TokenAuthentication
from service.local_stack import folders

USERNAME = "admin"


class Command(BaseCommand):
    help = "Migrate, and write down how to come in; used by `up`."
    requires_system_checks = []  # they would import the URLconf, which takes a second

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", required=True, help="where the API will answer")
        parser.add_argument("--credentials", required=True, type=Path, help="the file to write")

    def handle(self, *, url: str, credentials: Path, **_: Any) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {str(error).splitlines()[0]}") from error
        known = folders.read_json(credentials)
        user, password = self._account(known.get("password"))
        token = known.get("token")
        if not _valid(token, user):
            _, token = get_token_model().objects.create(user=user, expiry=None)
        content = {"url": url, "username": user.get_username(), "password": password, "token": token}
        folders.write_private(credentials, json.dumps(content, indent=2) + "\n")

    def _account(self, password: str | None) -> tuple[AbstractUser, str | None]:
        """The first account and its password, None if somebody else set it; an existing one is left as it is."""
        users = get_user_model().objects
        user = users.filter(username=USERNAME).first()
        if user is None:
            password = password or secrets.token_urlsafe(18)
            return users.create_superuser(USERNAME, password=password), password
        if password is None or not user.check_password(password):
            self.stdout.write(
                f"The password of {USERNAME!r} was set elsewhere; `changepassword {USERNAME}` sets a new one."
            )
            return user, None
        return user, password


def _valid(token: str | None, user: AbstractUser) -> bool:
    if not token:
        return False
    try:
        owner, _ = TokenAuthentication().authenticate_credentials(token.encode())
    except AuthenticationFailed:
        return False
    return bool(owner == user)
