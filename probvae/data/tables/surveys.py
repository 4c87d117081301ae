"""Surveys of columns: the possible meanings of their cells, gathered batch by batch over a whole table."""

import numpy as np

from probvae.data.coding import LARGEST
from probvae.data.tables import cells
from probvae.data.tables.samples import Sample
from probvae.data.tables.table import WRITTEN
from probvae.data.value_types import SECONDS, parse_date

MAX_LEVELS = 1000  # levels of a categorical column, at most
EXAMPLES = 9  # distinct cells that are no numbers of which is known, at most
OLD = "old"  # notation of numbers in runs of format 2


class Numbers:
    """A summary of numbers.

    Attributes:
      low, high: Range.
      distinct: Distinct numbers, or None if there are more than `MAX_LEVELS`.
      whole: Whether all are whole.
      integer: Whether all are written as whole numbers, or are of a type of these.
      days: Whether all, as seconds, are whole days.
      sample: Random sample of the numbers.
      too_large: Row (from 1) and value of the first one beyond `LARGEST`, or None.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.distinct: set[float] | None = set()
        self.whole = self.days = self.integer = True
        self.sample = Sample()
        self.too_large: tuple[int, float] | None = None

    def add(self, values: np.ndarray, places: np.ndarray, start: int) -> None:
        """Add distinct numbers [n], where places [m] are the index of each cell among them, from a row on."""
        if not len(values):
            return
        beyond = np.flatnonzero(np.abs(values) > LARGEST)
        if len(beyond) and self.too_large is None:
            cell = int(np.flatnonzero(np.isin(places, beyond))[0])
            self.too_large = start + cell + 1, float(values[places[cell]])
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.whole = self.whole and bool(np.all(values == np.rint(values)))
        with np.errstate(invalid="ignore"):
            self.days = self.days and bool(np.all(values % SECONDS["D"] == 0))
        if self.distinct is not None:
            self.distinct = _joined(self.distinct, set(values.tolist()))
        self.sample.add(values[places[places >= 0]])


def _joined(known: set, more: set) -> set | None:
    joined = known | more
    return None if len(joined) > MAX_LEVELS else joined


class Survey:
    """A summary of the cells of a column.

    Attributes:
      form: Form of the cells, as in `Source`.
      missing_cells: Texts that stand for missing cells.
      rows, missing: Numbers of cells and of missing ones.
      first_missing: Row of the first missing cell, from 1; 0 if there is none.
      levels: Distinct texts, or None if there are more than `MAX_LEVELS`.
      numbers: Numbers by notation, of notations in which all cells are numbers; under the name of the form
        for cells that are not written.
      dates: Dates as seconds since 1970, if all cells are dates; else None.
      is_boolean: Whether all cells are true or false.
      separated: Whether a number has a comma.
      leading_zero, underscore: The first cell like 007, and like 1_2; else empty.
      has_exponents: Whether all cells are like 1E5.
      is_dressed: Whether all cells are numbers with units or other marks, or dates in another form.
      others: The first cells that are no numbers in any notation.
      num_others: Number of such cells.
      zoned: Whether a date has a time zone.
    """

    def __init__(self, form: str, notations: tuple[str, ...], missing_cells: tuple[str, ...] = ()) -> None:
        written = form == WRITTEN
        self.form, self.old = form, OLD in notations
        self.rows = self.missing = self.first_missing = self.num_others = 0
        self.levels: set[str] | None = set()
        self.notations, self.missing_cells = notations, missing_cells
        self.numbers = {name: Numbers() for name in (notations if written else (form,))}
        self.dates = Numbers() if (written and not self.old) or form == "date" else None
        self.is_boolean = (written and not self.old) or form == "boolean"
        self.separated = self.zoned = False
        self.has_exponents = self.is_dressed = written and not self.old
        self.leading_zero = self.underscore = ""
        self.others: list[str] = []

    def add(self, column: np.ndarray) -> None:
        """Add further cells [n] to the summary."""
        import pandas as pd

        places, distinct = pd.factorize(column)
        counts = np.bincount(places[places >= 0], minlength=len(distinct))
        if column.dtype != object:
            self._add_typed(np.asarray(distinct), places)
        elif len(distinct):
            texts = distinct.tolist()
            if self.levels is not None:
                self.levels = _joined(self.levels, set(texts))
            if self.form == WRITTEN:
                self._add_written(texts, places, counts)
            elif not self.others:
                self.others = texts[:EXAMPLES]
        empty = np.flatnonzero(places < 0)
        if len(empty) and not self.first_missing:
            self.first_missing = self.rows + int(empty[0]) + 1
        self.rows, self.missing = self.rows + len(column), self.missing + len(empty)

    @property
    def is_ambiguous(self) -> bool:
        """True if all cells are numbers whose commas may be decimal or separate thousands."""
        return len(self.numbers) == 2 and self.separated

    @property
    def is_text_of_many(self) -> bool:
        """True if the cells are texts of more than `MAX_LEVELS` levels, whatever further cells are."""
        is_read = self.form == WRITTEN and (bool(self.numbers) or self.dates is not None)
        return self.levels is None and not is_read

    @property
    def present(self) -> int:
        """Number of cells that are not missing."""
        return self.rows - self.missing

    def _add_typed(self, values: np.ndarray, places: np.ndarray) -> None:
        self.numbers[self.form].add(values, places, self.rows)
        if self.dates is not None:
            self.dates = self.numbers[self.form]

    def _add_written(self, texts: list[str], places: np.ndarray, counts: np.ndarray) -> None:
        joined = "\n".join(texts)
        read: dict[str, np.ndarray] = {}
        for name in self.notations:
            if name in self.numbers or name == self.notations[0] or "," in joined:
                read[name] = cells.numbers(texts, name)
        is_number = np.zeros(len(texts), bool)
        for name, values in read.items():
            numbers = ~np.isnan(values)
            is_number |= numbers
            if name in self.numbers and numbers.all():
                known, whole = self.numbers[name], cells.NOTATIONS[name].whole
                known.integer = known.integer and all(map(whole.fullmatch, texts))
                known.add(values, places, self.rows)
            else:
                self.numbers.pop(name, None)
        if not is_number.all():
            others = np.flatnonzero(~is_number)
            self.num_others += int(counts[others].sum())
            self.others += [texts[i] for i in others[:EXAMPLES] if texts[i] not in self.others]
            del self.others[EXAMPLES:]
        if self.old:
            return
        self.separated = self.separated or "," in joined
        self._add_marks(texts, joined)
        self._add_dates(texts, places)
        self.is_boolean = self.is_boolean and all(text.lower() in ("true", "false") for text in texts)

    def _add_marks(self, texts: list[str], joined: str) -> None:
        self.has_exponents = self.has_exponents and all(map(cells.EXPONENT.fullmatch, texts))
        self.is_dressed = self.is_dressed and all(map(cells.DRESSED.fullmatch, texts))
        if not self.leading_zero and (zero := cells.LEADING_ZERO.search(joined)):
            self.leading_zero = zero[0]
        if not self.underscore and (score := cells.UNDERSCORE.search(joined)):
            self.underscore = score[0]

    def _add_dates(self, texts: list[str], places: np.ndarray) -> None:
        if self.dates is None:
            return
        try:
            moments = [parse_date(text) for text in texts]
        except ValueError:
            self.dates = None
            return
        self.dates.add(np.array([moment.seconds for moment in moments]), places, self.rows)
        self.zoned = self.zoned or any(moment.zoned for moment in moments)
