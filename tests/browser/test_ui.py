"""What a person does at the UI, done in a real browser at a real Airflow; every page is looked at by axe."""

from __future__ import annotations

import re
import urllib.parse

import pytest

from tests.browser.world import MODEL, parked
from tests.kit.browser import Person
from tests.kit.ledger import NASTY, NASTY_MODEL

NAME = "/mlops/model?name="


def test_a_candidate_is_approved_promoted_and_rolled_back(ann, stack, web, post):
    """From the navigation to a new champion and back, by clicks alone."""
    ann.go("/")
    ann.page.get_by_role("link", name="Models").first.click()
    ann.inside.get_by_role("heading", name="Models").wait_for()
    ann.inside.get_by_role("link", name="flights_delay").wait_for()
    ann.shot("models")
    assert ann.violations(ann.frame) == []

    ann.inside.get_by_label("Show").select_option("approval")
    ann.inside.get_by_role("button", name="Show").click()
    ann.inside.get_by_text("1 of 7 models").wait_for()
    ann.inside.get_by_role("link", name="flights_delay").click()
    ann.inside.get_by_role("heading", name="Drift by column over time").wait_for()
    ann.shot("model")
    assert ann.violations(ann.frame) == []

    # A model that nobody knows yet: trained for real, and its gate asks a person.
    first = stack.trigger("late_train", conf={"reason": "the first one"})["dag_run_id"]
    parked(stack, first)
    hopeless = stack.trigger("late_hopeless")["dag_run_id"]  # judged meanwhile
    model_page(ann)
    ann.inside.get_by_text("Version 1 waits for a person").wait_for()
    ann.inside.get_by_role("link", name="Read the verdict").click()
    ann.inside.get_by_text("there is no champion to compare with").first.wait_for()
    assert ann.violations(ann.frame) == []
    ann.shot("verdict")
    decide(ann, "Approve")
    assert stack.wait_run("late_train", first, patience=300)["state"] == "success"
    model_page(ann)
    assert champion(ann) == "1"
    assert ann.inside.get_by_label("Champion, version 1").get_by_text("approved").count() == 1

    # The button asks Airflow, as the person, for a second training on other rows.
    ann.inside.get_by_text("Retrain …").click()
    ann.inside.get_by_label("Rows").select_option("month")
    ann.inside.get_by_role("textbox", name="Reason", exact=True).fill("a month has passed")
    ann.shot("retrain")
    assert ann.violations(ann.frame) == []
    second = start(ann, "Start the training")
    run = stack.run("late_train", second)
    assert run["conf"] == {"model": MODEL, "rows": "month", "reason": "a month has passed"}
    assert (run["triggering_user_name"], run["run_type"]) == (stack.user, "manual")
    parked(stack, second)

    # Approved, then cleared: Airflow keeps the form, and the old answer moves nothing again.
    body = {"dag_run_id": second, "task_ids": ["approve"], "dry_run": False, "only_failed": False}
    ann.go(f"/dags/late_train/runs/{urllib.parse.quote(second)}/required_actions")
    answer(ann, "Approve")
    assert stack.wait_run("late_train", second, patience=300)["state"] == "success"
    model_page(ann)
    assert champion(ann) == "2"
    ann.shot("champion")
    stack.patiently(lambda: stack.api("POST", "/dags/late_train/clearTaskInstances", body))
    ended = stack.wait_run("late_train", second, patience=300) if not still_waits(stack, second) else None
    model_page(ann)
    assert champion(ann) == "2", ended

    # And back again, by the other button; a reason that is too short is not sent.
    ann.inside.get_by_text("Roll back …").click()
    ann.inside.get_by_label("Reason (needed)").fill("short")
    ann.inside.get_by_role("button", name="Start the rollback").click()
    assert ann.inside.get_by_label("Reason (needed)").evaluate("e => e.validity.tooShort")
    assert stack.runs("late_rollback") == []
    ann.inside.get_by_label("Reason (needed)").fill("complaints from operations")
    back = start(ann, "Start the rollback")
    assert stack.wait_run("late_rollback", back, patience=300)["state"] == "success"
    model_page(ann)
    assert champion(ann) == "1"
    ann.shot("rolled-back")

    # Those who wanted to know of the rejection were told, by the real task's callback.
    assert stack.wait_run("late_hopeless", hopeless, patience=300)["state"] == "failed"
    assert stack.until(lambda: bool(web.got and post.got), 30)
    assert web.got[0][2]["event"] == "gate_rejected" and "late_hopeless" in web.got[0][2]["title"]
    recipients, mail = post.got[0]
    assert recipients == ("team@example.org",) and mail["Subject"].startswith("Rejected: late_hopeless version 1")
    assert "/dags/late_hopeless/runs/" in web.got[0][2]["url"]


def test_the_report_tab_shows_what_each_task_found(ann, stack):
    run = stack.runs("late_hopeless")[-1]["dag_run_id"]
    stack.wait_run("late_hopeless", run, patience=300)
    links = stack.api("GET", f"/dags/late_hopeless/dagRuns/{urllib.parse.quote(run)}/taskInstances/gate/links")
    tab = links["extra_links"]["Report"]
    assert tab.startswith(stack.url)
    ann.go(tab.removeprefix(stack.url))
    ann.inside.get_by_text("0.999").first.wait_for()
    ann.shot("report-tab")
    assert ann.violations(ann.frame) == []
    other = stack.trigger("late_other")["dag_run_id"]
    stack.wait_run("late_other", other, patience=300)
    ann.go(f"/dags/late_other/runs/{urllib.parse.quote(other)}/tasks/count/plugin/mlops-report")
    ann.inside.get_by_text("has not written a report").wait_for()
    ann.shot("report-tab-empty")


@pytest.mark.parametrize(("look", "how"), [("dark", {"dark": True}), ("phone", {"width": 390, "height": 844})])
def test_pages_in_the_dark_and_on_a_phone(look, how, ann, browser, stack):
    person = Person(browser, stack.url, ann.shots, **how)
    person.same_login_as(ann)
    for name, path in pages(stack).items():
        person.go(path)
        person.shot(f"{name}-{look}", full=True)
        assert person.violations() == [], name
        assert person.fits(), name
    assert person.told == []
    assert {urllib.parse.urlsplit(u).netloc for u in person.asked if not u.startswith("data:")} == {
        urllib.parse.urlsplit(stack.url).netloc
    }
    person.context.close()


def test_a_name_that_means_harm_is_only_a_name(ann, browser, stack):
    person = Person(browser, stack.url, ann.shots)
    person.same_login_as(ann)
    person.go("/mlops/")
    person.page.get_by_text("alert(`x`)").click()
    person.page.get_by_text("alert(`x`)").first.wait_for()
    person.shot("harm", full=True)
    person.go("/mlops/?" + urllib.parse.urlencode({"q": NASTY}))
    person.go(NAME + urllib.parse.quote(NASTY_MODEL + "<img src=x onerror=alert(1)>"))
    person.page.get_by_role("status").wait_for()
    assert not [t for t in person.told if t.startswith("dialog")], person.told
    person.context.close()


def test_what_a_task_logged_runs_no_script(ann, browser, stack):
    person = Person(browser, stack.url, ann.shots)
    person.same_login_as(ann)
    person.go(NAME + "flights_delay")
    person.page.get_by_role("link", name="Read the verdict").click()
    person.page.get_by_role("link", name="notes.html").click()
    person.page.frame_locator("iframe").get_by_text("Logged by a task").wait_for()
    person.shot("logged")
    assert person.page.title() != "ran"
    assert any("script" in t.lower() for t in person.told), person.told  # the browser says that it blocked it
    assert person.violations() == []
    person.context.close()


def test_the_keyboard_reaches_everything(ann, browser, stack):
    person = Person(browser, stack.url, ann.shots)
    person.same_login_as(ann)
    person.go("/mlops/")
    person.page.keyboard.press("Tab")
    person.page.keyboard.type("churn")
    person.page.keyboard.press("Enter")
    person.page.get_by_text(re.compile(r"1 of \d+ models")).wait_for()
    for _ in range(30):
        person.page.keyboard.press("Tab")
        if person.page.evaluate("document.activeElement.textContent") == "churn_retail":
            break
    assert person.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    person.page.keyboard.press("Enter")
    person.page.get_by_role("heading", name="churn_retail").wait_for()
    person.go(NAME + MODEL)
    button = person.page.locator("summary", has_text="Roll back …")
    button.focus()
    person.page.keyboard.press("Enter")
    person.page.keyboard.press("Tab")
    person.page.keyboard.press("Tab")
    assert person.page.evaluate("document.activeElement.name") == "to_version"
    person.context.close()


def pages(stack) -> dict[str, str]:
    gate = stack.api("GET", "/dags", limit=1)  # the login still holds
    assert gate
    return {"models": "/mlops/", "model": NAME + "flights_delay", "small": NAME + MODEL}


def model_page(person: Person) -> None:
    """The page of the model that is trained here, in Airflow's frame; read anew until the snapshot has it."""
    person.go("/plugin/mlops-models")
    person.inside.get_by_role("heading", name="Models").wait_for()
    for _ in range(60):
        person.inside.get_by_label("Name contains").fill(MODEL)
        person.inside.get_by_role("button", name="Show").click()
        person.inside.get_by_text(re.compile(r"^(\d+ of \d+ models|No model matches)")).first.wait_for()
        if person.inside.get_by_role("link", name=MODEL).count():
            break
        person.page.wait_for_timeout(500)
    person.inside.get_by_role("link", name=MODEL).click()
    person.inside.get_by_role("heading", name=MODEL, exact=True).wait_for()


def champion(person: Person) -> str:
    """Of the page that is shown."""
    return person.inside.locator("dl.facts div", has_text="Champion").first.locator("dd").inner_text()


def decide(person: Person, option: str) -> None:
    """In Airflow's own form."""
    person.inside.get_by_role("link", name="Decide in Airflow").click()
    answer(person, option)


def answer(person: Person, option: str) -> None:
    """The form that stands open."""
    button = person.page.get_by_role("button", name=option, exact=True)
    button.scroll_into_view_if_needed()
    person.shot("approval")
    button.click()


def start(person: Person, button: str) -> str:
    """Press it; the id of the run that Airflow made."""
    person.inside.get_by_role("button", name=button).click()
    told = person.inside.locator(".told", has_text="Started:")
    told.wait_for()
    return str(told.locator("a").inner_text())


def still_waits(stack, run: str) -> bool:
    """After clearing: whether the task asks again instead of ending."""
    states = lambda: {t["task_id"]: t["state"] for t in stack.tasks_of("late_train", run)}  # noqa: E731
    done = ("success", "failed", "skipped", "upstream_failed")
    assert stack.until(lambda: states()["approve"] in (*done, "awaiting_input"), 120), states()
    return states()["approve"] == "awaiting_input"
