"""Every HTML page of the project, in one look: plain values in, one HTML document out.

    report_page(report)      validation, drift, performance: what was checked and what failed by how much
    verdict_page(decision)   gate, promotion, rollback, retraining: what was decided, why, on which figures
    profile_page(profile)    what is remembered of a dataset
    evaluation_page(value)   candidate, champion and baseline on the same rows
    page_of(value)           whichever of them a task's result is; ``None`` where it is none

Pure: no Airflow, no network, no clock. A page is self-contained: style and charts (inline SVG) are in it, nothing is
loaded, nothing runs. Served pages pass a ``nonce`` for the one style element, under a policy that allows nothing else.
"""

from __future__ import annotations

from airflow_mlops.pages.evaluation import evaluation_page
from airflow_mlops.pages.reports import page_of, profile_page, report_page, verdict_page

__all__ = ["evaluation_page", "page_of", "profile_page", "report_page", "verdict_page"]
