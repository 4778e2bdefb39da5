"""The pictures of the README, from a real Airflow in a real browser: ``make screenshots``.

A dozen months of five models stand in the ledger, one small loop runs for real and waits for a person. The pictures go
to ``docs/images``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

IMAGES = REPO / "docs" / "images"


def main() -> int:
    """Make them all."""
    for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
        del os.environ[name]  # an Airflow of one's own is not this one
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder:
        os.environ["AIRFLOW_HOME"] = str(Path(folder) / "home")
        from tests.browser.world import MODEL, parked, world
        from tests.kit.browser import Person, chromium

        with world(Path(folder) / "world", nasty=False) as stack, chromium() as browser:
            print(f"==> Airflow is up at {stack.url}", flush=True)
            run = str(stack.trigger("late_train", conf={"reason": "screenshots"})["dag_run_id"])
            light = Person(browser, stack.url, IMAGES, width=1280, height=800)
            light.log_in(stack.user, stack.password)
            parked(stack, run)

            light.go("/plugin/mlops-models")
            for _ in range(60):  # until the list has heard of the model that was made just now
                light.inside.get_by_role("heading", name="Models", exact=True).wait_for()
                if light.inside.get_by_role("link", name=MODEL).count():
                    break
                light.page.wait_for_timeout(1000)
                light.page.reload()
            light.shot("models")
            light.inside.get_by_role("link", name="flights_delay").click()
            light.inside.get_by_role("heading", name="Where it comes from").wait_for()
            light.shot("model")
            light.inside.get_by_role("link", name="Read the verdict").click()
            light.inside.get_by_role("heading", name="Figures").wait_for()
            light.shot("verdict")
            light.go(f"/dags/late_train/runs/{quote(run)}/tasks/gate/plugin/mlops-report")
            light.inside.get_by_role("heading", name="Figures").wait_for()
            light.shot("report")
            light.go(f"/dags/late_train/runs/{quote(run)}/required_actions")
            light.page.get_by_role("button", name="Approve", exact=True).wait_for()
            light.shot("approval")

            dark = Person(browser, stack.url, IMAGES, width=1180, height=800, dark=True)
            dark.same_login_as(light)
            dark.go("/mlops/model?name=flights_delay")
            dark.shot("model-dark", full=False)
            phone = Person(browser, stack.url, IMAGES, width=390, height=844, scale=2)
            phone.same_login_as(light)
            phone.go("/mlops/")
            phone.shot("models-phone")
    for name in ("models", "model", "verdict", "report", "approval", "model-dark", "models-phone"):
        print(f"==> docs/images/{name}.png, {(IMAGES / f'{name}.png').stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
