import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from pretrain.data import RowGroup
from pretrain.data.plan import plan
from pretrain.types import TaskName

PROSE = TaskName("prose")
CODE = TaskName("code")
seeds = st.integers(0, 2**256 - 1)
indexes = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 40), max_size=8).map(
    lambda sizes: [RowGroup(name, rows) for name, rows in sizes.items()]
)
LARGE = [RowGroup(f"part-{number}", 30) for number in range(20)]


def rows(groups: list[RowGroup], seed: int, task: TaskName = PROSE, rows_a_visit: int = 8) -> list[tuple[str, int]]:
    visits = plan(groups, seed, task, rows_a_visit=rows_a_visit)
    return [(group.name, row) for group, chosen in visits for row in chosen]


@given(indexes, seeds, st.integers(1, 50))
def test_every_row_comes_exactly_once(groups: list[RowGroup], seed: int, rows_a_visit: int) -> None:
    everything = sorted((group.name, row) for group in groups for row in range(group.rows))
    assert sorted(rows(groups, seed, rows_a_visit=rows_a_visit)) == everything


@given(indexes, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_index_makes_no_difference(groups: list[RowGroup], seed: int, shuffler: random.Random) -> None:
    shuffled = list(groups)
    shuffler.shuffle(shuffled)
    assert rows(shuffled, seed) == rows(groups, seed)


@given(indexes, seeds, st.integers(0, 60))
def test_reading_further_never_changes_what_was_read(groups: list[RowGroup], seed: int, visits: int) -> None:
    short = list(itertools.islice(plan(groups, seed, PROSE, rows_a_visit=8), visits))
    assert list(plan(groups, seed, PROSE, rows_a_visit=8))[:visits] == short


@given(indexes, seeds)
def test_a_first_pass_visits_every_group_before_any_comes_again(groups: list[RowGroup], seed: int) -> None:
    filled = {group.name for group in groups if group.rows}
    first = [group.name for group, _ in itertools.islice(plan(groups, seed, PROSE, rows_a_visit=8), len(filled))]
    assert sorted(first) == sorted(filled)


@given(indexes, seeds, st.integers(1, 50))
def test_no_visit_takes_more_rows_than_allowed(groups: list[RowGroup], seed: int, rows_a_visit: int) -> None:
    sizes = [len(chosen) for _, chosen in plan(groups, seed, PROSE, rows_a_visit=rows_a_visit)]
    assert all(1 <= size <= rows_a_visit for size in sizes)


@given(seeds, seeds)
def test_another_seed_gives_another_order(one: int, other: int) -> None:
    assert (rows(LARGE, one) == rows(LARGE, other)) == (one == other)


@given(seeds)
def test_another_task_gives_an_independent_order(seed: int) -> None:
    prose, code = (rows(LARGE, seed, task)[:100] for task in (PROSE, CODE))
    # 100 of 600 rows twice: 17 in common by chance, 60 is over ten standard deviations off
    assert len(set(prose) & set(code)) < 60


def test_a_larger_index_keeps_the_order_of_the_groups_that_stay() -> None:
    more = [*LARGE, RowGroup("late", 30)]
    kept = [visit for visit in plan(more, 7, PROSE, rows_a_visit=8) if visit[0].name != "late"]
    assert kept == list(plan(LARGE, 7, PROSE, rows_a_visit=8))


def test_the_order_is_the_same_in_every_version_of_this_software() -> None:
    groups = [RowGroup("a", 3), RowGroup("b", 2)]
    assert list(plan(groups, 1, PROSE, rows_a_visit=2)) == [
        (RowGroup("b", 2), (0, 1)),
        (RowGroup("a", 3), (1, 2)),
        (RowGroup("a", 3), (0,)),
    ]
