"""MlflowHook: an Airflow connection of type ``mlflow`` becomes records, versions and models."""

from __future__ import annotations

from airflow_mlops.core.errors import MlopsError
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks._claims import Claims
from airflow_mlops.hooks._training import Training


class MlflowHook(Training, Claims):
    """MLflow through an Airflow connection, in this package's own values.

    Nothing of MLflow's global state is used or set: no tracking URI, no active run. Credentials are put on requests
    to the connection's server and are nowhere else. Whatever keeps MLflow from answering is
    :class:`~airflow_mlops.exceptions.MlflowUnavailable`, which Airflow retries; what does not exist is ``None``.

    :param mlflow_conn_id: the connection. Where ``mlflow_default`` is not defined, ``[mlops] tracking_uri`` is used,
        else a SQLite file in ``AIRFLOW_HOME``.
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = "mlflow_default"
    conn_type = "mlflow"
    hook_name = "MLflow"

    def test_connection(self) -> tuple[bool, str]:
        """Ask MLflow for its experiments and registered models, with this connection's credentials."""
        try:
            with self.translating():
                self.client.search_experiments(max_results=1)
                self.client.search_registered_models(max_results=1)
        except (MlflowUnavailable, MlopsError) as error:
            return False, str(error)
        return True, f"MLflow answers at {self.tracking_uri}"
