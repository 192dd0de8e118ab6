"""Triple: a trained knowledge graph over a snapshot: tails for a head and a relation, and heads the other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kincast.errors import KeyNotFoundError, ProjectError, VersionError
from kincast.feature.live import LiveFeatures
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.answer import best_answers, score_all
from kincast.model.certainty import Certainty
from kincast.model.network import load_weights
from kincast.model.objective import Objective
from kincast.model.ranked import Ranked
from kincast.model.score import InputLoader, Scored, Spreads
from kincast.model.threads import limit_threads
from kincast.model.triple import TripleNetwork
from kincast.predict.online import Predictor
from kincast.predict.why import TOP
from kincast.progress import Progress, silent
from kincast.project import ModelSettings, SplitSettings
from kincast.query.answers import Answers
from kincast.query.compile import compile_task
from kincast.query.task import top_of
from kincast.query.triple import both_ways, code_names, read_triples, width_of
from kincast.registry.version import Version
from kincast.sample.batch import Seeds

Int64s = NDArray[np.int64]


class TriplePredictor(Predictor):
    """A version that completes a knowledge graph; what others call rows are questions here, as numbers.

    A key is the entity's key and a relation; in front of the relation ``^`` asks for heads. All facts of the snapshot
    are known, and no answer; rows that came after training are none either.

    Args:
        version: the trained version.
        snapshot: the facts that are known.
    """

    def __init__(self, version: Version, snapshot: Snapshot) -> None:
        limit_threads()
        self.version = version
        self.snapshot: Snapshot | LiveSnapshot = snapshot
        self.task = compile_task(version.info.query, snapshot.schema)
        self.relations = tuple(version.features["relations"])
        keys = [tuple(key) if isinstance(key, list) else key for key in version.features["items"]]
        model = ModelSettings.model_validate(version.info.settings["model"])
        network = TripleNetwork(model, len(keys), len(self.relations))
        try:
            load_weights(network, version.weights())
        except RuntimeError as error:
            hint = "Kincast has changed since; train again"
            raise VersionError("the weights do not fit the network", where=str(version.folder), hint=hint) from error
        network.eval()
        self.objective = Objective.from_dict(version.features["objective"])
        self.certainty, self.coverage, self.freeze_us = Certainty(), None, None
        self._codes = {name: code for code, name in enumerate(code_names(self.relations)) if name is not None}
        self._width = width_of(len(self.relations))
        seen = snapshot.rows_of(self.task.entity, keys)
        num_rows = snapshot.tables[self.task.entity].num_rows
        self._places = np.full(num_rows, -1, np.int64)  # row → place among those of training
        self._places[seen[seen >= 0]] = np.flatnonzero(seen >= 0)
        self._seen, self._gone = seen, np.flatnonzero(seen < 0)
        self._network, self._score = network, score_all(network)
        self._answers = self._facts(SplitSettings.model_validate(version.info.settings["split"]))

    def _facts(self, split: SplitSettings) -> Answers:
        """All facts of the snapshot whose rows and relations there were in training, by places."""
        assert isinstance(self.snapshot, Snapshot)
        with self.snapshot.open_tables() as tables:
            found = read_triples(self.task, tables, split)
        names = {name: code for code, name in enumerate(self.relations)}
        codes = np.array([*(names.get(name, -1) for name in found.relations), -1], np.int64)[found.relation]
        head, tail = self._places[found.head], self._places[found.tail]
        there = (head >= 0) & (tail >= 0) & (codes >= 0)
        return Answers.of(*both_ways(head[there], codes[there], tail[there], len(self.relations)))

    def raw_scores(self, seeds: Seeds, progress: Progress = silent) -> tuple[Scored, Spreads, NDArray[np.float32]]:
        """The best answers to questions, and the vectors of what each asks for."""
        rows, codes = np.divmod(seeds.rows, self._width)
        questions = self._places[rows] * self._width + codes

        def score(asked: Int64s) -> NDArray[np.float32]:
            scores = self._score(asked)
            scores[:, self._gone] = -np.inf
            return scores

        def told(done: int) -> None:
            progress("score", done, len(questions))

        found = best_answers(score, questions, self._answers, len(self._seen), top_of(self.task), told)
        items = np.where(found.items >= 0, self._seen[found.items], found.items)
        with torch.inference_mode():
            parts = (torch.from_numpy(part) for part in np.divmod(questions, self._width))
            row, relation = (weight[part] for weight, part in zip(self._network.parameters(), parts, strict=True))
            vectors = self._network.asked(row, relation).numpy()
        return Ranked(items, found.scores, found.num_items), (None,), vectors

    def entity_rows(self, as_of_us: int | None) -> tuple[Int64s, int]:
        """Every question that a fact of the snapshot answers, and the instant."""
        places, codes = np.divmod(self._answers.questions, self._width)
        return np.sort(self._seen[places] * self._width + codes), self.default_as_of()

    def rows_at(self, keys: Sequence[Any], as_of_us: int | None) -> Int64s:
        """[n] int64 questions.

        Raises:
            KeyNotFoundError: a key is no pair, or its row or relation was not there in training.
        """
        names = self.info.key_columns
        wrong = [key for key in keys if not isinstance(key, tuple) or len(key) != len(names)]
        if wrong:
            what = f"a key is a row and a relation: {', '.join(names)}"
            raise KeyNotFoundError(what, where=self.task.entity, keys=wrong)
        rows = self.snapshot.rows_of(self.task.entity, [key[:-1] if len(names) > 2 else key[0] for key in keys])
        known = (rows >= 0) & (self._places[np.maximum(rows, 0)] >= 0) if len(self._places) else rows >= 0
        codes = np.array([self._codes.get(str(key[-1]), -1) for key in keys], np.int64)
        fact = f"{self.task.fact}.{self.task.relation}"
        for bad, where in ((~known, self.task.entity), (codes < 0, fact)):
            if bad.any():
                missing = [keys[place] for place in np.flatnonzero(bad).tolist()]
                shown = ", ".join("/".join(map(str, key)) for key in missing[:3])
                what = f"{len(missing)} of {len(keys)} keys name what was not in {where} in training: {shown}"
                raise KeyNotFoundError(what, where=where, keys=missing)
        return rows * self._width + codes

    def keys_of(self, rows: Int64s) -> pa.Table:
        """The keys of questions: those of their rows, and their relations."""
        entities, codes = np.divmod(rows, self._width)
        names = pa.array(code_names(self.relations), pa.string())
        keys = self.snapshot.keys_of(self.task.entity, entities)
        return keys.append_column(self.task.relation, names.take(pa.array(codes)))

    def loader_of(self, seeds: Seeds) -> InputLoader:
        """Refused: no neighbourhood is read."""
        self._refuse("are learnt as vectors")

    def why(
        self,
        keys: Sequence[Any],
        as_of_us: int | None = None,
        *,
        of: Any = None,
        target: str | None = None,
        top: int = TOP,
    ) -> NoReturn:
        """Refused: no row that is read moves a score."""
        self._refuse("cannot be explained")

    def over(self, view: LiveSnapshot, features: LiveFeatures) -> NoReturn:
        """Refused: facts are known from a snapshot alone."""
        self._refuse("are known from a snapshot only")

    def _refuse(self, what: str) -> NoReturn:
        hint = "no linked row is read for a prediction"
        raise ProjectError(f"facts of several relations {what}", where=self.task.query_line, hint=hint)
