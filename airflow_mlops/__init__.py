"""Apache Airflow provider for the machine-learning lifecycle.

Nothing is imported here: Airflow imports this package while it still reads its own configuration.
"""

__version__ = "0.1.0"
