"""``python -m session_aware demo`` on real databases, with real files and pipes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text

from session_aware.__main__ import main
from session_aware._tools.demo.ledger import Transfer, money
from session_aware._tools.demo.orders import SHIPPED
from session_aware._tools.demo.timeline import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.postgresql import PostgreSQL

ORDERS = """\
sender,receiver,cents,text
bank,ann,10000,loan
bank,bob,5000,loan
ann,bob,1250,"bread, milk"
bob,carl,100,books
bob,ann,6251,taxi

ann,bob,1,pen
bank,ann,500,loan
ann,bob,1000,shoes
ann,bob,9000,car
bob,ann,2000,taxi
zoe,ann,1,pen
"""

SINGLE = ["BEGIN", "SELECT", "UPDATE", "INSERT", "INSERT"]
REFUSED = ["BEGIN", "SELECT", "ROLLBACK"]

OUTPUT = """\
11 transfers of orders.csv on sqlite VERSION through pysqlite
Creates session_aware_demo_account, session_aware_demo_entry,
session_aware_demo_transfer, drops them at the end and touches no other table.
Below, statements are shortened and tables shown without prefix.

Auto mode: line 4, ann sends 12.50 to bob
    ledger.transfer(order)
TIME  BEGIN
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  UPDATE account SET balance=? WHERE name = ? (2 rows)
TIME  INSERT INTO transfer (...) VALUES (?)
TIME  INSERT INTO entry (...) VALUES (?, ?, ?) (2 rows)
TIME  COMMIT
TIME  returned a transfer of 12.50, which stays readable

Auto mode: line 5, bob sends 1.00 to carl
    ledger.transfer(order)
TIME  BEGIN
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  ROLLBACK
TIME  raised UnknownAccountError: there is no account 'carl'

Auto mode: line 6, bob sends 62.51 to ann
    ledger.transfer(order)
TIME  BEGIN
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  ROLLBACK
TIME  raised OverdraftError: bob has 62.50 and cannot send 62.51

Dry run: once more line 2, bank sends 100.00 to ann
    ledger.transfer(order, is_commit=False)
TIME  BEGIN
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  UPDATE account SET balance=? WHERE name = ? (2 rows)
TIME  INSERT INTO transfer (...) VALUES (?)
TIME  INSERT INTO entry (...) VALUES (?, ?, ?) (2 rows)
TIME  ROLLBACK
TIME  returned a transfer of 100.00, which stays readable; not booked

Manual mode: 3 transfers in one transaction of the caller's
    ledger.transfer(order, session=session)
TIME  BEGIN
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  UPDATE account SET balance=? WHERE name = ? (2 rows)
TIME  INSERT INTO transfer (...) VALUES (?)
TIME  INSERT INTO entry (...) VALUES (?, ?, ?) (2 rows)
TIME  SELECT ... FROM account WHERE name IN (?, ?) ORDER BY name
TIME  COMMIT
TIME  1 done, 2 refused

Auto mode, generator, read_only
    for line in ledger.statement('ann')
TIME  BEGIN
TIME  PRAGMA query_only = 1
TIME  SELECT ... FROM transfer JOIN entry ON id = transfer_id WHERE
             account_name = ? ORDER BY id
TIME  ROLLBACK
TIME  exhausted after 6 lines, the last of them:
         -12.50           87.50  bread, milk
          -0.01           87.49  pen
           5.00           92.49  loan
         -10.00           82.49  shoes
          20.00          102.49  taxi

Totals
         11 transfers asked for
          7 done
          2 refused with OverdraftError
          2 refused with UnknownAccountError
          3 accounts, with 155.00 from the bank among them
No money was made or lost: the balances and the bank's debt add up to 0.00.
"""
WIDTH = 80


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    file = tmp_path / "orders.csv"
    file.write_text(ORDERS, encoding="utf-8")
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "sqlite+aiosqlite", "psycopg", "psycopg_async", "asyncpg"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    driver: str = request.param
    if driver.startswith("sqlite"):
        return f"{driver}:///{tmp_path / 'ledger.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.url(driver)


@pytest.fixture
def when_created() -> Iterator[Callable[[str, str], None]]:
    """Let the database run SQL of the test right after it has created one of the demo's tables."""
    listening = []

    def listen(table: str, sql: str) -> None:
        def run(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
            if f"CREATE TABLE session_aware_demo_{table} " in statement:
                connection.exec_driver_sql(sql)

        event.listen(Engine, "after_cursor_execute", run)
        listening.append(run)

    yield listen
    for run in listening:
        event.remove(Engine, "after_cursor_execute", run)


def sync(url: str) -> str:
    return url.replace("+aiosqlite", "").replace("psycopg_async", "psycopg").replace("asyncpg", "psycopg")


def tables(url: str) -> set[str]:
    engine = create_engine(sync(url))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def run_sql(url: str, *statements: str) -> None:
    engine = create_engine(sync(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def normal(output: str) -> str:
    output = re.sub(r"sqlite \d[\d.]* ", "sqlite VERSION ", output)
    return re.sub(r"^ *\d+\.\d\d ms", "TIME", output, flags=re.MULTILINE)


def verbs(output: str) -> list[list[str]]:
    """Give what each timeline has sent to the database, in words; how SQLite is made read-only is its own affair."""
    timelines = output.split("\n\n")[1:-1]
    words = [re.findall(r"^TIME  ([A-Z]+)\b", normal(timeline), re.MULTILINE) for timeline in timelines]
    return [[word for word in timeline if word != "PRAGMA"] for timeline in words]


def widest(output: str) -> int:
    return max(map(len, output.splitlines()))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Give what was written to standard error, in one line as it must be."""
    [line] = capsys.readouterr().err.splitlines()
    return line.removeprefix("session-aware demo: ")


def test_piped_output_is_this(orders: Path, sqlite_url: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "session_aware", "demo", "--url", sqlite_url, "--csv", str(orders)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert normal(done.stdout.decode()) == OUTPUT
    assert widest(OUTPUT) <= WIDTH


def test_every_driver_runs_the_same_transactions_and_keeps_the_money(
    orders: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_sql(url, "CREATE TABLE session_aware_demo_of_mine (x INTEGER)")
    before = tables(url)
    try:
        assert main(["demo", "--url", url, "--csv", str(orders)]) == 0
        assert tables(url) == before
    finally:
        run_sql(url, "DROP TABLE session_aware_demo_of_mine")
    printed = capsys.readouterr().out
    assert verbs(printed) == [
        [*SINGLE, "COMMIT"],
        REFUSED,
        REFUSED,
        [*SINGLE, "ROLLBACK"],
        ["BEGIN", "SELECT", *SINGLE[1:], "SELECT", "COMMIT"],
        ["BEGIN", "SELECT", "ROLLBACK"],
    ]
    assert printed.partition("\nTotals")[2] == OUTPUT.partition("\nTotals")[2]
    assert widest(printed) <= WIDTH


def test_shipped_transfers_run_without_any_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert " more ..." in printed
    assert widest(printed) <= WIDTH
    assert printed.partition("\nTotals\n")[2] == (
        "      3,000 transfers asked for\n"
        "      2,810 done\n"
        "        138 refused with OverdraftError\n"
        "         52 refused with UnknownAccountError\n"
        "         61 accounts, with 113,625.00 from the bank among them\n"
        "No money was made or lost: the balances and the bank's debt add up to 0.00.\n"
    )
    assert SHIPPED.stat().st_size < 150_000


def test_first_order_may_be_refused_and_be_the_only_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.csv"
    file.write_text(f"\ufeffsender,receiver,cents,text\n{'n' * 40},{'m' * 40},{'9' * 12},\n", encoding="utf-8")
    assert main(["demo", "--csv", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("raised UnknownAccountError: there is no account") == 2
    assert "exhausted after 0 lines" in printed
    assert widest(printed) <= WIDTH


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        (
            "UPDATE session_aware_demo_account SET balance = balance + 1 WHERE name = NEW.name",
            "0.01, 1 balances differ from their entries, 7 transfers are booked",
        ),
        (
            "INSERT INTO session_aware_demo_entry (account_name, transfer_id, cents) VALUES (NEW.name, 0, 0)",
            "0.00, 0 balances differ from their entries, 8 transfers are booked",
        ),
    ],
)
def test_money_made_by_the_database_is_noticed(
    action: str,
    problem: str,
    orders: Path,
    when_created: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    when = "AFTER INSERT ON session_aware_demo_account WHEN NEW.name = 'bank'"
    when_created("entry", f"CREATE TRIGGER forge {when} BEGIN {action}; END")
    assert main(["demo", "--csv", str(orders)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.endswith(f" MONEY WAS MADE OR LOST: the balances and the bank's debt add up to {problem}.")


NO_URL = "--url is no database URL. Write 'sqlite:///ledger.sqlite' or 'postgresql+psycopg://ann@localhost/test'."
NOT_LOADED = (
    "--url: {}. Correct it, or install what it needs, such as \"pip install 'psycopg[binary]' 'session-aware[asyncio]'\"."
)
NO_CONNECTION = "--url: cannot connect ({}). Start the server, or correct the URL."
DROP = "; ".join(f"DROP TABLE IF EXISTS session_aware_demo_{table}" for table in ("entry", "transfer", "account"))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ledger.sqlite", NO_URL),
        ("postgresql://ann:secret@host:port/x", NO_URL),
        ("sqlite://ann:secret@host/x", NO_URL),
        ("postgersql://ann:secret@localhost/x", NOT_LOADED.format("Can't load plugin: sqlalchemy.dialects:postgersql")),
        ("mysql+pymysql://ann:secret@localhost/x", NOT_LOADED.format("import of pymysql halted; None in sys.modules")),
        ("sqlite:////missing/x", NO_CONNECTION.format("(sqlite3.OperationalError) unable to open database file")),
        (
            "postgresql+asyncpg://ann:secret@127.0.0.1:1/x",
            NO_CONNECTION.format("[Errno 111] Connect call failed ('127.0.0.1', 1)"),
        ),
    ],
)
def test_bad_url_says_what_to_write_and_no_password(
    url: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)  # as if it were not installed
    assert main(["demo", "--url", url]) == 2
    assert complaint(capsys) == problem


def test_asynchronous_url_without_greenlet_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    assert main(["demo", "--url", "sqlite+aiosqlite://"]) == 2
    assert complaint(capsys) == NOT_LOADED.format("import of greenlet halted; None in sys.modules")


HEADER = "sender,receiver,cents,text\n"
NO_TRANSFER = " has no transfer below a header."
NO_FIELDS = ", line 2: is not four fields of printable characters."
NO_NAMES = ", line 2: sender and receiver are not two names of 1 to 40 characters."
NO_CENTS = ", line 2: cents is not a whole number from 1 to 999999999999."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", NO_TRANSFER),
        ("a,b\nann,bob,1,x\n", NO_TRANSFER),
        (f"{HEADER}\n", NO_TRANSFER),
        (f"{HEADER}ann,bob,1\n", NO_FIELDS),
        (f"{HEADER}ann,bob,1,250,x\n", NO_FIELDS),
        (f"{HEADER}ann,bob,1,\x1b[31m\n", NO_FIELDS),
        (f"{HEADER} ,bob,1,x\n", NO_NAMES),
        (f"{HEADER}ann,{'b' * 41},1,x\n", NO_NAMES),
        (f"{HEADER}\nann,ann,1,x\n", NO_NAMES.replace("2", "3", 1)),
        *((f"{HEADER}ann,bob,{cents},x\n", NO_CENTS) for cents in ("12.50", "-1", "0", "9" * 13, "\u0664", "")),
        (f'{HEADER}ann,bob,1,"x"y\n', ", line 2: ',' expected after '\"'."),
    ],
)
def test_bad_file_is_named_with_its_line_and_what_to_write(
    content: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content, encoding="utf-8")
    assert main(["demo", "--csv", str(file)]) == 2
    cure = "Write the header 'sender,receiver,cents,text' and below it lines like 'ann,bob,1250,lunch'."
    assert complaint(capsys) == f"{file}{problem} {cure}"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none.csv", "[Errno 2] No such file or directory: '{}'"),
        ("latin.csv", "'utf-8' codec can't decode byte 0xe9 in position 0: invalid continuation byte"),
    ],
)
def test_file_that_cannot_be_read_is_named(
    name: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.csv").write_bytes(b"\xe9t\xe9")
    file = tmp_path / name
    assert main(["demo", "--csv", str(file)]) == 2
    cure = "Write '--csv FILE' with a CSV file in UTF-8, or leave it out."
    assert complaint(capsys) == f"{file} cannot be read ({problem.format(file)}). {cure}"


def test_table_that_exists_already_is_left_alone(url: str, orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_sql(url, "CREATE TABLE session_aware_demo_entry (x INTEGER)")
    before = tables(url)
    try:
        assert main(["demo", "--url", url, "--csv", str(orders)]) == 2
        assert tables(url) == before
    finally:
        run_sql(url, "DROP TABLE session_aware_demo_entry")
    problem = complaint(capsys)
    assert problem.startswith("--url: cannot create the demo's tables (")
    assert problem.endswith(
        f" already exists). Name an account that may, or write '{DROP}' if they are left of a run that was killed."
    )


def test_tables_that_cannot_be_dropped_are_told(
    orders: Path, postgresql: PostgreSQL, when_created: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgresql.url("psycopg")
    when_created("account", "CREATE VIEW rich AS SELECT * FROM session_aware_demo_account")
    try:
        assert main(["demo", "--url", url, "--csv", str(orders)]) == 2
    finally:
        run_sql(url, "DROP VIEW rich", *DROP.split(";"))
    assert complaint(capsys) == (
        "--url: cannot drop the demo's tables ((psycopg.errors.DependentObjectsStillExist) cannot drop table "
        f"session_aware_demo_account because other objects depend on it). Write '{DROP}'."
    )


def test_failure_of_the_database_is_told_and_the_tables_are_dropped(
    orders: Path, sqlite_url: str, when_created: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    when = "BEFORE INSERT ON session_aware_demo_entry"
    when_created("entry", f"CREATE TRIGGER full {when} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 2
    assert complaint(capsys) == "(sqlite3.IntegrityError) disk full"
    assert tables(sqlite_url) == set()


def test_interrupted_demo_drops_its_tables_without_a_traceback(
    url: str, orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    before = tables(url)
    event.listen(Transfer, "before_insert", interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    try:
        assert main(["demo", "--url", url, "--csv", str(orders)]) == 130
    finally:
        event.remove(Transfer, "before_insert", interrupt)
        signal.signal(signal.SIGINT, handler)
    assert tables(url) == before
    assert capsys.readouterr().err == ""


def test_reader_who_leaves_early_ends_it_quietly(orders: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1, encoding="utf-8") as out:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 141
    assert tables(sqlite_url) == set()


def test_process_whose_reader_leaves_early_writes_no_complaint() -> None:
    command = [sys.executable, "-u", "-W", "error", "-m", "session_aware", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with closing(process.stdout) as out:
            assert out.readline().startswith(b"3,000 transfers of transfers.csv on sqlite")
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_module_is_a_program() -> None:
    command = [sys.executable, "-m", "session_aware", "demo", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m session_aware demo")


def test_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: the following arguments are required: COMMAND\n")


@pytest.mark.parametrize(("cents", "written"), [(0, "0.00"), (-5, "-0.05"), (-12345678, "-123,456.78"), (100, "1.00")])
def test_money_is_written_as_an_amount(cents: int, written: str) -> None:
    assert money(cents) == written


@pytest.mark.parametrize("parameter", ["$1::VARCHAR", "%(a_1)s::VARCHAR", ":a", "?", "%s"])
def test_statements_of_every_driver_are_shortened_alike(parameter: str) -> None:
    statement = f"SELECT a, b \nFROM session_aware_demo_entry \nWHERE session_aware_demo_entry.a = {parameter}"
    assert shortened(statement) == "SELECT ... FROM entry WHERE a = ?"
