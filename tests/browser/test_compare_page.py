"""Jobs side by side in the panel, in a browser: chosen in the list, drawn, read on a phone."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from service.jobs import lifecycle
from service.jobs.metrics import store_metrics
from tests.browser.chromium import PHONE, chromium, open_page
from tests.service.api.work import claim_next, measured
from trainers.resolve import resolve

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]


@pytest.fixture
def staff() -> Any:
    return get_user_model().objects.create_user("olga", password="not a secret", is_staff=True, is_superuser=True)


@pytest.fixture
def cookies(staff: Any, live_server: Any) -> list[dict[str, str]]:
    """Of a browser that is logged in."""
    client = Client()
    client.force_login(staff)
    return [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]


@pytest.fixture
def jobs(staff: Any, redis_server: str) -> list[str]:
    """Two that are done, and one that has just begun; the name of one tries to be markup."""
    made = []
    for name, algorithm in (("<i>first</i>", "backprop"), ("second", "frozen"), ("third", "backprop")):
        spec = {"algorithm": algorithm, "dataset": "digits", "network": {"hidden": [16]}, "training": {"seed": 1}}
        made.append(str(lifecycle.create_job(staff, resolve(spec), name=name).pk))
    for pace in (0.9, 0.5, None):
        lease = claim_next()
        steps = range(1, 11) if pace else range(1, 3)
        values = [{"validation_accuracy": (pace or 0.3) * step / 10, "train_loss": 1 / step} for step in steps]
        store_metrics(lease, [measured(100 * step, each) for step, each in zip(steps, values, strict=True)])
        if pace:
            cost = {"training_seconds": 10 * pace, "training_flops": 1e9, "flops_per_sample": 5056.0}
            result = {"samples": 128_000, "parameters": 1210, "compute_cost": cost}
            lifecycle.succeed(lease, result, progress={"fraction": 1.0}, seconds_trained=9.0)
    return made


def test_selected_jobs_are_compared_in_a_page(live_server: Any, cookies: Any, jobs: list[str]) -> None:
    with chromium() as browser:
        watched = open_page(browser, f"{live_server.url}/admin/jobs/job/", cookies=cookies)
        page = watched.page
        for box in page.locator("input[name=_selected_action]").all():
            box.check()
        page.locator("select[name=action]").first.select_option("compare_selected")
        page.locator("[name=action] ~ button, button[name=index]").first.click()
        page.wait_for_url("**/compare/?jobs=*")
        page.wait_for_selector("#legend li")
        assert page.locator("#legend li").count() == 3
        heads = page.locator("#figures thead th").all_inner_texts()
        assert [head.split("\n")[0] for head in heads[1:]] == ["<i>first</i>", "second", "third"]
        assert "★ 0.9" in page.locator("#figures").inner_text()
        assert page.locator("#differences tbody th").first.inner_text() == "/algorithm"
        assert "third is running" in page.locator("#notes").inner_text()
        assert "second ends at 0.5" in (page.locator("#chart").get_attribute("aria-label") or "")
        page.select_option("#axis", "flops")
        assert page.locator("#absent").inner_text().startswith("Not here: third")
        page.select_option("#curve", "train_loss")
        assert "train loss against flops" in (page.locator("#chart").get_attribute("aria-label") or "")
        assert watched.troubles == []


def test_the_page_fits_a_phone_and_says_what_is_wrong(live_server: Any, cookies: Any, jobs: list[str]) -> None:
    address = f"{live_server.url}/admin/jobs/job/compare/?jobs="
    with chromium() as browser:
        watched = open_page(browser, address + ",".join(jobs), width=PHONE, cookies=cookies)
        assert watched.page.locator("#legend li").count() == 3
        assert watched.overflow <= 0
        assert watched.troubles == []
        refused = open_page(browser, address + jobs[0], cookies=cookies).page
        assert "jobs must name 2 to 50 jobs" in refused.locator("#said").inner_text()
        assert refused.locator("[data-part]:visible").count() == 0
