"""Record: the trials of a search on disk, whole after a kill at any moment, and the weights of the best."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from kincast.atomic import replace_text
from kincast.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kincast.train.loop import Fit
from kincast.train.search.trial import Trial

RECORD_FILE = "trials.json"


@dataclass(frozen=True, slots=True)
class Record:
    """A folder with what a search has found so far.

    Attributes:
        folder: where it lies.
        key: names plan, settings, snapshot and code; the record of another search is not read.
    """

    folder: Path
    key: str

    def read(self) -> list[Trial]:
        """The trials so far; none where there is no record of this search, or it cannot be read."""
        try:
            values = json.loads((self.folder / RECORD_FILE).read_text(encoding="utf-8"))
            return [Trial.from_dict(trial) for trial in values["trials"]] if values["key"] == self.key else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def add(self, trials: list[Trial], best: Trial | None, fit: Fit | None) -> None:
        """Keep the trials, and the weights of the newest if it is the best.

        Raises:
            StorageError: the disk refused.
        """
        if fit is not None and best is trials[-1]:
            state = {"best_epoch": fit.best_epoch, "epochs": fit.epochs}
            save_checkpoint(self._place(best), Checkpoint(fit.weights, state))
        text = json.dumps({"key": self.key, "trials": [trial.as_dict() for trial in trials]}, indent=1)
        replace_text(self.folder / RECORD_FILE, text)
        for trial in trials:
            if best is None or trial.number != best.number:
                shutil.rmtree(self._place(trial), ignore_errors=True)

    def fit(self, trial: Trial) -> Fit | None:
        """The weights of the best trial; None where they are gone."""
        found = load_checkpoint(self._place(trial))
        return None if found is None else Fit(found.tensors, found.state["best_epoch"], found.state["epochs"])

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, trial: Trial) -> Path:
        return self.folder / f"trial-{trial.number}"
