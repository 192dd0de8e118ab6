"""Registry: runs, aliases and history, with a real MLflow database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.registry.examples import version

from kincast.errors import StorageError, VersionError
from kincast.registry.registry import Registry
from kincast.registry.version import Version


@pytest.fixture
def versions(tmp_path: Path) -> list[Version]:
    """Three versions of one task, oldest first."""
    return [version(tmp_path / "versions", created_us=i * 1_000_000) for i in (1, 2, 3)]


def test_registered_version_is_found_with_its_metrics(registry: Registry, versions: list[Version]) -> None:
    entry = registry.register(versions[0])
    assert entry.id == versions[0].info.id
    assert entry.folder == versions[0].folder
    assert (entry.number, entry.created_us, entry.aliases) == (1, 1_000_000, ())
    assert entry.metrics["validation/auroc"] == 0.80
    assert entry.metrics["validation/auroc/low"] == 0.78
    assert entry.metrics["baseline/global_rate/validation/auroc"] == 0.5
    assert "test/auroc/high" not in entry.metrics  # was NaN


def test_run_has_settings_and_origin(registry: Registry, versions: list[Version]) -> None:
    run = registry._client.get_run(registry.record_run(versions[0]))
    assert run.info.run_name == versions[0].info.id
    assert run.data.params == {"split.validation_windows": "1", "model.channels": "64", "train.seed": "0"}
    assert run.data.tags["kincast.query"] == versions[0].info.query
    assert run.data.tags["kincast.snapshot"] == "00112233aabbccdd"
    assert run.info.status == "FINISHED"


def test_registering_twice_changes_nothing(registry: Registry, versions: list[Version]) -> None:
    assert registry.register(versions[0]) == registry.register(versions[0])
    assert len(registry.history("churn")) == 1


def test_history_is_newest_first_and_survives_reopening(registry: Registry, versions: list[Version]) -> None:
    for saved in versions:
        registry.register(saved)
    again = Registry(registry.tracking_url)
    assert [entry.id for entry in again.history("churn")] == [saved.info.id for saved in reversed(versions)]
    assert again.history("spend") == []


def test_new_champion_leaves_the_old_one_as_previous(registry: Registry, versions: list[Version]) -> None:
    first, second = (registry.register(saved).id for saved in versions[:2])
    assert registry.get("churn", "champion") is None
    registry.set("churn", "champion", first)
    registry.set("churn", "challenger", second)
    registry.set("churn", "champion", second)
    assert {entry.id: entry.aliases for entry in registry.history("churn")} == {
        second: ("champion",),
        first: ("previous",),
    }


def test_rollback_swaps_and_swaps_back(registry: Registry, versions: list[Version]) -> None:
    first, second = (registry.register(saved).id for saved in versions[:2])
    registry.set("churn", "champion", first)
    registry.set("churn", "champion", second)
    for champion, previous in ((first, second), (second, first)):
        assert registry.rollback("churn").id == champion
        assert {entry.aliases: entry.id for entry in registry.history("churn")} == {
            ("champion",): champion,
            ("previous",): previous,
        }


def test_setting_the_champion_again_keeps_previous(registry: Registry, versions: list[Version]) -> None:
    first, second = (registry.register(saved).id for saved in versions[:2])
    for id in (first, second, second):
        registry.set("churn", "champion", id)
    previous = registry.get("churn", "previous")
    assert previous is not None
    assert previous.id == first


def test_cleared_alias_names_nothing(registry: Registry, versions: list[Version]) -> None:
    id = registry.register(versions[0]).id
    registry.set("churn", "challenger", id)
    registry.clear("churn", "challenger")
    registry.clear("churn", "challenger")
    assert registry.get("churn", "challenger") is None


def test_wrong_requests_say_what_there_is(registry: Registry, versions: list[Version]) -> None:
    registry.register(versions[0])
    with pytest.raises(VersionError, match="no previous champion"):
        registry.rollback("churn")
    with pytest.raises(VersionError, match="is not registered") as caught:
        registry.set("churn", "champion", "nothing")
    assert versions[0].info.id in str(caught.value)
    with pytest.raises(VersionError, match="no alias 'king'"):
        registry.set("churn", "king", versions[0].info.id)  # type: ignore[arg-type]
    with pytest.raises(VersionError, match="cannot name"):
        registry.history("a' OR name != '")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_unusable_database_is_a_storage_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mlflow.db"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(StorageError, match="registry cannot be used") as caught:
        Registry(f"sqlite:///{path}").history("churn")
    assert caught.value.hint is not None


def test_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="registry cannot be used"):
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}").history("churn")


def test_environment_names_another_database_and_passwords_stay_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://me:secret@host/db")
    with pytest.raises(StorageError) as caught:
        Registry(f"sqlite:///{tmp_path / 'mlflow.db'}").history("churn")
    assert caught.value.where == "nonsense://me:***@host/db"
    assert "secret" not in str(caught.value)


def test_use_prints_nothing_and_needs_neither_torch_nor_pandas(registry: Registry, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pandas'] = None;"  # pyarrow would load it by itself wherever it is installed
        "from kincast.registry.registry import Registry; assert 'mlflow' not in sys.modules;"
        f"Registry('{registry.tracking_url}').history('churn'); assert 'mlflow' in sys.modules;"
        "assert 'torch' not in sys.modules"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_version_of_others_under_the_same_name_is_left_alone(registry: Registry, versions: list[Version]) -> None:
    registry.register(versions[0])
    registry._client.create_model_version("churn", source="s3://theirs/1")
    assert [entry.id for entry in registry.history("churn")] == [versions[0].info.id]


def test_a_damaged_entry_says_what_to_do(registry: Registry, versions: list[Version]) -> None:
    registry.register(versions[0])
    registry._client.delete_model_version_tag("churn", "1", "kincast.created_us")
    with pytest.raises(StorageError, match=r"mlflow\.db.*kincast\.created_us(.|\n)*promote one by its id"):
        registry.history("churn")


def test_a_file_that_is_no_database_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"\x01garbage" * 999)
    with pytest.raises(StorageError, match=r"mlflow\.db.*not a database(.|\n)*move it away"):
        Registry(f"sqlite:///{tmp_path / 'mlflow.db'}").history("churn")
