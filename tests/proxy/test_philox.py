import numpy as np
import pytest
import torch

from halosearch.proxy.data import philox

ONES = 0xFFFFFFFF
KNOWN = [  # known answers that come with Random123, the authors' own library
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES), (ONES, ONES, ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN)
def test_words_are_those_that_its_authors_publish(key, counter, words):
    assert tuple(philox.words(key, torch.tensor([counter]))[0].tolist()) == words


def test_a_stream_depends_on_key_id_and_number_alone():
    ids = torch.tensor([3, 2**40 + 3, 7])
    whole = philox.stream((1, 2), ids, 11)
    assert torch.equal(philox.stream((1, 2), ids[2:], 5), whole[2:, :5])
    for other in (
        philox.stream((2, 1), ids, 11),
        philox.stream((1, 2), ids, 11, 1),
        philox.stream((1, 2), ids + 1, 11),
    ):
        assert not (other == whole).any()
    assert len(np.unique(whole.numpy())) == whole.numel()


def test_numbers_are_even_and_noise_has_deviation_one():
    even = philox.uniform((0, 0), torch.arange(200), 500)
    assert even.min() >= 0
    assert even.max() < 1
    counts = np.histogram(even.numpy(), 20, (0, 1))[0] / even.numel()
    assert np.abs(counts - 0.05).max() < 0.004
    noise = philox.noise((0, 0), torch.arange(200), 500)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]) < 0.01
