import inspect
import re

import pytest

from pretrain import errors
from pretrain.errors import Cause, EvaluatorUnavailable, ModelRejected, PretrainError, Reason, Refused, Unavailable

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
}


def drawn(text: str) -> dict[str, str]:
    """Return each class in the drawing with the one that it stands under: x one step in, + two steps."""
    parents, stack = {}, [""]
    for line in text.splitlines():
        for mark, name in re.findall(r"(x|\+|^ {4}(?=[A-Z]))\s*([A-Z]\w+)", line):
            depth = {"x": 1, "+": 2}.get(mark, 0)
            parents[name] = stack[depth]
            stack = [*stack[: depth + 1], name]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    real = {name: kind.__mro__[1].__name__ for name, kind in CLASSES.items()}

    assert drawn(errors.__doc__ or "") == {**real, "PretrainError": ""}


def test_the_drawing_is_read_as_it_is_drawn() -> None:
    text = "Word.\n\n    Top\n     x One   the fault\n     x Two   -> said\n        + Three  + Four\n\nEnd."

    assert drawn(text) == {"Top": "", "One": "Top", "Two": "Top", "Three": "Two", "Four": "Two"}


def test_everything_raised_on_purpose_is_one_kind_and_no_kind_is_two_faults() -> None:
    faults = [kind for kind in CLASSES.values() if kind.__mro__[1] is PretrainError]

    assert all(issubclass(kind, PretrainError) for kind in CLASSES.values())
    assert all(sum(issubclass(kind, fault) for fault in faults) == 1 for kind in {*CLASSES.values()} - {PretrainError})


def test_a_refused_model_says_its_reason_and_its_detail() -> None:
    error = ModelRejected(Reason.DIGEST, "other bytes")

    assert (str(error), error.reason, error.detail) == ("digest: other bytes", Reason.DIGEST, "other bytes")


def test_a_refused_call_says_the_other_sides_code_and_when_to_try_again() -> None:
    error = Refused("too early", code="SettingWeightsTooFast", wait_blocks=7)

    assert (str(error), error.code, error.wait_blocks) == ("too early", "SettingWeightsTooFast", 7)
    assert (Refused("no").code, Refused("no").wait_blocks) == ("", 0)


def test_an_engine_that_fails_on_one_model_says_how_and_one_that_fails_altogether_does_not() -> None:
    assert EvaluatorUnavailable("died", Cause.CRASHED).cause is Cause.CRASHED
    assert EvaluatorUnavailable("no device").cause is None


@pytest.mark.parametrize("kind", [kind for kind in CLASSES.values() if issubclass(kind, Unavailable)])
def test_what_is_unavailable_is_never_the_miners_fault(kind: type[Unavailable]) -> None:
    assert not issubclass(kind, ModelRejected)
    assert str(kind("the line")) == "the line"


@pytest.mark.parametrize("words", [Reason, Cause])
def test_reasons_and_causes_are_lower_case_words_that_stand_in_reports(words: type[Reason] | type[Cause]) -> None:
    assert all(word.value == word.name.lower() == str(word) for word in words)
