"""Names and paths: case, ambiguity, several ways, composite keys."""

from __future__ import annotations

import pytest

from kincast.errors import QueryError
from kincast.query.compile import compile_task
from kincast.query.print import print_query
from kincast.query.resolve import find_paths
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table


def table(name: str, key: str, *columns: str) -> Table:
    names = [*key.split(","), "at", *columns]
    kinds = {"at": SemanticType.TIMESTAMP, "size": SemanticType.NUMERICAL}
    stored = {"at": "TIMESTAMP"}
    made = tuple(Column(c, kinds.get(c, SemanticType.ID), stored.get(c, "BIGINT")) for c in names)
    return Table(name, made, tuple(key.split(",")), RowTime(column="at"))


SCHEMA = Schema(
    (
        table("teams", "id"),
        table("games", "id", "home", "away", "size"),
        table("goals", "game,minute", "size"),
        table("cards", "id", "game", "minute", "team", "size"),
        table("Odd name", "id", "Size", "size", "teams"),
    ),
    (
        Link("games", ("home",), "teams", ("id",)),
        Link("games", ("away",), "teams", ("id",)),
        Link("goals", ("game",), "games", ("id",)),
        Link("cards", ("game", "minute"), "goals", ("game", "minute")),
        Link("cards", ("team",), "teams", ("id",)),
        Link("Odd name", ("teams",), "teams", ("id",)),
    ),
)


def test_several_foreign_keys_must_be_settled() -> None:
    with pytest.raises(QueryError) as caught:
        compile_task("PREDICT COUNT(games.*, 0, 9, days) FOR EACH teams.id", SCHEMA)
    assert caught.value.what == "2 ways lead from games to teams: (games.home) or (games.away)"
    assert caught.value.hint == "settle it: COUNT(games.*, 0, 9, days) followed by VIA games.home or VIA games.away"
    task = compile_task("PREDICT COUNT(games.*, 0, 9, days) via GAMES.away FOR EACH teams.id", SCHEMA)
    assert print_query(task.query) == "PREDICT COUNT(games.*, 0, 9, days) VIA games.away FOR EACH teams.id"


def test_several_ways_of_several_hops_must_be_settled() -> None:
    with pytest.raises(QueryError, match=r"\(games.home, goals.game\) or \(games.away, goals.game\)"):
        compile_task("PREDICT COUNT(goals.*, 0, 9, days) FOR EACH teams.id", SCHEMA)
    task = compile_task("PREDICT COUNT(goals.*, 0, 9, days) VIA games.away FOR EACH teams.id", SCHEMA)
    assert task.paths == {"goals": "games.away, goals.game"}


def test_a_direct_foreign_key_wins_over_longer_ways() -> None:
    assert len(find_paths(SCHEMA, "teams", "cards")) == 3
    task = compile_task("PREDICT COUNT(cards.*, 0, 9, days) FOR EACH teams.id", SCHEMA)
    assert task.paths == {}


def test_composite_keys_are_named_by_their_table() -> None:
    task = compile_task("PREDICT COUNT(cards.*, 0, 9, days) FOR EACH goals", SCHEMA)
    assert print_query(task.query) == "PREDICT COUNT(cards.*, 0, 9, days) FOR EACH goals"
    with pytest.raises(QueryError) as caught:
        compile_task("PREDICT COUNT(cards.*, 0, 9, days) FOR EACH goals.minute", SCHEMA)
    assert caught.value.hint == "its key is (game, minute): write FOR EACH goals"


def test_exact_case_wins_and_doubt_is_an_error() -> None:
    task = compile_task('PREDICT SUM("odd NAME".size, 0, 9, days) FOR EACH teams', SCHEMA)
    assert print_query(task.query) == 'PREDICT SUM("Odd name".size, 0, 9, days) FOR EACH teams.id'
    with pytest.raises(QueryError, match="could be any of Size, size"):
        compile_task('PREDICT SUM("Odd name".SIZE, 0, 9, days) FOR EACH teams', SCHEMA)


def test_a_column_named_like_a_table_is_still_the_column() -> None:
    with pytest.raises(QueryError, match="is not the primary key of Odd name"):
        compile_task('PREDICT COUNT(cards.*, 0, 9, days) FOR EACH "Odd name".teams', SCHEMA)


def test_ambiguous_hop_is_refused() -> None:
    with pytest.raises(QueryError, match="several foreign keys lead from games to teams"):
        compile_task("PREDICT COUNT(goals.*, 0, 9, days) FOR EACH games WHERE teams.at > 2024-01-01", SCHEMA)
