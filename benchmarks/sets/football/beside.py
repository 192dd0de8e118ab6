"""An Elo-like rating of football teams, as a rule beside the models: of each match, from the matches before its day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from kincast.graph.snapshot import Snapshot
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.metric import accuracy, auroc

Floats = NDArray[np.float64]
STEP, HOME, SCALE = 30.0, 80.0, 400.0  # usual values, not tuned here


def rules(labels: Labels, snapshot: Snapshot) -> dict[str, dict[str, float]]:
    """The deciding metric, on the test rows, of a rating difference with two or three classes fitted in training."""
    lead = leads(snapshot)[labels.rows] / SCALE
    train, test = labels.split == 0, labels.split == 2
    if labels.kind is TaskKind.BINARY:
        value = auroc(labels.target[test], lead[test])(np.ones(test.sum()))
        return {"Elo-like rating": {"auroc": value}}
    inputs = np.column_stack([np.ones_like(lead), lead])
    codes = labels.target.astype(np.int64)
    scores = softmax(inputs, fitted(inputs[train], codes[train], len(labels.classes)))
    value = accuracy(labels.target[test], scores[test])(np.ones(test.sum()))
    return {"Elo-like rating": {"accuracy": value}}


def leads(snapshot: Snapshot) -> Floats:
    """[n] of each match, the rating of the home side with its advantage, minus that of the other."""
    rows = snapshot.columns("matches", ["date", "home_team", "away_team", "neutral", "result"]).to_pydict()
    ratings: dict[str, float] = {}
    lead, waiting, today = np.empty(len(rows["date"])), [], None
    for place, (day, home, away, neutral, result) in enumerate(zip(*rows.values(), strict=True)):
        if day != today:  # what is played on a day counts from the next one on
            for team, change in waiting:
                ratings[team] = ratings.get(team, 0.0) + change
            waiting, today = [], day
        lead[place] = ratings.get(home, 0.0) - ratings.get(away, 0.0) + (0.0 if neutral else HOME)
        expected = 1 / (1 + 10 ** (-lead[place] / SCALE))
        change = STEP * ({"home": 1.0, "draw": 0.5, "away": 0.0}[result] - expected)
        waiting += [(home, change), (away, -change)]
    return lead


def fitted(inputs: Floats, codes: NDArray[np.int64], num_classes: int) -> Floats:
    """[features, classes] weights of a multinomial logistic regression."""

    def loss(flat: Floats) -> float:
        scores = softmax(inputs, flat.reshape(-1, num_classes))
        return float(-np.log(scores[np.arange(len(codes)), codes]).mean())

    start = np.zeros(inputs.shape[1] * num_classes)
    return np.asarray(optimize.minimize(loss, start).x.reshape(-1, num_classes))


def softmax(inputs: Floats, weights: Floats) -> Floats:
    """[n, classes] probabilities."""
    scores = np.exp(inputs @ weights)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
