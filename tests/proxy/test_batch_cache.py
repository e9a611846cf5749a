import numpy as np

from halosearch.proxy.data.dataset import BatchCache


def image(size):
    return np.zeros((3, size, size), np.uint8)


def test_sizes_live_beside_each_other_and_the_one_used_longest_ago_goes_first():
    cache = BatchCache(limit_bytes=3 * (32**2 + 48**2))
    cache.put("train", 0, image(32))
    cache.put("train", 0, image(48))
    assert cache.get("train", 0, 32) is not None
    assert cache.get("train", 0, 48) is not None
    assert cache.get("test", 0, 48) is None
    cache.put("train", 1, image(32))  # no room: 48 is the older one now
    assert cache.get("train", 0, 48) is None
    assert cache.get("train", 1, 32) is not None


def test_what_finds_no_room_is_not_kept_and_nothing_of_its_own_size_is_forgotten_for_it():
    cache = BatchCache(limit_bytes=3 * 32**2)
    cache.put("train", 0, image(32))
    cache.put("train", 1, image(32))
    assert cache.get("train", 0, 32) is not None
    assert cache.get("train", 1, 32) is None
