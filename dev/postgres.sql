-- MLflow's database beside Airflow's.
CREATE DATABASE mlflow;
