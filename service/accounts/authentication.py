"""`Authorization: Token …`: one look-up by the token's hash.

knox's own class reads all tokens of the user on every request and answers bytes that are not UTF-8 with a 500.
"""

from django.utils import timezone
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed


class TokenAuthentication(KnoxTokenAuthentication):
    """Who a token stands for; a wrong, revoked or expired one is refused in one sentence."""

    def authenticate_credentials(self, token: bytes) -> tuple[object, AuthToken]:
        try:
            digest = hash_token(token.decode("ascii"))
        except UnicodeDecodeError:
            raise AuthenticationFailed("The token holds characters that no token has.") from None
        found = AuthToken.objects.select_related("user").filter(digest=digest).first()
        if found is None:
            raise AuthenticationFailed("There is no such token, or it was revoked.")
        if found.expiry is not None and found.expiry <= timezone.now():
            raise AuthenticationFailed(f"The token expired at {found.expiry:%Y-%m-%d %H:%M} UTC; make a new one.")
        return self.validate_user(found)
