"""What webhooks refuse, typed; `sentence` is for people."""


class WebhookError(Exception):
    """Base of the errors below."""

    @property
    def sentence(self) -> str:
        return str(self)


class AddressRefused(WebhookError):
    """Messages are not sent to this address."""


class EndpointDisabled(WebhookError):
    """Nothing is sent to it until its owner enables it. (409)"""


class TooManyEndpoints(WebhookError):
    """Its owner has as many as one may have. (409)"""
