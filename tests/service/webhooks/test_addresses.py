"""Which addresses messages may go to, and what is asked of the one that is called."""

import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.webhooks import sending
from service.webhooks.addresses import may_be_called, parse_url
from service.webhooks.delivery import deliver
from service.webhooks.errors import AddressRefused
from service.webhooks.models import WebhookEndpoint
from tests.service.webhooks.receiver import Receiver

CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""For tests alone, with its key."""


@pytest.fixture
def _public_only(settings: Any) -> None:
    settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE = False


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_may_be_called_only_where_that_is_allowed(address: str, settings: Any) -> None:
    parsed = ipaddress.ip_address(address)
    assert may_be_called(parsed)
    settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE = False
    assert not may_be_called(parsed)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefused, match="ALTPROP_WEBHOOK_ALLOW_PRIVATE"):
        parse_url(f"https://{host}/hooks")


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.usefixtures("_public_only")
def test_a_public_address_may_be_called(address: str) -> None:
    assert may_be_called(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "api.localhost", "2130706433", "0x7f.1", "127.1", "127。0。0。1"]
)
@pytest.mark.usefixtures("_public_only")
def test_other_spellings_of_this_machine_are_seen_through(host: str) -> None:
    with pytest.raises(AddressRefused, match="ALTPROP_WEBHOOK_ALLOW_PRIVATE"):
        parse_url(f"http://{host}:8000/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.org/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("example.org/hooks", "https://"),
        ("https://", "https://"),
        ("", "https://"),
        ("https://alice:secret@example.org/", "user or password"),
        ("https://alice@example.org/", "user or password"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org:99999/", "port"),
        ("https://example.org:0/", "port"),
        ("https://0177.0.0.1/", "no address"),
        ("https://exa mple.org/", "name"),
        ("https://exa%00mple.org/", "name"),
        ("https://a,b/", "name"),
        ("https://example.org/\r\nX: y", "no address"),
        ("https://[::1/", "no address"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        parse_url(url)


@pytest.mark.django_db
def test_an_address_is_judged_again_when_a_message_is_sent(
    make_endpoint: Any, make_job: Any, receiver: Receiver, settings: Any
) -> None:
    endpoint: WebhookEndpoint = make_endpoint(url=f"http://localhost:{receiver.port}/")
    literal: WebhookEndpoint = make_endpoint()
    settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE = False
    make_job()
    deliver()
    assert receiver.received == []
    assert "localhost is this machine" in endpoint.deliveries.get().sentence
    assert "127.0.0.1 is not a public address" in literal.deliveries.get().sentence


@pytest.mark.django_db
def test_a_name_that_leads_nowhere_is_said(make_endpoint: Any, make_job: Any) -> None:
    endpoint: WebhookEndpoint = make_endpoint(url="https://nowhere.invalid/")
    make_job()
    deliver()
    assert endpoint.deliveries.get().sentence.startswith("The name nowhere.invalid could not be looked up")


@pytest.fixture
def secured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver with TLS, whose certificate, for the name localhost, is trusted."""
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(CERTIFICATE)
    monkeypatch.setattr(sending, "_tls", lambda: ssl.create_default_context(cafile=str(CERTIFICATE)))
    receiver = Receiver(tls=served)
    yield receiver
    receiver.close()


@pytest.mark.django_db
def test_the_certificate_must_be_that_of_the_name(make_endpoint: Any, make_job: Any, secured: Receiver) -> None:
    """The connection is made to an address; what is checked, and asked for, is the name."""
    named: WebhookEndpoint = make_endpoint(url=f"https://localhost:{secured.port}/")
    other: WebhookEndpoint = make_endpoint(url=f"https://127.0.0.1:{secured.port}/")
    make_job()
    deliver()
    sent, unsent = named.deliveries.get(), other.deliveries.get()
    assert sent.state == "delivered", sent.sentence
    assert [request.headers["host"] for request in secured.received] == [f"localhost:{secured.port}"]
    assert unsent.state == "waiting"
    assert "certificate" in unsent.sentence.lower()


@pytest.mark.django_db
def test_a_certificate_that_nobody_trusts_is_refused(
    make_endpoint: Any, make_job: Any, secured: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    endpoint: WebhookEndpoint = make_endpoint(url=f"https://localhost:{secured.port}/")
    make_job()
    deliver()
    assert secured.received == []
    assert "certificate" in endpoint.deliveries.get().sentence.lower()
