"""The bank as a Celery worker: ``python -m celery -A tests.integrations.worker worker``."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, after_commit, auto_session_func, configure
from tests.integrations.bank import Bank

__all__ = ["app"]

bank = Bank()
app = Celery("bank", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_URL"])
app.conf.task_acks_late = True  # a task is taken off the queue after its unit is committed


@worker_process_init.connect
def connect(**_: object) -> None:
    """Make the engine in each process of the pool: connections must not cross a fork."""
    configure(session_factory=sessionmaker(create_engine(os.environ["DATABASE_URL"])))


@app.task
def transfer(source: str, target: str, amount: int) -> int:
    return bank.move(source, target, amount)


@app.task
@auto_session_func  # beneath app.task: one transaction for the task
def welcome(owner: str, gift: int, *, session: Session = NEW_SESSION) -> int:
    bank.open(owner, session=session)
    return bank.move("house", owner, gift, session=session)


@app.task
@auto_session_func
def open_account(owner: str, gift: int, *, session: Session = NEW_SESSION) -> None:
    after_commit(session, lambda: transfer.delay("house", owner, gift))  # who takes it on finds the account
    bank.open(owner, session=session)
