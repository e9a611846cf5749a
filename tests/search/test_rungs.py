import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halosearch.search.rungs import Standing, next_promotion, ranking


def layers_by_brute_force(scores, costs):
    left, layers = set(range(len(scores))), []
    while left:
        layer = {
            i
            for i in left
            if not any(
                scores[j] >= scores[i] and costs[j] <= costs[i] and (scores[j], costs[j]) != (scores[i], costs[i])
                for j in left
            )
        }
        layers.append(layer)
        left -= layer
    return layers


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=14))
def test_the_ranking_goes_layer_by_layer_and_begins_each_with_its_best_score(points):
    scores, costs = [float(a) for a, _ in points], [float(b) for _, b in points]
    order = ranking(scores, costs)
    assert sorted(order) == list(range(len(points)))
    at = 0
    for layer in layers_by_brute_force(scores, costs):
        part = order[at : at + len(layer)]
        assert set(part) == layer
        assert scores[part[0]] == max(scores[i] for i in layer)
        at += len(layer)


def test_a_layer_is_taken_from_its_ends_first():
    scores, costs = [1.0, 2.0, 2.1, 2.2, 5.0], [1.0, 10.0, 11.0, 12.0, 100.0]
    order = ranking(scores, costs)
    assert order[0] == 4
    assert order[1] == 0
    assert order[2] in (1, 2, 3)


def at(scores, cost, sent_to, searched=True):
    return Standing(tuple(scores), cost, searched, sent_to)


def test_nobody_goes_on_before_eta_are_there_and_never_twice():
    three = {n: at([0.1 * n], 1.0 + n, 0) for n in range(3)}
    assert next_promotion(three, top=1, eta=4) is None
    four = three | {3: at([0.9], 1.0, 0)}
    assert next_promotion(four, top=1, eta=4) == (3, 1)
    sent = four | {3: at([0.9], 1.0, 1)}
    assert next_promotion(sent, top=1, eta=4) is None
    assert next_promotion(four | {n: at([0.05], 9.0, 0) for n in range(4, 8)} | {3: sent[3]}, 1, 4)[0] in (0, 1, 2)


def test_rows_drawn_evenly_are_compared_with_and_neither_go_on_nor_count():
    even = {n: at([0.5, 0.6], 1.0, 1, searched=False) for n in range(10)}
    assert next_promotion(even, 1, 2) is None
    assert next_promotion(even | {10: at([0.4], 2.0, 0)}, 1, 2) is None
    assert next_promotion(even | {10: at([0.4], 2.0, 0), 11: at([0.9], 2.0, 0)}, 1, 2) == (11, 1)


def test_the_higher_rung_comes_first():
    standings = {n: at([0.1 * n, 0.1 * n], 1.0, 1) for n in range(2)} | {n: at([0.1], 1.0, 0) for n in range(2, 6)}
    assert next_promotion(standings, top=2, eta=2) == (1, 2)


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_the_best_of_one_objective_survives_to_the_top(eta):
    rng = np.random.default_rng(eta)
    scores = rng.permutation(27) / 27
    standings = {n: at([scores[n]], 1.0, 0) for n in range(27)}
    while (found := next_promotion(standings, 2, eta)) is not None:
        number, rung = found
        standings[number] = at([scores[number]] * (rung + 1), 1.0, rung)
    top = [n for n, s in standings.items() if s.sent_to == 2]
    assert len(top) == 27 // eta // eta
    assert int(np.argmax(scores)) in top
