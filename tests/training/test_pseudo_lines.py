"""What is made of normal lines is almost normal: nothing is left as it was, and each kind does what it says."""

import numpy as np

from training.pseudo_lines import KINDS, pseudo_lines


def test_each_kind_changes_every_line_that_it_gives():
    rng = np.random.default_rng(0)
    lines = [list(rng.integers(0, 50, n)) for n in range(1, 60)]
    made = pseudo_lines(lines, np.random.default_rng(1))
    assert made.keys() == KINDS.keys()
    for name, strange in made.items():
        assert all(strange), name
        assert 40 <= len(strange) <= len(lines)
        assert not any(line in lines for line in strange if len(line) > 3), name
    assert all(sorted(strange) in [sorted(line) for line in lines] for strange in made["neighbours swapped"])
    assert all(any(line[: len(strange)] == strange for line in lines) for strange in made["cut short"])


def test_the_same_generator_makes_the_same_lines():
    lines = [[1, 2, 3, 4, 5], [6, 7, 8]]
    assert pseudo_lines(lines, np.random.default_rng(3)) == pseudo_lines(lines, np.random.default_rng(3))
