"""What a user reads when medseg refuses something."""

from __future__ import annotations

import pickle

import pytest

from medseg import errors
from medseg.errors import BundleError, DataError, GeometryError, ImageError, LabelError, MedsegError, user_error

KINDS = [getattr(errors, name) for name in dir(errors) if name.endswith("Error") and name != "MedsegError"]


def test_the_message_says_what_got_expected_and_next_step_in_that_order() -> None:
    error = MedsegError("case 7: no label", got=3, expected="0 or 1", next_step="draw one")
    assert str(error) == "case 7: no label; got 3; expected 0 or 1; draw one"


def test_what_is_not_given_is_left_out_but_zero_and_empty_are_values() -> None:
    assert str(MedsegError("nothing there")) == "nothing there"
    assert str(MedsegError("cases", got=0, expected="")) == "cases; got 0; expected "


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_caught_as_one_and_as_a_value_error(kind: type[MedsegError]) -> None:
    with pytest.raises(MedsegError, match="wrong; got 1") as caught:
        raise kind("wrong", got=1)
    assert isinstance(caught.value, ValueError)
    assert type(caught.value) is kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_from_another_process_unchanged(kind: type[MedsegError]) -> None:
    error = kind("wrong", got=1, expected=2, next_step="try 2")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == "wrong; got 1; expected 2; try 2"


def test_the_users_error_is_found_behind_those_of_libraries() -> None:
    def fail() -> None:
        try:
            try:
                raise LabelError("value 9")
            except LabelError as inner:
                raise RuntimeError("applying transform") from inner
        except RuntimeError:
            raise KeyError("data loader")  # noqa: B904 - a library that forgets `from`

    with pytest.raises(KeyError) as caught:
        fail()
    assert str(user_error(caught.value)) == "value 9"


@pytest.mark.parametrize("error", [DataError("a"), ImageError("b"), GeometryError("c"), BundleError("d")])
def test_an_error_of_ours_is_its_own(error: MedsegError) -> None:
    assert user_error(error) is error


def test_a_bug_is_no_users_error() -> None:
    assert user_error(ZeroDivisionError("a bug")) is None
