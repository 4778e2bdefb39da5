"""``airflow mlops``: what a person asks of the models, at a terminal."""
