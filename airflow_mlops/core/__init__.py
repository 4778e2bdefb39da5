"""The lifecycle in plain values: no Airflow, no network, no clock, no globals."""
