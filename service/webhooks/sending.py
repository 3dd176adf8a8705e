"""One message, posted: signed as Standard Webhooks has it, within a fixed time, to an address that was checked.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import datetime
import functools
import http
import json
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings
from standardwebhooks import Webhook

from service.webhooks.addresses import look_up, parse_url
from service.webhooks.errors import AddressRefused
from service.webhooks.models import WebhookDelivery

LOOK_UPS_AT_ONCE = 32  # each blocks a thread, for seconds where a name server is silent
_KEY_ORDER = ("type", "timestamp", "data")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    sentence: str
    status: int | None = None
    """None: there was no answer."""
    wait: float = 0.0
    """Seconds that the receiver asked us to wait (Retry-After)."""

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == http.HTTPStatus.GONE


@dataclass(frozen=True, slots=True)
class Message:
    """All that goes over the wire."""

    url: str
    headers: dict[str, str]
    body: bytes


def message_of(delivery: WebhookDelivery) -> Message:
    """The message as it is sent now: body and `webhook-id` are always the same, the time and signature are new."""
    endpoint, now = delivery.endpoint, datetime.datetime.now(datetime.UTC)
    secrets = [endpoint.secret]
    if endpoint.former_secret_until is not None and endpoint.former_secret_until > now:
        secrets.append(endpoint.former_secret)
    body = body_of(delivery)
    signatures = [Webhook(secret).sign(str(delivery.pk), now, body) for secret in secrets]
    headers = {
        "content-type": "application/json",
        "user-agent": "Altprop-Webhooks/1",
        "webhook-id": str(delivery.pk),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return Message(endpoint.url, headers, body.encode())


def body_of(delivery: WebhookDelivery) -> str:
    """The payload as text, always the same one."""
    ordered = {key: delivery.payload[key] for key in _KEY_ORDER}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


async def send(message: Message) -> Outcome:
    """Post it. Whatever goes wrong is an outcome, within ALTPROP_WEBHOOK_TIMEOUT_SECONDS from look-up to answer."""
    patience: float = settings.ALTPROP_WEBHOOK_TIMEOUT_SECONDS
    try:
        # Around all of it: a timeout of httpx is one of each read, and an answer may come a byte at a time.
        async with asyncio.timeout(patience):
            return await _send(message)
    except TimeoutError:
        return Outcome(f"No answer within {patience:g} s.")
    except AddressRefused as refusal:
        return Outcome(refusal.sentence)
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
        return Outcome(f"It could not be sent: {error or type(error).__name__}"[:500])


async def _send(message: Message) -> Outcome:
    url = parse_url(message.url)
    addresses = await look_up(url)
    for address in addresses[:-1]:
        try:
            return await _post(message, url, address)
        except httpx.ConnectError:
            continue  # a host may have an IPv6 address that does not lead there
    return await _post(message, url, addresses[-1])


async def _post(message: Message, url: httpx.URL, address: str) -> Outcome:
    """To this address, in the host's name: in Host, in TLS's server name, and so in the check of its certificate."""
    client = httpx.AsyncClient(
        verify=_tls(),
        trust_env=False,  # a proxy would look the name up itself
        timeout=settings.ALTPROP_WEBHOOK_TIMEOUT_SECONDS,
        follow_redirects=False,  # to where nobody checked
        limits=httpx.Limits(max_keepalive_connections=0),  # hosts that share an address share no connection
    )
    async with client:
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=message.body,
            headers={**message.headers, "host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        # The answer's body is not read: nobody needs it, and it may have no end.
        response = await client.send(request, stream=True)
        await response.aclose()
    return _outcome(response)


def _outcome(response: httpx.Response) -> Outcome:
    status = response.status_code
    said = f"Answered {status} {response.reason_phrase}".rstrip()
    if response.is_redirect:
        said += "; redirects are not followed"
    after = response.headers.get("retry-after", "")
    wait = float(after) if after.isascii() and after.isdigit() and len(after) < 7 else 0.0
    return Outcome(said + ".", status, wait)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading all certificates takes tens of milliseconds: once a process."""
    return httpx.create_ssl_context()


class Network:
    """A thread with an event loop, in which messages are sent while the caller keeps to its database."""

    def __enter__(self) -> "Network":
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(LOOK_UPS_AT_ONCE, thread_name_prefix="look-up"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="webhooks", daemon=True)
        self._thread.start()
        return self

    def send(self, message: Message, then: Callable[[Outcome], object]) -> None:
        """Start it; `then` is called from the other thread."""

        def ended(future: "Future[Outcome]") -> None:
            if not future.cancelled():
                error = future.exception()
                then(Outcome(f"It could not be sent: {error!r}"[:500]) if error else future.result())

        asyncio.run_coroutine_threadsafe(send(message), self._loop).add_done_callback(ended)

    def __exit__(self, *_: Any) -> None:
        """Give up what is still on its way: it is sent again later."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
