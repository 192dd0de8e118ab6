"""Init: a database becomes a project: a schema card to check and a project file to edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.schema import Link, Schema, Table

_TEMPLATE = """\
# A Kincast project. Every setting, with its default: docs/reference/settings.md
source: {source}
schema: schema.yaml

# What to predict. {advice}; then: kincast explain
{suggestion}
"""


def init(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Database file, folder of tables, or URL.")],
    project: ProjectOption = HERE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite schema.yaml and kincast.yaml.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a project: schema.yaml and kincast.yaml.

    Where only kincast.yaml is there, it is kept, and the schema card that it names is written.
    """
    from kincast.atomic import replace_text, storage_errors
    from kincast.card import write_card
    from kincast.errors import ProjectError
    from kincast.project import PROJECT_FILE, read_project
    from kincast.source.infer import infer_schema
    from kincast.source.open import open_source

    console = Console(as_json=as_json, quiet=quiet)
    card, settings = project / "schema.yaml", project / PROJECT_FILE
    is_kept = settings.exists() and not force
    if is_kept:
        card = read_project(project).card_path
    if card.exists() and not force:
        raise ProjectError("is already there", where=str(card), hint="add --force to overwrite it")
    with console.progress() as progress:
        inferred = infer_schema(open_source(source), progress)
    with storage_errors(project):
        project.mkdir(parents=True, exist_ok=True)
    write_card(card, inferred.schema, inferred.evidence)
    query = suggest_query(inferred.schema)
    if not is_kept:
        replace_text(settings, project_text(source_from(source, project), query))
    _show(console, inferred.schema)
    if (stored := source_from(source, project)) != source and "://" in source:
        console.say(f"{settings} names {stored}; the password comes from PGPASSWORD or ~/.pgpass")
    wrote = f"{card}; {settings} is as it was; look" if is_kept else f"{card} and {settings}; look"
    console.say(f"wrote {wrote} both over, then: kincast check")
    console.result({"card": str(card), "project": str(settings), "schema": inferred.schema.as_dict(), "query": query})


def _show(console: Console, schema: Schema) -> None:
    rows = []
    for table in schema:
        links = ", ".join(f"{'+'.join(link.columns)} → {link.target}" for link in schema.links_from(table.name))
        rows.append((table.name, "+".join(table.key) or "–", _time_words(schema, table), links or "–"))
    console.table(("table", "key", "time", "links"), rows)


def _time_words(schema: Schema, table: Table) -> str:
    if table.time is None:
        return "–"
    link = schema.time_link(table)
    return f"of its {link.target}" if link else str(table.time.column)


def source_from(source: str, project: Path) -> str:
    """The source as the project file holds it: a URL without its password, a path from the project's folder."""
    from kincast.source.open import without_password

    if "://" in source:
        return without_password(source)
    path = Path(source).resolve()
    home = project.resolve()
    # A folder below moves with the project; one elsewhere stays where it is.
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def project_text(source: str, query: str | None) -> str:
    """The project file of a new project.

    Args:
        source: path or URL of the database.
        query: a query that suits it; shown as a comment. None when none could be thought of.
    """
    import yaml

    advice = "Remove the # in front, or write queries of your own"
    if query is None:
        advice = "Write queries in place of these, without the # in front"
        lines = ["# tasks:", "#   NAME:", "#     query: PREDICT ... FOR EACH table.key"]
    else:
        text = yaml.safe_dump({"tasks": {"first": {"query": query}}}, width=10_000, sort_keys=False)
        lines = [f"# {line}" for line in text.rstrip().splitlines()]
    quoted = yaml.safe_dump(source, width=10_000).removesuffix("...\n").strip()
    return _TEMPLATE.format(source=quoted, advice=advice, suggestion="\n".join(lines))


def suggest_query(schema: Schema) -> str | None:
    """A churn query over the link that most looks like a person or thing and its dated events.

    Without such a link, a query for a column of yes and no of a dated table with a key; None without that too.
    """
    candidates = [link for link in schema.links if _suits(schema, link)]
    if not candidates:
        return _suggest_column(schema)
    link = min(candidates, key=lambda link: _rank(schema, link))
    fact, entity = link.table, f"{link.target}.{link.target_columns[0]}"
    return f"PREDICT COUNT({fact}.*, 0, 30, days) = 0 FOR EACH {entity} WHERE COUNT({fact}.*, -90, 0, days) > 0"


def _suggest_column(schema: Schema) -> str | None:
    from kincast.schema import SemanticType

    for table in schema:
        names = [column.name for column in table.columns if column.type is SemanticType.BOOLEAN]
        if table.time is not None and len(table.key) == 1 and names and _is_plain(table.name, table.key[0], names[0]):
            return f"PREDICT {table.name}.{names[0]} FOR EACH {table.name}.{table.key[0]}"
    return None


def _is_plain(*names: str) -> bool:
    # A name with other signs needs quoting in a query, which is no start for a beginner.
    return all(name.replace("_", "").isalnum() and name.isascii() for name in names)


def _suits(schema: Schema, link: Link) -> bool:
    fact, entity = schema.table(link.table), schema.table(link.target)
    plain = _is_plain(fact.name, entity.name, *entity.key)
    unique = sum(other.target == link.target for other in schema.links_from(fact.name)) == 1
    return fact.time is not None and len(entity.key) == 1 and fact.name != entity.name and plain and unique


_PEOPLE = ("customer", "user", "client", "member", "account", "person", "people", "driver", "patient", "subscriber")


def _rank(schema: Schema, link: Link) -> tuple[bool, bool, bool, int]:
    """People first; then facts with a time of their own, with a key of their own, with the most columns."""
    fact = schema.table(link.table)
    is_person = any(word in link.target.lower() for word in _PEOPLE)
    return not is_person, fact.time is None or fact.time.column is None, not fact.key, -len(fact.columns)
