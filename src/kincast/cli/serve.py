"""Serve: predictions and embeddings over HTTP."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument, VersionOption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kincast.cli.workspace import Workspace
    from kincast.predict.online import Predictor
    from kincast.serve.intake import Intake
    from kincast.store.rows import Store

_PATIENCE_S = 60.0


def serve(  # over budget: each argument is an option of the command
    task: TaskArgument = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes a free one.", min=0, max=65535)] = 8321,
    once: Annotated[bool, typer.Option("--once", help="Ask for one prediction, show the answer, and stop.")] = False,
    ingest: Annotated[
        bool, typer.Option("--ingest", help="Take changes in: at POST /v1/append, and those that kincast.yaml follows.")
    ] = False,
    version: VersionOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer predictions over HTTP.

    On this machine only, until interrupted; the API describes itself at /docs. Rows that are appended meanwhile count
    within a second.
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    found = workspace.version(name, version)

    from kincast.errors import ProjectError
    from kincast.predict.live import LivePredictor
    from kincast.predict.online import Predictor
    from kincast.serve.app import create_app
    from kincast.serve.asker import Asker
    from kincast.serve.run import running
    from kincast.serve.run import serve as serve_app

    features, readahead = workspace.project.work / "features", workspace.project.features.readahead
    if not once:
        live: LivePredictor | Predictor
        with console.progress() as progress:
            try:
                live = LivePredictor(found, workspace.project.snapshots, features, progress, readahead=readahead)
                live.start()
            except ProjectError as error:  # its sampling or its tables cannot be live
                if ingest:
                    raise
                console.say(f"answers come from the snapshot alone: {error.what}")
                live = Predictor.load(found, workspace.snapshot(), features, progress, readahead=readahead)
        with _intake(workspace, ingest) as intake:
            store, asker = embeddings(workspace.project.store, name), Asker(workspace.project)
            app = create_app(live, store, intake=intake, asker=asker)
            serve_app(app, host, port, on_start=lambda url: _announce(console, url, found.info.id))
        return
    with console.progress() as progress:
        predictor = Predictor.load(found, workspace.snapshot(), features, progress, readahead=readahead)
    app = create_app(predictor, embeddings(workspace.project.store, name))
    with running(app, host, 0) as url:
        body = {"keys": [first_key(predictor)]}
        answer = ask(url, "/v1/predict", body)
    console.say(f"POST {url}/v1/predict {json.dumps(body)}")
    console.say(json.dumps(answer, indent=2, ensure_ascii=False))
    console.result({"asked": body, "answer": answer})


@contextlib.contextmanager
def _intake(workspace: Workspace, wanted: bool) -> Iterator[Intake | None]:
    """What takes rows in, where that is wanted, while the project's stream is followed too; nobody else may then."""
    if not wanted:
        yield None
        return
    from kincast.graph.autocompact import AutoCompact
    from kincast.graph.delta import DeltaLog
    from kincast.graph.ingest import ingesting
    from kincast.serve.intake import Intake

    schema = workspace.snapshot().schema
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(DeltaLog(workspace.project.snapshots))
        stack.enter_context(AutoCompact(log, workspace.compact_after_rows))
        if workspace.project.live is not None:
            stream = stack.enter_context(contextlib.closing(workspace.stream(schema)))
            stack.enter_context(ingesting(stream, log, schema))
        yield Intake(log, schema)


def embeddings(root: Path, task: str) -> Store | None:
    """The published embeddings of a task; None where there are none yet."""
    from kincast.errors import StorageError
    from kincast.store.rows import open_store

    try:
        return open_store(root, f"{task}.embeddings")
    except StorageError:
        return None


def first_key(predictor: Predictor) -> Any:
    """Key of the first row the query asks about, as JSON has it.

    Raises:
        DataError: it asks about none.
    """
    from kincast.errors import DataError

    rows, _ = predictor.entity_rows(None)
    if not len(rows):
        raise DataError("the query asks about no row now", where=predictor.info.query, hint="see its filter")
    values = predictor.keys_of(rows[:1]).to_pylist()[0].values()
    parts = [value if type(value) in (int, str) else str(value) for value in values]
    return parts[0] if len(parts) == 1 else parts


def ask(url: str, path: str, body: Any) -> Any:
    """The JSON answer of a running server to a JSON request.

    Raises:
        ServeError: it answered with an error.
    """
    from http.client import HTTPConnection  # slow to import, and only ``--once`` asks
    from urllib.parse import urlsplit

    from kincast.errors import ServeError

    place = urlsplit(url)
    connection = HTTPConnection(str(place.hostname), place.port, timeout=_PATIENCE_S)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise ServeError(f"it answered {response.status}: {text[:300]}", where=url + path)
    return json.loads(text)


def _announce(console: Console, url: str, version_id: str) -> None:
    console.say(f"serving {version_id} at {url}; what can be asked: {url}/docs; stop with Ctrl-C")
