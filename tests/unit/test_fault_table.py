"""The classification by phase and code, each row with the tests that prove it.

Those named here have a real server or file. None stands for what no server that can be had here gives: test_faults.py has
the error objects of the real drivers and dialects, for these codes and all the others.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from session_aware._database.faults import ABORTED, ABORTED_IN_BODY, LOST, REFUSED_AT_COMMIT, ROUTING, Code

TESTS = Path(__file__).parents[1]
PG, PHASE, MARIA, LITE = "fault_rows", "commit_phase", "fault_rows_mariadb", "fault_rows_sqlite"


class Row(NamedTuple):
    """What comes in a phase, and where it is tested: ``file::test`` beneath tests/integration, or None: by objects only."""

    phase: str
    verdict: str
    proofs: dict[str, str | None]


TABLE = (
    Row("connect, checkout", "nothing sent: retry", {
        "2002": None,  # test_faults.py has it from a real socket that is not there
        "2003": f"{MARIA}::test_refused_connection_is_tried_again",
        "53300": f"{PG}::test_too_many_connections_are_tried_again",
        "1226": f"{MARIA}::test_users_limit_of_connections_is_tried_again",
        "57P03": f"{PG}::test_server_that_shuts_down_is_tried_again",
        "1040": f"{MARIA}::test_servers_limit_of_connections_is_tried_again",
        "raw OSError, or no code": f"{PG}::test_refused_connection_is_tried_again",
        "pool TimeoutError": f"{PG}::test_exhausted_pool_is_tried_again",
        "08000": None,
        "08001": None,
        "08004": None,
    }),
    Row("body, flush", "aborted: retry", {
        "40001": "retry::test_real_serialization_failure_is_cured",
        "40001 on a hot standby": "replicas::test_conflict_with_recovery_is_tried_again",
        "40P01": f"{PG}::test_deadlock_is_tried_again",
        "1213": "mariadb::test_deadlock_is_tried_again",
        "1305 after 1213": "mariadb::test_deadlock_in_a_savepoint_surfaces_as_a_lost_savepoint_and_is_tried_again",
        "1020": f"{MARIA}::test_record_that_has_changed_is_tried_again",
        "6235": "mariadb::test_code_is_read_from_the_error_of_pymysql",  # OceanBase's, given by MariaDB's SIGNAL
        "8002": "mariadb::test_code_is_read_from_the_error_of_pymysql",  # TiDB's, likewise
        "9007": "mariadb::test_code_is_read_from_the_error_of_async_drivers",
        "8022": None,
        "8028": None,
        "SQLITE_BUSY 5": f"{LITE}::test_locked_file_is_tried_again",
        "SQLITE_BUSY 517": f"{LITE}::test_snapshot_that_is_outdated_is_tried_again",
        "SQLITE_BUSY 261": None,  # the file is being recovered
        "grpc:ABORTED": None,  # Spanner
    }),
    Row("body, flush", "COMMIT was not sent: retry", {
        "57P01": f"{PG}::test_terminated_backend_is_tried_again",
        "57P02": None,
        "08003": f"{PG}::test_connection_that_breaks_in_a_statement_is_tried_again",
        "08006": None,
        "asyncpg's InterfaceError": f"{PG}::test_connection_that_broke_between_statements_is_tried_again",
        "connection_invalidated": "outcome::test_killed_backend_before_commit_is_tried_again",
        "closed, and only the driver knows": f"{PHASE}::test_loss_that_only_the_driver_noticed_is_tried_again",
        "closed, async": f"{PHASE}::test_loss_that_only_the_driver_noticed_is_tried_again_by_async_drivers",
        "25P03": f"{PHASE}::test_transaction_that_the_server_ended_is_tried_again",
        "25P04": f"{PHASE}::test_transaction_that_the_server_ended_is_tried_again",
        "25P03, 25P04, async": f"{PHASE}::test_transaction_that_the_server_ended_is_tried_again_by_async_drivers",
        "57P05": None,  # a session that waits in no transaction: the pool's, found dead at its next BEGIN
        "2006": f"{MARIA}::test_server_that_has_gone_away_is_tried_again",
        "2013": f"{MARIA}::test_killed_connection_is_tried_again_whenever_it_is_noticed",
        "1927": f"{MARIA}::test_killed_connection_is_tried_again_whenever_it_is_noticed",
        "5066": None,  # OceanBase
        "grpc:UNAVAILABLE": None,
    }),
    Row("body, flush", "opt-in", {
        "55P03": f"{PG}::test_refused_statement_is_not_tried_again",
        "1205": f"{MARIA}::test_lock_timeout_is_not_tried_again",
        "1205 swallowed": "mariadb::test_swallowed_lock_timeout_commits_nothing",
    }),
    Row("body, flush", "no retry", {
        "57014": f"{PG}::test_refused_statement_is_not_tried_again",
        "1317": f"{MARIA}::test_killed_statement_is_not_tried_again",
        "1969": f"{MARIA}::test_refused_statement_is_not_tried_again",
        "SQLITE_INTERRUPT 9": f"{LITE}::test_interrupted_statement_is_not_tried_again",
        "25006": f"{PG}::test_refused_statement_is_not_tried_again",
        "25006 on a hot standby": "replicas::test_reading_on_the_standby_and_what_it_refuses",
        "1290": f"{MARIA}::test_write_on_a_read_only_server_is_not_tried_again",
        "1792": "mariadb::test_write_in_a_read_only_unit_is_refused_by_the_database",
        "sqlite:8": f"{LITE}::test_file_that_may_only_be_read_is_not_tried_again",
        "23505": f"{PG}::test_refused_statement_is_not_tried_again",
        "1062": f"{MARIA}::test_refused_statement_is_not_tried_again",
        "0A000": f"{PG}::test_refused_statement_is_not_tried_again",
        "0A000 on a hot standby": "replicas::test_reading_on_the_standby_and_what_it_refuses",
        "25P02": f"{PG}::test_statement_in_a_failed_transaction_is_not_tried_again",
    }),
    Row("COMMIT", "not committed: retry", {
        "40001": f"{PG}::test_conflict_that_shows_at_commit_is_tried_again",
        "40P01": f"{PG}::test_commit_that_is_certainly_not_applied_raises_the_answer",
        "25P03 and 25P04 at COMMIT": f"{PHASE}::test_transaction_that_the_server_ended_is_tried_again",
        "3101": None,  # MySQL's group replication
        "1213 (certification)": "galera::test_conflict_between_nodes_shows_at_commit_and_is_tried_again",
        "SQLITE_BUSY 5": f"{LITE}::test_file_that_is_locked_at_commit_is_tried_again",
    }),
    Row("COMMIT", "not committed: no retry", {
        "235xx": "auto_mode::test_constraint_that_is_checked_at_commit_is_raised_and_rolled_back",
        "23xxx": f"{PG}::test_commit_that_is_certainly_not_applied_raises_the_answer",
        "P0001, 22xxx, 42xxx and their like": f"{PG}::test_commit_that_is_certainly_not_applied_raises_the_answer",
        "40002": f"{PG}::test_commit_that_is_certainly_not_applied_raises_the_answer",
        "a failed PREPARE": f"{PHASE}::test_failed_prepare_is_certain",
        "a flush in before_commit": f"{PHASE}::test_flush_that_fails_in_a_listener_before_the_commit_is_an_ordinary_error",
        "a connection that is invalidated": f"{PHASE}::test_connection_that_the_body_invalidated_has_committed_nothing",
        "sqlite:13": f"{LITE}::test_disk_that_is_full_at_commit_has_applied_nothing",
        "sqlite:19": "auto_mode::test_constraint_that_is_checked_at_commit_is_raised_and_rolled_back",
    }),
    Row("COMMIT", "unknown, never retried", {
        "connection lost": "outcome::test_interrupted_commit_is_unknown_and_never_tried_again",
        "connection lost, async": "outcome::test_interrupted_async_commit_is_unknown_and_never_tried_again",
        "connection lost, MariaDB": "mariadb::test_interrupted_commit_is_unknown_even_with_resolve_commit",
        "timeout, cancellation": "outcome::test_commit_that_hangs_beyond_the_grace_period_is_unknown",
        "57P01": f"{PG}::test_other_answer_to_commit_is_unknown",
        "08007": f"{PG}::test_other_answer_to_commit_is_unknown",
        "40003": f"{PG}::test_other_answer_to_commit_is_unknown",
        "1047": "galera::test_node_without_a_quorum_leaks_no_connection",
        "unclassified": "outcome::test_answer_that_is_in_no_table_is_unknown_and_said_to_be_an_answer",
        "25P03 with psycopg2, which gives no code": f"{PHASE}::test_psycopg2_tells_nothing_of_it_at_commit",
        "COMMIT PREPARED": f"{PHASE}::test_commit_of_what_is_prepared_is_unknown_where_its_answer_is_lost",
        "one of two connections": "outcome::test_commit_of_two_connections_of_which_one_fails_is_unknown_whatever_the_error",
    }),
    Row("after COMMIT", "committed", {
        "hook": "after_commit::test_error_is_logged_and_neither_undoes_nor_stops",
        "listener": "auto_mode::test_error_after_the_commit_says_that_the_unit_committed",
        "close": "auto_mode::test_failed_close_after_the_commit_is_reported_and_not_raised",
    }),
)  # fmt: skip


@cache
def found_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / "integration" / f"test_{file}.py").read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.phase}: {row.verdict}")
def test_every_proof_of_a_row_is_a_test(row: Row) -> None:
    named = [proof.split("::") for proof in row.proofs.values() if proof is not None]
    assert not [f"{file}::{test}" for file, test in named if test not in found_in(file)]


def test_every_code_of_the_library_stands_in_the_table() -> None:
    told = {code for row in TABLE for code in row.proofs}

    def name(code: Code) -> str:
        return "SQLITE_BUSY 5" if code == "sqlite:5" else str(code)

    assert {name(code) for code in ABORTED | ABORTED_IN_BODY | LOST | ROUTING | REFUSED_AT_COMMIT} <= told
