"""What this package adds to the Airflow UI: the Models page and the Report tab, read-only."""
