"""The SDK's errors, walked: every one has a meaning here, and none that we name is gone from the SDK."""

import importlib
import pkgutil
from collections.abc import Iterator

import bittensor
import pytest
from bittensor import ErrorCode, error_map
from bittensor._generated.errors import ERRORS
from bittensor._transport.errors import SubstrateRequestException
from bittensor.result import _WATCH_STATUS_NAMES, BittensorError, ChainError

from pretrain.chain import bittensor as adapter
from pretrain.chain.verdicts import BY_CODE, BY_NAME, Meaning, meaning

NAMES = {
    *(error.name for error in ERRORS.values()),
    *error_map.NAME_TO_CODE,
    *error_map.DISPATCH_ERRORS,
    *error_map.CUSTOM_TRANSACTION_ERRORS.values(),
    *(name for _, name in error_map.INVALID_TRANSACTION_ERRORS),
    *_WATCH_STATUS_NAMES.values(),
}
"""Every name that the SDK can give an error of a write."""

NEVER_MET = {
    "AuthError": "signed HTTP requests between neurons: there are none here",
    "EvmRpcError": "Ethereum calls: not used",
    "PolicyError": "no policy is given to the client",
    "TimelockError": "we open nothing that is sealed",
    "VaultError": "wallets on a phone: not used",
    "VaultPageError": "wallets on a phone: not used",
}
"""Errors of parts of the SDK that nothing here calls; as any BittensorError of a write they would be a refusal."""


def sdk_errors() -> Iterator[type[BaseException]]:
    """Yield every exception class that the SDK defines, without its command line."""
    for module in pkgutil.walk_packages(bittensor.__path__, "bittensor."):
        if ".cli" in module.name:
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == module.name:
                yield value


def test_every_code_has_a_meaning_and_none_is_gone() -> None:
    assert set(BY_CODE) == {code.value for code in ErrorCode}


def test_every_name_that_means_something_else_than_its_code_is_still_there() -> None:
    assert set(BY_NAME) - NAMES == set()


LOOKED_INTO = {
    "AnnouncementDepositInvariantViolated", "Arithmetic", "ArithmeticOverflow", "BadMandatory",
    "ColdkeyCollateralIncomplete", "ContractReverted", "ContractTrapped", "ContributionPeriodEnded", "Corruption",
    "CurrencyError", "DivisionByZero", "DrandConnectionFailure", "ExpiredWeightCommit", "ExtrinsicExpired",
    "FailedToSchedule", "FeeOverflow", "InvalidRevealRound", "LinkedOutputExpired", "OrderCancelled", "OrderExpired",
    "Other", "Overflow", "PaymentOverflow", "Reentrancy", "StorageOverflow", "TerminatedInConstructor",
    "Transactional", "UidMapCouldNotBeCleared", "Unavailable", "Undefined", "Underflow",
    "UnexpectedUnreserveLeftover", "Unreachable",
}  # fmt: skip
"""Names whose code alone says nothing of the call: faults inside the runtime, and things that expired."""


def test_a_name_is_looked_into_for_its_code_alone_only_where_that_was_meant() -> None:
    assert len(NAMES) > 400
    by_code = {
        name for name in NAMES - set(BY_NAME) if meaning(name, ChainError(name, name).code.value) is Meaning.LOOK
    }
    assert by_code == LOOKED_INTO


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NeuronNoValidatorPermit", Meaning.NO),
        ("HotKeyNotRegisteredInSubNet", Meaning.NO),
        ("AccountNotAllowedCommit", Meaning.NO),
        ("IncorrectWeightVersionKey", Meaning.NO),
        ("StakeAmountTooLow", Meaning.NO),
        ("Payment", Meaning.NO),
        ("SubnetNotExists", Meaning.NO),
        ("SettingWeightsTooFast", Meaning.LATER),
        ("CommittingWeightsTooFast", Meaning.LATER),
        ("RateLimitExceeded", Meaning.LATER),
        ("SpaceLimitExceeded", Meaning.LATER),
        ("RevealTooEarly", Meaning.LATER),
        ("BadProof", Meaning.AGAIN),
        ("AncientBirthBlock", Meaning.AGAIN),
        ("AlreadyImported", Meaning.LOOK),
        ("Stale", Meaning.AGAIN),
        ("FinalityTimeout", Meaning.LOOK),
        ("Usurped", Meaning.LOOK),
    ],
)
def test_the_errors_of_a_neurons_life(name: str, expected: Meaning) -> None:
    assert meaning(name, ChainError(name, name).code.value) is expected


def test_an_error_without_a_name_that_is_not_known_is_looked_into() -> None:
    assert meaning(None, ChainError("Connection dropped while in flight").code.value) is Meaning.LOOK


def test_every_exception_of_the_sdk_is_mapped() -> None:
    """To a lost client, to a verdict, to a refusal of our own call, or to the list of what is never met."""
    unmapped = {
        error.__name__
        for error in sdk_errors()
        if not issubclass(error, (*adapter.LOST, *adapter.NONSENSE, ChainError, SubstrateRequestException))
        and error is not BittensorError
        and not NEVER_MET.keys() & {base.__name__ for base in error.__mro__}
    }

    assert unmapped == set()
    assert set(NEVER_MET) - {error.__name__ for error in sdk_errors()} == set()


def test_what_the_transport_raises_is_translated_before_it_reaches_us() -> None:
    """The transport's own exceptions are private: the SDK's backend turns each into a ChainError or a lost client."""
    from bittensor._substrate import _public_request_error  # noqa: PLC0415 - the seam itself

    for error in sdk_errors():
        if issubclass(error, SubstrateRequestException):
            made = error("x") if error.__name__ != "RpcPolicyRejection" else error("x", status_code=429)  # type: ignore[call-arg]
            assert isinstance(_public_request_error(made), (ChainError, *adapter.LOST)), error
