"""Words of a name: what table and column names say, whatever their spelling."""

from __future__ import annotations

import re
from functools import lru_cache

KEY_WORDS = frozenset({"id", "ids", "key", "code", "no", "nr", "num", "number", "ref", "sku", "uuid", "guid", "pk"})
"""Last words of columns that name something."""

ID_WORDS = frozenset({"id", "ids", "key", "uuid", "guid", "pk", "fk", "sk"})
"""Last words of columns that name a row and mean nothing else."""

_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")


@lru_cache(maxsize=65_536)
def words(name: str) -> tuple[str, ...]:
    """Lower-case words of a name written in any usual way.

    >>> words("OwnerUserId"), words("TX_FRAUD"), words("customerid")
    (('owner', 'user', 'id'), ('tx', 'fraud'), ('customerid',))
    """
    return tuple(part.lower() for part in _PART.findall(name))


@lru_cache(maxsize=65_536)
def singular(word: str) -> str:
    """A word in the form in which words are compared: without plural ending, ``ie`` written ``y``.

    >>> singular("categories"), singular("orders"), singular("status"), singular("boxes"), singular("movie")
    ('category', 'order', 'status', 'box', 'movy')
    """
    if word in ("people", "persons"):
        return "person"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    return word[:-2] + "y" if word.endswith("ie") and len(word) > 3 else word


def stem(name: str) -> tuple[str, ...]:
    """Words of a name in singular form.

    >>> stem("invoice_lines")
    ('invoice', 'line')
    """
    return tuple(singular(word) for word in words(name))


def names_something(name: str) -> bool:
    """True for columns whose values are names or codes, by their own name: ``customer_id``, ``StockCode``, ``sku``.

    >>> names_something("InvoiceNo"), names_something("paid"), names_something("zip")
    (True, False, True)
    """
    found = words(name)
    return bool(found) and (found[-1] in KEY_WORDS or found[-1] in ("zip", "phone", "postcode", "isbn", "iban"))


def names_a_row(name: str) -> bool:
    """True for columns that name a row by their own name: ``customer_id``, ``UserId``, ``uuid``, also ``customerid``.

    >>> names_a_row("UserId"), names_a_row("valid"), names_a_row("customerid")
    (True, False, True)
    """
    found = words(name)
    if not found:
        return False
    last = found[-1]
    glued = last.endswith("id") and len(last) > 4 and last not in _NOT_IDS and not last.endswith(("oid", "uid", "aid"))
    return last in ID_WORDS or glued


_NOT_IDS = frozenset(
    {"valid", "invalid", "liquid", "solid", "rapid", "hybrid", "covid", "grid", "bid", "hid", "acid", "humid", "placid"}
    | {"candid", "orchid", "madrid", "david", "android", "splendid", "stupid", "timid", "vivid", "lucid", "rigid"}
)
