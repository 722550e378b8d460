"""Result: what a module's public methods return."""

from __future__ import annotations

import logging

import pytest

from modules.core.errors import NotFound
from modules.core.result import Result, ResultError, returns_result, returns_result_or


class ThingNotFound(NotFound):
    """There is no such thing."""

    code = "THING_NOT_FOUND"


class Shop:
    """A module's service, with each way that a method can end."""

    @returns_result
    async def find(self, name: str, *, shout: bool = False) -> str:
        """The thing of that name."""
        if name == "nothing":
            raise ThingNotFound("There is no thing called 'nothing'.", details={"name": name})
        if name == "bug":
            raise ZeroDivisionError("secret")
        return name.upper() if shout else name

    @returns_result_or("SHOP_FAILED")
    async def open(self) -> None:
        raise RuntimeError("secret")


def test_a_success_carries_its_data() -> None:
    """success, data and unwrap() agree; error is None."""
    result = Result.success(data={"id": 7})

    assert result.success
    assert result
    assert result.error is None
    assert result.data == {"id": 7}
    assert result.unwrap() == {"id": 7}


def test_a_success_needs_no_data() -> None:
    """`Result.success()` is a success with None."""
    assert Result.success().data is None


def test_an_error_says_what_is_wrong() -> None:
    """code, message and details, as the specification writes it."""
    result = Result.error(code="NOPE", message="It is not possible.", details={"why": 1})

    assert not result.success
    assert not result
    assert result.data is None
    assert result.error == {"code": "NOPE", "message": "It is not possible.", "details": {"why": 1}}


def test_details_are_always_a_dict() -> None:
    """Callers need not ask whether there are any."""
    error = Result.error(code="NOPE", message="No.").error

    assert error is not None
    assert error["details"] == {}


def test_unwrapping_an_error_raises_it() -> None:
    """Whoever unwraps cannot overlook a failure."""
    with pytest.raises(ResultError, match=r"No\.") as caught:
        Result.error(code="NOPE", message="No.", details={"a": 1}).unwrap()

    assert (caught.value.error_code, caught.value.details) == ("NOPE", {"a": 1})


def test_unwrapping_gives_back_the_error_that_was_raised() -> None:
    """A ModuleError passes through a Result without losing its class, and with it its HTTP status."""
    cause = ThingNotFound("There is no thing.")

    with pytest.raises(ThingNotFound) as caught:
        Result.from_error(cause).unwrap()

    assert caught.value is cause


def test_results_are_equal_by_content() -> None:
    """Tests and callers may compare them."""
    assert Result.success(data=1) == Result.success(data=1)
    assert Result.success(data=1) != Result.success(data=2)
    assert Result.error(code="A", message="a") != Result.success()
    assert Result.success() != None  # noqa: E711  # any other type is unequal, also by ==


def test_repr_shows_what_matters() -> None:
    """Data of a success; code and message of a failure."""
    assert repr(Result.success(data=[1])) == "Result.success(data=[1])"
    assert repr(Result.error(code="A", message="b")) == "Result.error(code='A', message='b')"


async def test_a_returned_value_becomes_a_success() -> None:
    """Inside, methods are plain Python; positional and named arguments arrive."""
    assert await Shop().find("chair", shout=True) == Result.success(data="CHAIR")


async def test_a_raised_module_error_becomes_a_failure() -> None:
    """Its code, message and details are kept."""
    result = await Shop().find("nothing")

    assert result.error == {
        "code": "THING_NOT_FOUND",
        "message": "There is no thing called 'nothing'.",
        "details": {"name": "nothing"},
    }


async def test_what_nobody_expected_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback goes to the log, the caller gets INTERNAL_ERROR without the text of the exception."""
    with caplog.at_level(logging.ERROR, logger="modules.core.result"):
        result = await Shop().find("bug")

    assert result.error is not None
    assert result.error["code"] == "INTERNAL_ERROR"
    assert "secret" not in result.error["message"]
    assert caplog.records[0].exc_info is not None


async def test_a_method_may_name_the_code_of_the_unexpected() -> None:
    """For methods whose failure has a name in the specification."""
    error = (await Shop().open()).error

    assert error is not None
    assert error["code"] == "SHOP_FAILED"


def test_a_decorated_method_keeps_its_name_and_docstring() -> None:
    """Documentation and logs show the method, not the wrapper."""
    assert Shop.find.__name__ == "find"
    assert Shop.find.__doc__ == "The thing of that name."
