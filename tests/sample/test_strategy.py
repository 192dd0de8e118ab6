"""From settings to what a sampler does: fanouts, strategies per link, inferred numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kincast.clock import DAY_US
from kincast.errors import ProjectError
from kincast.project import ModelSettings
from kincast.sample.edge import edge_types
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import LinkSampling, fanout_table, plan_of, settle_fanouts

EVENTS = "users.id->events.user"


def test_settings_become_samplings(make_graph: Callable[..., Any]) -> None:
    settings = ModelSettings.model_validate(
        {
            "fanout": [4, 2],
            "fanout_overrides": {"users.id -> events.user": [8, 0], "users.id->events.other": [1, 1]},
            "sampling": {"strategy": "recency", "half_life": "2 days"},
            "link_sampling": {
                EVENTS: {"strategy": "weighted", "column": "w", "replace": True},
                "items.id -> events.item": {"strategy": "all", "window": "1 week"},
            },
        }
    )
    sampler = Sampler(make_graph(0), *plan_of(settings))
    found = {edge.name: sampling for edge, sampling in zip(sampler.edges, sampler.samplings, strict=True)}
    recency = LinkSampling("recency", (4, 2), half_life_us=2 * DAY_US)
    assert found[EVENTS] == LinkSampling("weighted", (8, 0), column="w", replace=True)
    assert found["items.id->events.item"] == LinkSampling("all", (-1, -1), window_us=7 * DAY_US)
    assert found["users.id->events.other"] == LinkSampling("recency", (1, 1), half_life_us=2 * DAY_US)
    assert found["events.user->users.id"] == recency
    assert fanout_table(sampler.edges, *plan_of(settings)).tolist() == sampler.fanout.tolist()


def test_inferred_fanouts_follow_from_the_degrees_there_were(make_graph: Callable[..., Any]) -> None:
    graph = make_graph(0, users=2, events=600, users_timed=False)
    settings = ModelSettings.model_validate(
        {"fanout": ["inferred", 3], "fanout_overrides": {"users.id -> events.other": [1, "inferred"]}}
    )
    settled = settle_fanouts(settings, graph, 5)
    table = fanout_table(edge_types(graph.schema), *plan_of(settled))
    found = {edge.name: hops for edge, hops in zip(edge_types(graph.schema), table.tolist(), strict=True)}
    events, users = np.searchsorted(graph.tables["events"].time_us, 5, "right"), 2
    for name, link in ((EVENTS, 0), ("users.id->events.other", 1)):
        degree = (graph.links[link].forward[:events] >= 0).sum() / users
        number = math.ceil(8 * math.sqrt(degree))
        assert 64 < number < 512
        assert found[name] == ([number, 3] if link == 0 else [1, number])
    assert found["events.user->users.id"] == [64, 3]
    assert settle_fanouts(settled, graph, 5) is settled
    assert fanout_table(edge_types(graph.schema), *plan_of(settle_fanouts(settings, graph, 9))).max() > table.max()


def test_inferred_fanouts_that_nobody_settled() -> None:
    with pytest.raises(ProjectError, match="needs a snapshot"):
        plan_of(ModelSettings.model_validate({"fanout": ["inferred"]}))


def test_an_unknown_link_is_named_when_its_fanout_is_inferred(make_graph: Callable[..., Any]) -> None:
    settings = ModelSettings.model_validate(
        {"fanout": [2], "fanout_overrides": {"users.id->visits.user": ["inferred"]}}
    )
    with pytest.raises(ProjectError, match="visits"):
        plan_of(settle_fanouts(settings, make_graph(0), 5))
    settings = ModelSettings.model_validate({"fanout": [2], "link_sampling": {"users.id->visits.user": "uniform"}})
    with pytest.raises(ProjectError, match="there is no such link"):
        Sampler(make_graph(0), *plan_of(settings))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"strategy": "newest"}, "there are last, uniform, recency, weighted and all"),
        ({"strategy": "recency"}, "half_life go together"),
        ({"half_life_us": 3}, "half_life go together"),
        ({"strategy": "recency", "half_life_us": 0}, "not longer than nothing"),
        ({"window_us": -1}, "not longer than nothing"),
        ({"column": "w"}, "belongs to the strategy weighted"),
        ({"replace": True}, "draws nothing"),
    ],
)
def test_what_does_not_go_together(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        LinkSampling(**wrong)


def test_a_column_that_holds_no_numbers(make_graph: Callable[..., Any]) -> None:
    import pyarrow as pa

    graph = make_graph(0)
    graph.columns = lambda table, names: pa.table({names[0]: pa.array(["a"] * graph.tables[table].num_rows)})
    with pytest.raises(ProjectError, match=r"events\.w is no number"):
        Sampler(graph, [0], {EVENTS: LinkSampling("weighted", (1,), column="w")})
