"""Intake: rows that come over HTTP join the log beside the snapshot."""

from __future__ import annotations

import threading

from kincast.errors import DataError, SchemaError, StorageError
from kincast.graph.append import STREAM, own_changes
from kincast.graph.deadletter import UNREADABLE, DeadLetters, judged_rules, letters_of
from kincast.graph.delta import DeltaLog
from kincast.graph.judge import Judge
from kincast.schema import Schema
from kincast.serve.failure import Refusal
from kincast.serve.message import RejectedRow, Rows, Taken
from kincast.source.change import Delivery
from kincast.source.event import text_rows


class Intake:
    """Takes rows in; may be called from several threads.

    Args:
        log: opened for writing.
        schema: of the snapshot.
    """

    def __init__(self, log: DeltaLog, schema: Schema) -> None:
        self._log, self._schema = log, schema
        self._judge, self._letters = Judge(schema), DeadLetters(log.folder.parent)
        self._lock = threading.Lock()

    def take(self, sent: Rows) -> Taken:
        """Keep rows, those that a rule rejects as dead letters too; on the disk when this returns.

        Raises:
            Refusal: there is no such table, no row, a column that the table does not have, no key, or a table without
                a key whose rows are to be deleted; or the disk refused, and nothing is kept.
        """
        try:
            return self._take(sent)
        except (SchemaError, DataError) as error:
            text = f"{error.what}; {error.hint}" if error.hint else error.what
            raise Refusal(422, "bad_rows", text) from None
        except StorageError as error:
            headers = {"Retry-After": "5"}
            raise Refusal(503, "storage", f"nothing was kept: {error.what}", headers=headers) from None

    def _take(self, sent: Rows) -> Taken:
        if not sent.rows:
            raise DataError("at least one row is needed")
        table = self._schema.table(sent.table)
        named = dict.fromkeys(name for row in sent.rows for name in row)
        for name in named:
            table.column(name)
        changes = own_changes(self._schema, sent.table, text_rows(sent.rows, list(named)), sent.deleted)
        with self._lock:
            rules = judged_rules(self._judge, changes)
            if UNREADABLE in rules:
                raise DataError("the rows cannot be read, or have no key to be deleted by", where=sent.table)
            self._letters.add(letters_of(STREAM, changes, rules))
        kept = self._log.append(Delivery(STREAM, str(int(changes.sequence[0])), (changes,)))
        rejected = [RejectedRow(i, rule) for i, rule in enumerate(rules) if rule is not None]
        return Taken(sent.table, len(changes) - len(rejected), rejected, kept.record)
