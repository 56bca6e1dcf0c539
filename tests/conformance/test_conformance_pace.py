"""What a cell says counts when the machine ran: standing still makes no fault, and hides none."""

from conformance.cells import Cell, run
from conformance.house import House
from conformance.pace import Pace
from conformance.rows import Row, WrongError, ask
from conformance.seen import WELL, Seen
from conformance.speech import Way

WRONG = "it is not as it should be"


class Story(Pace):
    """One cell, measured again and again: whether the machine stood still meanwhile, and whether it was right."""

    def __init__(self, *steps: tuple[bool, bool]) -> None:
        self.steps, self._still = list(steps), False

    def stood_still(self, since: float) -> bool:
        return self._still

    async def calm(self) -> None:
        pass

    async def play(self, house: House, way: Way, row: Row) -> Seen:
        self._still, right = self.steps.pop(0)
        _, _, seen = await ask(house, way, row)
        if not right:
            raise WrongError(WRONG)
        return seen

    def told(self) -> Cell:
        def begin() -> Pace:
            super(Story, self).__init__()
            return self

        [cell] = run([Row("a story", "Stories", WELL, None, play=self.play, operations=("chat",))], begin)
        return cell


def test_what_is_wrong_while_the_machine_runs_is_wrong_at_once() -> None:
    story = Story((False, False), (False, True))
    assert story.told().wrong == WRONG
    assert len(story.steps) == 1


def test_what_is_wrong_because_the_machine_stood_still_is_measured_again_and_told() -> None:
    cell = Story((True, False), (False, True)).told()
    assert (cell.seen, cell.wrong, cell.before) == (WELL, "", (WRONG,))


def test_what_is_wrong_again_when_the_machine_runs_is_wrong() -> None:
    cell = Story((True, False), (False, False)).told()
    assert (cell.wrong, len(cell.before)) == (WRONG, 1)


def test_once_it_was_wrong_it_must_hold_while_the_machine_runs() -> None:
    cell = Story((True, False), (True, True), (False, False)).told()
    assert (cell.wrong, cell.before) == (WRONG, (WRONG, "it held"))


def test_what_holds_while_the_machine_stands_still_holds() -> None:
    cell = Story((True, True)).told()
    assert (cell.wrong, cell.before) == ("", ())
