"""Writing the model card beside a version that became the champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_mlops.core.results import Decision

if TYPE_CHECKING:
    from airflow_mlops.hooks.mlflow import MlflowHook

FOLDER = "model_card"
"""Where in the version's run the card is: ``card.json``, ``card.md``, ``card.html``."""


def write_card(hook: MlflowHook, promotion: Decision, about: Mapping[str, str]) -> bool:
    """Put the card together from the ledger and log it with the version, unless it is there.

    :param promotion: the decision that made a version the champion.
    :param about: what no ledger knows: purpose, limits, owner.
    :return: whether it was written now.
    """
    from airflow_mlops.core.evaluation import Evaluation
    from airflow_mlops.core.model_card import card_markdown, model_card
    from airflow_mlops.pages.model_card import model_card_page

    model, evidence = promotion.model, promotion.evidence
    version = hook.version(model, str(evidence.get("version")))
    if version is None or not version.run_id or version.tag("card") == promotion.key:
        return False
    found = hook.find_record(model, "gate", str(evidence.get("gate")))
    gate = Decision.from_dict(found.body) if found else None
    judged = hook.find_record(model, "evaluation", str(gate.evidence.get("evaluation"))) if gate else None
    evaluation = Evaluation.from_dict(judged.body) if judged else None
    if gate is None or evaluation is None or evaluation.digest != gate.inputs.get("evaluation"):
        evaluation = None  # its figures are in the gate's decision all the same
    keys = evidence.get("approvals")
    approvals = [hook.find_record(model, "approval", str(key)) for key in (keys if isinstance(keys, list) else ())]
    card = model_card(
        version,
        promotion=promotion,
        gate=gate,
        evaluation=evaluation,
        training=hook.find_record(model, "training", key) if (key := version.tag("training_key")) else None,
        approvals=[Decision.from_dict(a.body) for a in approvals if a],
        about=about,
    )
    hook.log_text(version.run_id, f"{FOLDER}/card.md", card_markdown(card))
    hook.log_text(version.run_id, f"{FOLDER}/card.html", model_card_page(card))
    hook.log_json(version.run_id, f"{FOLDER}/card.json", card)
    hook.tag_version(model, version.version, {"card": promotion.key})
    return True
