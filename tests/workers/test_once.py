"""`context.once`, with a real Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.workers.making import EXAMPLE

from turnout.shared import names
from turnout.shared.errors import FlowError
from turnout.workers import Context, OnceError
from turnout.workers.once import LIFETIME, Marks
from turnout.workers.resources import Resources


@pytest.fixture
async def marks(redis_url: str) -> AsyncIterator[Marks]:
    made = Marks(redis_url)
    yield made
    await made.close()


def attempt(marks: Marks, run: str, number: int = 1) -> Context:
    """Return the context of an attempt of a run that is named after its test."""
    envelope = EXAMPLE._replace(run_id=f"run_{run}", attempt=number)
    return Context(envelope, Resources({}, ""), marks)


async def test_what_has_happened_is_skipped_by_later_attempts(marks: Marks) -> None:
    for number, expected in ((1, True), (2, False), (2, False)):
        async with attempt(marks, "skipped", number).once("charge") as is_first:
            assert is_first is expected


async def test_each_key_and_each_run_has_a_mark_of_its_own(marks: Marks) -> None:
    for run, key in (("one", "a"), ("one", "b"), ("two", "a")):
        async with attempt(marks, run).once(key) as is_first:
            assert is_first


async def test_what_raised_is_done_by_the_next_attempt(marks: Marks) -> None:
    with pytest.raises(ValueError, match="refused"):
        async with attempt(marks, "raised").once("charge"):
            raise ValueError("refused")
    async with attempt(marks, "raised", 2).once("charge") as is_first:
        assert is_first


async def test_what_raises_after_it_has_happened_does_not_undo_it(marks: Marks) -> None:
    async with attempt(marks, "later").once("charge"):
        pass
    with pytest.raises(ValueError, match="later"):
        async with attempt(marks, "later", 2).once("charge"):
            raise ValueError("later")
    async with attempt(marks, "later", 3).once("charge") as is_first:
        assert not is_first


async def test_of_what_was_cut_off_nobody_says_that_it_has_or_has_not_happened(
    marks: Marks,
) -> None:
    entered = asyncio.Event()

    async def cut_off() -> None:
        async with attempt(marks, "cut").once("charge"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(cut_off())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    for number in (2, 3):
        with pytest.raises(OnceError, match=r"once\('charge'\) in run_cut: .* may have happened"):
            async with attempt(marks, "cut", number).once("charge"):
                pytest.fail("it was entered")


async def test_plain_functions_have_the_same(marks: Marks) -> None:
    with pytest.raises(ValueError, match="refused"), attempt(marks, "plain").once("charge"):
        raise ValueError("refused")
    for number, expected in ((2, True), (3, False)):
        with attempt(marks, "plain", number).once("charge") as is_first:
            assert is_first is expected
    with pytest.raises(KeyboardInterrupt), attempt(marks, "plain").once("cut"):
        raise KeyboardInterrupt
    with pytest.raises(OnceError), attempt(marks, "plain").once("cut"):
        pytest.fail("it was entered")


async def test_a_mark_does_not_stay_for_ever(marks: Marks) -> None:
    async with attempt(marks, "bounded").once("charge"):
        pass
    assert marks._client is not None
    left = await marks._client.ttl(names.once("run_bounded", "charge"))
    assert 0 < left <= LIFETIME


async def test_without_redis_nothing_is_done_that_might_be_repeated() -> None:
    marks = Marks("redis://127.0.0.1:1/0")
    with pytest.raises(OnceError, match="Redis cannot be asked whether it has happened"):
        async with attempt(marks, "x").once("charge"):
            pytest.fail("it was entered")
    with (
        pytest.raises(OnceError, match="Redis cannot be asked"),
        attempt(marks, "x").once("charge"),
    ):
        pytest.fail("it was entered")
    await marks.close()


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(FlowError, match=f"the key has {len(key)} characters"):
        attempt(Marks(""), "x").once(key)
