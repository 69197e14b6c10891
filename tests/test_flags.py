"""`Parallelization` and `Laziness`."""

import pickle

import pytest

from connectors import Laziness, Parallelization

SEQUENTIAL, THREAD, PROCESS = Parallelization


def test_levels_are_ordered_by_distance():
    """SEQUENTIAL is nearer than THREAD, and THREAD nearer than PROCESS."""
    assert SEQUENTIAL < THREAD < PROCESS
    assert PROCESS > THREAD >= THREAD > SEQUENTIAL <= SEQUENTIAL
    assert max(Parallelization) is PROCESS


def test_a_level_is_not_ordered_among_numbers():
    """Comparing a level with anything else is an error, not a guess."""
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(THREAD, compare)(2) is NotImplemented
    with pytest.raises(TypeError):
        THREAD < 2  # noqa: B015


def test_fallbacks_lead_to_the_caller():
    """A wish falls back to each nearer level in turn, and SEQUENTIAL ends every chain."""
    assert (PROCESS, THREAD, SEQUENTIAL) == PROCESS.fallbacks
    assert (THREAD, SEQUENTIAL) == THREAD.fallbacks
    assert (SEQUENTIAL,) == SEQUENTIAL.fallbacks


def test_defaults_are_those_of_the_connectors():
    """Getters wish for a thread, setters for their caller's."""
    assert Parallelization.default_output_parallelization() is THREAD
    assert Parallelization.default_multioutput_parallelization() is THREAD
    assert Parallelization.default_input_parallelization() is SEQUENTIAL
    assert Parallelization.default_multiinput_parallelization() is SEQUENTIAL
    assert Laziness.default() is Laziness.ON_REQUEST


def test_laziness_is_ordered():
    """The less lazy, the larger."""
    assert [1, 2, 3, 4] == sorted(Laziness)


@pytest.mark.parametrize("level", Parallelization)
def test_levels_survive_a_pickle(level):
    """A level that travelled is the level itself, and finds itself in a dict."""
    travelled = pickle.loads(pickle.dumps(level))

    assert level is travelled
    assert {level: 1}[travelled] == 1
    assert str(level) == level.name
