"""`MultiInputData` (section 2.7)."""

import copy
import pickle

import pytest

from connectors import MultiInputData


def test_datas_are_added_in_turn():
    """Each value of `datas` is added in turn; ids start at 0."""
    assert list(MultiInputData(datas=(value for value in "abc")).items()) == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]
    assert dict(MultiInputData()) == {}


def test_add_returns_the_next_id():
    """`add` stores under the next integer id and returns it."""
    data = MultiInputData([5])
    assert [data.add(6), data.add(7)] == [1, 2]
    assert list(data.values()) == [5, 6, 7]


def test_the_last_id_is_issued_again():
    """The id handed out last is issued again if it was deleted in between."""
    data = MultiInputData()
    assert data.add("a") == 0
    del data[0]
    assert data.add("b") == 0
    assert data.add("c") == 1
    assert data.add("d") == 2
    del data[2]
    assert data.add("e") == 2


def test_the_counter_never_decreases():
    """An id that was deleted before the last one is not issued again."""
    data = MultiInputData("abc")
    del data[0]
    del data[1]
    assert data.add("d") == 3
    data.clear()
    assert data.add("e") >= 3


def test_the_counter_skips_ids_in_use():
    """An id that was assigned is not handed out."""
    data = MultiInputData()
    data[0] = "mine"
    data[1] = "mine too"
    assert data.add("a") == 2
    assert data == {0: "mine", 1: "mine too", 2: "a"}


def test_it_is_a_dict():
    """Assignment, deletion, `values` and `clear` are those of an ordered dict."""
    data = MultiInputData("ab")
    data["key"] = "c"
    data[0] = "d"
    del data[1]
    assert list(data.items()) == [(0, "d"), ("key", "c")]
    assert list(data.values()) == ["d", "c"]
    data.clear()
    assert dict(data) == {}


def union_in_place(data):
    other = data
    other |= {}
    return other


COPIES = {
    "|": lambda data: data | {},
    "|=": union_in_place,
    "copy()": lambda data: data.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda data: pickle.loads(pickle.dumps(data)),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_keep_keys_and_values(how):
    """Unions, copies and pickles are MultiInputData with the same keys and values."""
    data = MultiInputData([5, 6])
    data["key"] = 7
    copied = COPIES[how](data)
    assert type(copied) is MultiInputData
    assert list(copied.items()) == [(0, 5), (1, 6), ("key", 7)]
    assert copied.add(8) == 2


def test_union_takes_keys():
    """`|` and `|=` take over keys and values."""
    data = MultiInputData([5, 6])
    assert data | {1: 7, "x": 8} == {0: 5, 1: 7, "x": 8}
    assert data == {0: 5, 1: 6}
    data |= {1: 7, "x": 8}
    assert data == {0: 5, 1: 7, "x": 8}
    assert type(data) is MultiInputData
