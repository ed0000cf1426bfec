"""The bank as a Flask application: ``python -m waitress --call tests.integrations.flask_app:create_app``."""

from __future__ import annotations

import os
from http import HTTPStatus

from flask import Flask, Response
from flask import request as asked
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, auto_session_func, configure
from tests.integrations.bank import Bank, UnknownAccountError
from tests.integrations.pool import checked_out

__all__ = ["create_app"]


def create_app() -> Flask:
    app = Flask("bank")
    bank = Bank()
    engine = create_engine(os.environ["DATABASE_URL"])
    configure(session_factory=sessionmaker(engine))

    @app.errorhandler(UnknownAccountError)
    def answer_unknown(error: UnknownAccountError) -> tuple[dict[str, str], HTTPStatus]:
        return {"unknown": str(error)}, HTTPStatus.NOT_FOUND

    @app.post("/transfers")
    def transfer() -> str:
        return str(bank.move(asked.args["source"], asked.args["target"], int(asked.args["amount"])))

    @app.post("/welcomes/<owner>")
    @auto_session_func  # beneath the route: one transaction for the view, committed before the response is sent
    def welcome(owner: str, *, session: Session = NEW_SESSION) -> str:
        bank.open(owner, session=session)
        return str(bank.move("house", owner, int(asked.args["gift"]), session=session))

    @app.post("/records")
    @auto_session_func
    def record(*, session: Session = NEW_SESSION) -> str:
        return str(bank.record(asked.args["source"], asked.args["target"], 0, session=session))

    @app.get("/transfers")
    def transfers() -> Response:
        return Response(bank.transfers(), mimetype="text/plain")  # closed by the server, as WSGI demands

    @app.get("/pool")
    def pool() -> dict[str, int]:
        return {"sync": checked_out(engine)}

    return app
