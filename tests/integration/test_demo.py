"""``python -m session_aware demo`` on real databases, with real files, terminals and pipes."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import DDL, create_engine, event, inspect, make_url, text

from session_aware.__main__ import main
from session_aware._tools.demo.model import Account, Entry, Transfer, money
from session_aware._tools.demo.orders import SHIPPED
from session_aware._tools.demo.output import shortened

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
Creates session_aware_demo_account, session_aware_demo_entry, session_aware_demo_transfer,
drops them at the end and touches no other table. Below, statements are shortened and tables shown without prefix.

Auto mode: ledger.transfer(order)  # line 4, ann sends 12.50 to bob
TIME  BEGIN
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  UPDATE account SET balance=? WHERE account.name = ? (2 rows)
TIME  INSERT INTO transfer (text) VALUES (?)
TIME  INSERT INTO entry (transfer_id, account_name, cents) VALUES (?, ?, ?) (2 rows)
TIME  COMMIT
TIME  returned the transfer

Auto mode: ledger.transfer(order)  # line 5, bob sends 1.00 to carl
TIME  BEGIN
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  ROLLBACK
TIME  raised UnknownAccountError: there is no account 'carl'

Auto mode: ledger.transfer(order)  # line 6, bob sends 62.51 to ann
TIME  BEGIN
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  ROLLBACK
TIME  raised OverdraftError: bob has 62.50 and cannot send 62.51

Dry run: ledger.transfer(order, is_commit=False)  # line 2 again, bank sends 100.00 to ann
TIME  BEGIN
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  UPDATE account SET balance=? WHERE account.name = ? (2 rows)
TIME  INSERT INTO transfer (text) VALUES (?)
TIME  INSERT INTO entry (transfer_id, account_name, cents) VALUES (?, ?, ?) (2 rows)
TIME  ROLLBACK
TIME  returned a transfer of 100.00, readable and not booked

Manual mode: 3 times ledger.transfer(order, session=session) in one transaction of the caller's
TIME  BEGIN
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  UPDATE account SET balance=? WHERE account.name = ? (2 rows)
TIME  INSERT INTO transfer (text) VALUES (?)
TIME  INSERT INTO entry (transfer_id, account_name, cents) VALUES (?, ?, ?) (2 rows)
TIME  SELECT ... FROM account WHERE account.name IN (?, ?) ORDER BY account.name
TIME  COMMIT
TIME  1 done, 2 refused

Auto mode, generator, read_only: for line in ledger.statement('ann')
TIME  BEGIN
TIME  PRAGMA query_only = 1
TIME  SELECT ... FROM transfer JOIN entry ON transfer.id = entry.transfer_id WHERE entry.a...
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
No money was made or lost: the balances, the bank's debt included, add up to 0.00.
"""


class Terminal(io.StringIO):
    """A terminal as far as a program can ask."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the colours and the width from nothing but the test."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")


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
def when_created() -> Iterator[Callable[[Any, str], None]]:
    """Let the database run SQL of the test right after it has created one of the demo's tables."""
    listening = []

    def listen(table: Any, sql: str) -> None:
        ddl = DDL(sql)  # type: ignore[no-untyped-call]
        event.listen(table.__table__, "after_create", ddl)
        listening.append((table.__table__, ddl))

    yield listen
    for table, ddl in listening:
        event.remove(table, "after_create", ddl)


def tables(url: str) -> set[str]:
    engine = create_engine(sync(url))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def sync(url: str) -> str:
    return url.replace("+aiosqlite", "").replace("psycopg_async", "psycopg").replace("asyncpg", "psycopg")


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


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Give what was written to standard error, in one line as it must be."""
    [line] = capsys.readouterr().err.splitlines()
    return line.removeprefix("session-aware demo: ")


def test_output_on_sqlite_is_this(orders: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 0
    printed = capsys.readouterr()
    assert normal(printed.out) == OUTPUT
    assert printed.err == ""


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


def test_shipped_transfers_run_on_a_temporary_file_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert " more ..." in printed
    assert printed.partition("\nTotals\n")[2] == (
        "      3,000 transfers asked for\n"
        "      2,810 done\n"
        "        138 refused with OverdraftError\n"
        "         52 refused with UnknownAccountError\n"
        "         61 accounts, with 113,625.00 from the bank among them\n"
        "No money was made or lost: the balances, the bank's debt included, add up to 0.00.\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert SHIPPED.stat().st_size < 150_000


def test_first_order_may_be_refused_and_be_the_only_one(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.csv"
    file.write_text("\ufeffsender,receiver,cents,text\nann,bob,1,\n", encoding="utf-8")
    assert main(["demo", "--url", sqlite_url, "--csv", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("raised UnknownAccountError: there is no account 'ann'") == 2
    assert "exhausted after 0 lines" in printed


@pytest.mark.parametrize("name", ["money", "transfers"])
def test_money_made_by_the_database_is_noticed(
    name: str,
    orders: Path,
    sqlite_url: str,
    when_created: Callable[[Any, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    actions = {
        "money": "UPDATE session_aware_demo_account SET balance = balance + 1 WHERE name = NEW.name",
        "transfers": "INSERT INTO session_aware_demo_transfer (text) VALUES ('forged')",
    }
    when = "AFTER INSERT ON session_aware_demo_account WHEN NEW.name = 'bank'"
    when_created(Account, f"CREATE TRIGGER forge {when} BEGIN {actions[name]}; END")
    assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 1
    expected = {
        "money": ("0.01", 1, 7),
        "transfers": ("0.00", 0, 8),
    }
    balances, mismatches, booked = expected[name]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"MONEY WAS MADE OR LOST: balances add up to {balances} and entries to 0.00 instead of 0.00, {mismatches} balances "
        f"differ from their entries, {booked} transfers are booked where 7 were done."
    )


NO_URL = (
    "--url is no database URL. Write 'dialect+driver://user:password@host:port/database', such as "
    "'sqlite:///ledger.sqlite' or 'postgresql+psycopg://ann@localhost/test'."
)
NO_DIALECT = "--url: SQLAlchemy has no dialect 'postgersql'. Correct it, or install the package that brings it."
NO_DRIVER = (
    "--url: the driver of mysql+pymysql cannot be imported (import of pymysql halted; None in sys.modules). Install the "
    "package that brings it, such as \"pip install 'psycopg[binary]'\" for postgresql+psycopg, or name another driver: "
    "'dialect+driver://...'."
)
NO_HOST = (
    "--url: sqlite does not take this URL (Invalid SQLite URL: sqlite://host/x). Correct the host, the database or what "
    "follows it."
)
NO_FOLDER = (
    "--url sqlite:////missing/folder/x: cannot connect ((sqlite3.OperationalError) unable to open database file). Start the "
    "server, or correct the URL."
)
NO_SERVER = (
    "--url postgresql+asyncpg://ann:***@127.0.0.1:1/x: cannot connect ([Errno 111] Connect call failed ('127.0.0.1', 1)). "
    "Start the server, or correct the URL."
)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ledger.sqlite", NO_URL),
        ("postgresql://ann:secret@host:port/x", NO_URL),
        ("postgersql://ann:secret@localhost/x", NO_DIALECT),
        ("mysql+pymysql://ann:secret@localhost/x", NO_DRIVER),
        ("sqlite://host/x", NO_HOST),
        ("sqlite:////missing/folder/x", NO_FOLDER),
        ("postgresql+asyncpg://ann:secret@127.0.0.1:1/x", NO_SERVER),
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
    assert complaint(capsys) == (
        "--url: sqlite+aiosqlite is asynchronous, which needs greenlet. Write \"pip install 'session-aware[asyncio]'\"."
    )


EXAMPLE = "'sender,receiver,cents,text', such as 'ann,bob,1250,lunch'"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a,b\n", ", line 1: the header is 'a,b'. Write 'sender,receiver,cents,text'."),
        (b"", ": has no transfer. Write the header 'sender,receiver,cents,text' and lines like 'ann,bob,1250,lunch'."),
        (
            b"sender,receiver,cents,text\n\n",
            ": has no transfer. Write the header 'sender,receiver,cents,text' and lines like 'ann,bob,1250,lunch'.",
        ),
        (b"sender,receiver,cents,text\nann,bob,1\n", f", line 2: has 3 fields instead of 4. Write {EXAMPLE}."),
        (
            b"sender,receiver,cents,text\n ,bob,1,x\n",
            ", line 2: sender has 0 characters. Write an account's name of 1 to 40.",
        ),
        (
            b"sender,receiver,cents,text\nann," + b"b" * 41 + b",1,x\n",
            ", line 2: receiver has 41 characters. Write an account's name of 1 to 40.",
        ),
        (b"sender,receiver,cents,text\n\nann,ann,1,x\n", ", line 3: ann is sender and receiver. Write two accounts."),
        *(
            (
                f"sender,receiver,cents,text\nann,bob,{cents},x\n".encode(),
                f", line 2: cents is '{cents}'. Write a whole number from 1 to 1000000000000, such as 1250 for 12.50.",
            )
            for cents in ("12.50", "-1", "0", "1000000000001", "9" * 5000, "\u0664", "")
        ),
        (
            b"sender,receiver,cents,text\nann,bob,1," + b"x" * 81 + b"\n",
            ", line 2: text has 81 characters. Write 80 at most.",
        ),
        (
            b"sender,receiver,cents,text\nann,bob,1,\x1b[31m\n",
            ", line 2: has a character that cannot be printed. Write letters, digits, spaces and punctuation only.",
        ),
        (
            b'sender,receiver,cents,text\nann,bob,1,"x"y\n',
            ", line 2: is no CSV (',' expected after '\"'). Write a line like 'ann,bob,1250,lunch'.",
        ),
        (b"sender,receiver,cents,text\nann,bob,1,\xff\n", ": is not UTF-8 (byte 37: invalid start byte). Save it as UTF-8."),
    ],
)
def test_bad_file_is_named_with_its_line_and_what_to_write(
    content: bytes, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    assert main(["demo", "--csv", str(file)]) == 2
    assert complaint(capsys) == f"{file}{problem}"


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--csv", str(tmp_path / "none.csv")]) == 2
    assert complaint(capsys) == (
        f"{tmp_path / 'none.csv'}: cannot be read (No such file or directory). Write '--csv FILE' with a "
        "CSV file, or leave it out."
    )


def test_tables_that_exist_already_are_left_alone(url: str, orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_sql(url, "CREATE TABLE session_aware_demo_account (x INTEGER)", "CREATE TABLE session_aware_demo_entry (x INTEGER)")
    try:
        assert main(["demo", "--url", url, "--csv", str(orders)]) == 2
    finally:
        run_sql(url, "DROP TABLE session_aware_demo_account", "DROP TABLE session_aware_demo_entry")
    assert complaint(capsys) == (
        f"--url {url}: there is a table session_aware_demo_account already, of another run or of one that was killed. Wait "
        "for it, or write 'DROP TABLE session_aware_demo_entry; DROP TABLE session_aware_demo_account' if nothing uses it, "
        "or use another database."
    )


def test_account_that_may_not_create_tables_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ledger.db"
    run_sql(f"sqlite:///{file}", "CREATE TABLE mine (x INTEGER)")
    url = f"sqlite:///file:{file}?mode=ro&uri=true"
    assert main(["demo", "--url", url]) == 2
    assert complaint(capsys) == (
        f"--url {make_url(url)}: cannot create tables ((sqlite3.OperationalError) attempt to write a readonly database). "
        "Use an account that may, or another database."
    )


def test_failure_of_the_database_is_told_and_the_tables_are_dropped(
    orders: Path, sqlite_url: str, when_created: Callable[[Any, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    when = "BEFORE INSERT ON session_aware_demo_entry"
    when_created(Entry, f"CREATE TRIGGER full {when} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 2
    assert complaint(capsys) == (
        "the database failed ((sqlite3.IntegrityError) disk full). Look at its log, or try another one with --url."
    )
    assert tables(sqlite_url) == set()


def test_tables_that_cannot_be_dropped_are_told(
    orders: Path, postgresql: PostgreSQL, when_created: Callable[[Any, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgresql.url("psycopg")
    when_created(Account, "CREATE VIEW rich AS SELECT * FROM session_aware_demo_account")
    drop = (
        "DROP TABLE session_aware_demo_entry; DROP TABLE session_aware_demo_transfer; DROP TABLE session_aware_demo_account"
    )
    try:
        assert main(["demo", "--url", url, "--csv", str(orders)]) == 2
    finally:
        run_sql(url, "DROP VIEW rich", *drop.split(";"))
    assert complaint(capsys) == (
        f"--url {url}: the demo's tables are left behind ((psycopg.errors.DependentObjectsStillExist) "
        f"cannot drop table session_aware_demo_account because other objects depend on it). Write '{drop}' there."
    )


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


def test_terminal_gets_colours_and_a_progress_line_that_is_taken_away(
    orders: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 0
    coloured = out.getvalue()
    assert set(re.findall(r"\x1b\[(\d+)m", coloured)) == {"0", "1", "31", "32"}
    assert re.search(r"ms  \x1b\[32mCOMMIT\x1b\[0m\n", coloured)
    assert normal(re.sub(r"\x1b\[\d+m", "", coloured)) == OUTPUT
    assert err.getvalue() == f"\r0 of 8 transfers\r{chr(32) * 16}\r"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_refused(
    variable: str, value: str, orders: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv(variable, value)
    assert main(["demo", "--url", sqlite_url, "--csv", str(orders)]) == 0
    assert "\x1b" not in out.getvalue()


def test_piped_output_has_no_escape_codes_and_no_progress_line(orders: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "session_aware", "demo", "--csv", str(orders)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert normal(done.stdout.decode()) == OUTPUT


def test_reader_who_leaves_early_ends_it_quietly(orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open(writing, "w", encoding="utf-8") as out:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["demo", "--csv", str(orders)]) == 141
    assert list(tmp_path.iterdir()) == [orders]


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


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT a, b \nFROM session_aware_demo_entry \nWHERE a = $1::VARCHAR AND b = $2::BIGINT",
        "SELECT a, b FROM session_aware_demo_entry WHERE a = %(a_1)s::VARCHAR AND b = %(b_1)s",
        "SELECT a, b FROM session_aware_demo_entry WHERE a = :a AND b = :b",
        "SELECT a, b FROM session_aware_demo_entry WHERE a = ? AND b = ?",
        "SELECT a, b FROM session_aware_demo_entry WHERE a = %s AND b = %s",
    ],
)
def test_statements_of_every_driver_are_shortened_alike(statement: str) -> None:
    assert shortened(statement, 100) == "SELECT ... FROM entry WHERE a = ? AND b = ?"
    assert shortened(statement, 30) == "SELECT ... FROM entry WHERE..."
