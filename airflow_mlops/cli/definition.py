"""The commands of ``airflow mlops``: names, arguments, help. Airflow imports this for every ``airflow`` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.cli.cli_config import ARG_VERBOSE, ActionCommand, Arg, GroupCommand, lazy_load_command

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

argument: Any = Arg  # Airflow leaves it untyped

CONN_ID = argument(("--conn-id",), help="Airflow connection (default: mlflow_default)", default="mlflow_default")
OUTPUT = argument(
    ("-o", "--output"),
    help="Output format: table, json or yaml (default: table)",
    metavar="(table, json, yaml)",
    choices=("table", "json", "yaml"),
    default="table",
)
MODEL = argument(("model",), help="Name of the registered model")
VERSION = argument(("version",), help="Version of the model: a number, or an alias such as champion")
LIMIT = argument(("--limit",), help="Newest records to show (default: 50)", type=int, default=50)
KIND = argument(
    ("--kind",),
    help="Only records of this kind, such as gate, promotion or drift; may be repeated",
    action="append",
    default=None,
)
AT = argument(
    ("--at",),
    help="Who was champion then: an ISO date (its end counts), date-time or month",
    metavar="DATE",
)
WANTED = argument(("version",), help="Version or alias (default: whatever the gate judged last)", nargs="?", default="")
REFERENCE = argument(
    ("reference",), metavar="REF", help="What is normal: a file, folder, glob or URI, or a .json profile"
)
CURRENT = argument(("current",), metavar="CUR", help="What is judged: a file, folder, glob or URI")
POLICY = argument(("--policy",), help="YAML or JSON file of a drift policy (default: the operator's)", default="")
DATA = argument(("data",), metavar="DATA", help="The rows: a file, folder, glob or URI, or a .json profile")
DATA_CONN_ID = argument(("--data-conn-id",), help="Airflow connection of the data's object store", default="")
FILE = argument(("-o", "--output-file"), help="File to write the suite to (default: print it)", default="")
SLACK = argument(
    ("--slack",),
    help="How far values may leave what was seen, as a share (default: 0.1)",
    type=float,
    default=0.1,
)

_COMMANDS = "airflow_mlops.cli.commands"


def get_mlops_commands() -> list[CLICommand]:
    """The group ``mlops``, as Airflow's command line takes it."""
    return [
        GroupCommand(
            name="mlops",
            help="Models: champions, history, data, drift, verdicts",
            subcommands=(
                ActionCommand(
                    name="models",
                    help="Every model with its champion and its last verdicts",
                    func=lazy_load_command(f"{_COMMANDS}.models"),
                    args=(CONN_ID, OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="history",
                    help="A model's ledger, newest first; or who was its champion on a date, and why",
                    func=lazy_load_command(f"{_COMMANDS}.history"),
                    args=(MODEL, AT, KIND, LIMIT, CONN_ID, OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="data-of",
                    help="Which rows a version was trained and judged on, and how to get them back",
                    func=lazy_load_command(f"{_COMMANDS}.data_of"),
                    args=(MODEL, VERSION, CONN_ID, OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="drift",
                    help="Compare two datasets as the drift operator does",
                    description="Compare two datasets as the drift operator does. "
                    "Exit code 0: no drift; 1: drift; 2: too little data, or it could not be judged.",
                    func=lazy_load_command(f"{_COMMANDS}.drift"),
                    args=(REFERENCE, CURRENT, POLICY, DATA_CONN_ID, OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="gate-explain",
                    help="The last verdict on a model or a version, in words",
                    func=lazy_load_command(f"{_COMMANDS}.gate_explain"),
                    args=(MODEL, WANTED, CONN_ID, OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="draft-suite",
                    help="A first suite of expectations from data, to be read and edited",
                    func=lazy_load_command(f"{_COMMANDS}.draft_suite"),
                    args=(DATA, FILE, SLACK, DATA_CONN_ID, ARG_VERBOSE),
                ),
            ),
        )
    ]
