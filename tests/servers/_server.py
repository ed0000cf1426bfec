"""What every server does alike: a folder, a port, a process, and leaving nothing behind."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from ._process import Child, Home, ServerError, free_port


class Server(ABC):
    """A database server with a data folder of its own, gone without a trace at the end of the ``with`` block.

    The methods may be called from any thread, one at a time.
    """

    name: ClassVar[str]
    accounts: ClassVar[tuple[str, ...]]
    """Who may own the server if the session is root, the best first."""
    stop_signal: ClassVar[int]
    """Makes it end at once, releasing what it holds outside of its folder."""
    start_seconds: ClassVar[float] = 30.0
    """How long it may take until it answers."""

    port = 0

    def __init__(self) -> None:
        """Start nothing yet; the ``with`` statement does."""
        self._home: Home | None = None
        self._child: Child | None = None

    def __enter__(self) -> Self:
        """Create the data folder and start the server.

        Raises:
            ServerError: It cannot be created or does not answer in time.
        """
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server at once and delete its folder."""
        self.discard()

    @property
    def home(self) -> Path:
        """The folder of everything the server writes, its logs included.

        Raises:
            ServerError: Outside of the ``with`` block.
        """
        return self._in_home().path

    @property
    def data(self) -> Path:
        """The data folder, beneath `home`."""
        return self.home / "data"

    @property
    def pid(self) -> int:
        """The process id of the server.

        Raises:
            ServerError: The server is not running.
        """
        return self._running().pid

    def start(self) -> None:
        """Start the stopped server on its port and wait until it answers.

        Raises:
            ServerError: It runs already, or does not answer in time; then it is stopped.
        """
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:
            self._end((self.stop_signal, 5.0))
            raise

    def prepare(self) -> None:
        """Create the folder and the data, the first part of entering the ``with`` block."""
        self._home = Home.create(self.name.lower(), *self.accounts)
        self._create_data()
        # As late as possible: nothing holds the port until the server does.
        self.port = free_port()

    def launch(self) -> None:
        """Do the first half of `start`."""
        if self._child is not None and self._child.exit_code is None:
            message = f"{self.name} is running already, as process {self._child.pid}. Call stop() first."
            raise ServerError(message)
        self._child = self._in_home().spawn(self._command(), log="server.log", stop_signal=self.stop_signal)

    def wait_until_ready(self) -> None:
        """Do the second half of `start`."""
        self._running().wait_until(self._answers, seconds=self.start_seconds, what="ready for connections")

    def discard(self) -> None:
        """Stop the server at once and delete its folder; nothing happens if that is done."""
        try:
            self._end((self.stop_signal, 10.0))
        finally:
            if self._home is not None:
                self._home.remove()
                self._home = None

    @abstractmethod
    def _create_data(self) -> None:
        """Fill `data`."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Give the command line of the server, on `port`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server takes connections."""

    def _end(self, *steps: tuple[int, float]) -> None:
        """Stop the server as `Child.stop` does, if it is not stopped yet."""
        if self._child is not None:
            self._child.stop(*steps)
            self._child = None

    def _running(self) -> Child:
        if self._child is None:
            message = f"{self.name} is not running. Enter the 'with' block, or call start()."
            raise ServerError(message)
        if self._child.exit_code is not None:
            self._child.fail(f"ended by itself with status {self._child.exit_code}")
        return self._child

    def _in_home(self) -> Home:
        if self._home is None:
            message = f"{self.name} has no folder. Enter the 'with' block."
            raise ServerError(message)
        return self._home
