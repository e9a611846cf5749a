"""The reference model of a budget: the candidate nearest to the published model of that size."""

from __future__ import annotations

from typing import Any

from halosearch.families.known import nearest_member, search_of
from halosearch.search.pool import Pool


def reference_dials(pool: Pool, family: str, params: int) -> dict[str, Any]:
    """The pool's row nearest to the family's published member of this budget, its image size brought into the pool's range."""
    search = search_of(family)
    wish = search.dials(search.published[nearest_member(search, params)])
    assert wish is not None
    sizes = pool.rows["image_size"]
    wish["image_size"] = int(min(max(wish["image_size"], sizes.min()), sizes.max()))
    for name in pool.words():  # a word that the space leaves out
        if wish[name] not in set(pool.rows[name].astype(str)):
            wish[name] = str(pool.rows[name].iloc[0])
    return {name: value for name, value in pool.params(pool.nearest(wish)).items() if name in search.space.dials()}
