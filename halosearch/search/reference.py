"""The reference model of a budget: the candidate nearest to the published model of that size."""

from __future__ import annotations

from typing import Any

from halosearch.analysis.published_nearby import nearest_published
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import DIALS, dials_from_config
from halosearch.search.pool import Pool


def reference_dials(pool: Pool, params: int) -> dict[str, Any]:
    """The pool's row nearest to the published model of this budget, its image size brought into the pool's range."""
    wish = dials_from_config(FAMILY[nearest_published(params)])
    assert wish is not None
    sizes = pool.rows["image_size"]
    wish["image_size"] = int(min(max(wish["image_size"], sizes.min()), sizes.max()))
    if wish["heads"] not in set(pool.rows["heads"].astype(str)):
        wish["heads"] = str(pool.rows["heads"].iloc[0])
    return {name: value for name, value in pool.params(pool.nearest(wish)).items() if name in DIALS}
