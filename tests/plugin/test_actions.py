"""Who is shown which button: from real DAGs in Airflow's database, and the rights that its auth manager gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

DAGS = """
from airflow.sdk import DAG, Param, task


def one():
    return 1


for name, tags in {
    "put_back": ["mlops:rollback", "mlmodel:flights_delay"],
    "train_any": ["mlops:retrain"],
    "flights_train": ["mlops:retrain", "mlmodel:other_model", "mlmodel:flights_delay"],
    "odd": ["mlops:retrain", "mlmodel:flights_delay"],
    "unrelated": ["flights"],
}.items():
    params = {"reason": Param(type="string", minLength=10), "model": "late"}
    if name == "odd":
        params = {"table": Param({}, type="object")}
    with DAG(name, schedule=None, tags=tags, params=params) as dag:
        task(task_id="one")(one)()
    globals()[name] = dag
"""


@pytest.fixture(scope="module")
def dags(airflow_app, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The DAGs as the dag-processor leaves them in the database."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dag import DagModel, DagTag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, update

    file = tmp_path_factory.mktemp("buttons") / "buttons.py"
    Path(file).write_text(DAGS)
    bag = DagBag(str(file))
    assert not bag.import_errors, bag.import_errors
    with create_session(scoped=False) as session:
        session.merge(DagBundleModel(name="buttons"))
    sync_bag_to_db(bag, "buttons", None)
    with create_session(scoped=False) as session:
        session.execute(update(DagModel).where(DagModel.dag_id.in_(bag.dags)).values(is_paused=False))
        session.execute(update(DagModel).where(DagModel.dag_id == "put_back").values(is_paused=True))
    yield
    with create_session(scoped=False) as session:
        session.execute(delete(DagTag).where(DagTag.dag_id.in_(bag.dags)))
        session.execute(update(DagModel).where(DagModel.dag_id.in_(bag.dags)).values(is_stale=True))


def page(client, name="flights_delay"):
    return client.get("/mlops/model", params={"name": name}).text


def test_each_dag_that_is_for_a_model_is_a_button(dags, admin):
    shown = page(admin)
    for dag in ("put_back", "train_any", "flights_train"):
        assert f'data-run="/api/v2/dags/{dag}/dagRuns"' in shown
    assert "unrelated" not in shown
    assert 'name="model" value="flights_delay"' in shown and 'minlength="10"' in shown
    assert shown.index("/dags/put_back/dagRuns") < shown.index("/dags/train_any/dagRuns")
    assert shown.count("It is paused") == 1
    assert "Airflow's own form" in shown and "/dags/odd/dagRuns" not in shown


def test_another_model_has_the_buttons_that_are_for_all(dags, admin):
    shown = page(admin, "untouched")
    assert "/dags/train_any/dagRuns" in shown and 'name="model" value="untouched"' in shown
    assert "put_back" not in shown and "flights_train" not in shown


@pytest.mark.parametrize("who", ["viewer", "no-dags"])
def test_who_may_start_nothing_has_no_button(dags, as_user, who):
    shown = page(as_user(who))
    assert "data-run=" not in shown and "put_back" not in shown


def test_who_may_start_one_dag_has_its_button_alone(dags, as_user):
    shown = page(as_user("one-dag-user"))
    assert shown.count("data-run=") == 1 and "/dags/flights_train/dagRuns" in shown


def test_airflow_itself_refuses_who_may_not(dags, as_user):
    """The button is a convenience: the right is asked for by Airflow's own API."""
    body = {"logical_date": None, "conf": {"reason": "because I want it"}}
    assert as_user("viewer").post("/api/v2/dags/train_any/dagRuns", json=body).status_code == 403
    assert as_user(None).post("/api/v2/dags/train_any/dagRuns", json=body).status_code == 401


def test_a_form_that_is_sent_twice_starts_one_run(dags, admin):
    body = {"logical_date": None, "dag_run_id": "models_page__once_1", "conf": {"reason": "because I want it"}}
    assert admin.post("/api/v2/dags/train_any/dagRuns", json=body).status_code == 200
    assert admin.post("/api/v2/dags/train_any/dagRuns", json=body).status_code == 409
