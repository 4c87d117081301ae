"""docs/results: the record, the comparison with it, the tables, and a small version of every entry."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pages
import pytest
import record
import reproduce
from click.testing import CliRunner
from entries import ENTRIES, kin
from measures import Evaluation, Measure, corrected, results


def recorded(**values):
    """A record of seeds 0, 1, ... with these values of one measure, by entry."""
    return {
        name: {
            str(seed): {"measures": {"NLL": [value, 0.2, 0.01]}, "minutes": 1, "machine": "here"}
            for seed, value in enumerate(list_of_values)
        }
        for name, list_of_values in values.items()
    }


def test_the_deviation_is_pooled_over_the_rows_of_a_kind():
    """By hand; a row of one seed has no part in it, and the error over images neither."""
    found = record.expected(recorded(a=[1.0, 3.0], b=[10.0, 10.0, 13.0], c=[5.0]), "b", "NLL", "abc")
    assert found.value == pytest.approx(11) and found.number == 3
    assert found.seeds == pytest.approx(np.sqrt((1 + 1 + 1 + 1 + 4) / (1 + 2)))
    assert found.tolerance == pytest.approx(4 * np.hypot(found.seeds, 0.01))
    assert np.isnan(record.expected(recorded(c=[5.0]), "c", "NLL", "c").seeds)
    assert record.expected({}, "c", "NLL", "c") is None


@pytest.mark.parametrize(
    ("value", "before", "says", "fails"),
    [
        (11.0, Measure(11.0), "the recorded digits", False),
        (11.0 + 1e-12, Measure(11.0), "NOT the digits recorded on this machine", True),
        (11.0 + 4.9, None, "within 5.657", False),
        (11.0 + 5.8, None, "BEYOND 5.657", True),
        (float("nan"), None, "BEYOND", True),
    ],
)
def test_a_new_result_is_compared_with_the_record(value, before, says, fails):
    usual = record.expected(recorded(a=[10.0, 12.0]), "a", "NLL", "a")
    usual = usual._replace(draws=0.0)
    assert usual.tolerance == pytest.approx(4 * np.sqrt(2))
    verdict = record.compare(Measure(value), before, usual)
    assert says in verdict.text and verdict.fails is fails


def test_one_seed_alone_cannot_fail_but_says_so():
    usual = record.expected(recorded(a=[10.0]), "a", "NLL", "a")
    verdict = record.compare(Measure(10.5), None, usual)
    assert "whose deviation is not known" in verdict.text and not verdict.fails
    assert record.compare(Measure(10.5), None, None).text == "not recorded"


def test_the_corrected_value_is_that_of_all_images_and_its_errors_are_of_both_parts():
    """Images are independent and their noise small: the corrected value is the mean with many draws."""
    rng = np.random.default_rng(0)
    exact = -90 + 20 * rng.standard_normal(10_000)
    few = exact - 1 - 0.3 * rng.standard_normal(10_000)
    line = {
        "mean": few.mean(),
        "standard_error": 0.2,
        "monte_carlo_error": 0.01,
        "name": "IWAE bound, K = 100",
    }
    lines = {"iwae": line, "elbo": {**line, "name": "ELBO, 100 draws"}}
    whole = Evaluation(lines, {"iwae": few, "iwae_monte_carlo_error": np.full(10_000, 0.1)})
    part = Evaluation({}, {"iwae": exact[:2000], "iwae_monte_carlo_error": np.full(2000, 0.2)})
    found = corrected([whole, part])["NLL, K = 5,000, corrected"]
    assert found.value == pytest.approx(-exact.mean(), abs=6 * 0.3 / np.sqrt(2000))
    assert found.images == pytest.approx(np.hypot(few.std() / 100, 0.3 / np.sqrt(2000)), rel=0.05)
    assert found.draws == pytest.approx(np.hypot(0.1 / 100, 0.2 / np.sqrt(2000)), rel=1e-6)
    assert abs(found.value + exact[:2000].mean()) > 0.1  # not that of the part alone


def test_a_cost_has_the_other_sign_and_the_number_of_draws():
    lines = {
        "iwae": {
            "mean": -86.5,
            "standard_error": 0.2,
            "monte_carlo_error": 0.01,
            "name": "IWAE bound, K = 5,000",
        }
    }
    assert results([Evaluation(lines, {})], ["iwae"]) == {"NLL, K = 5,000": Measure(86.5, 0.2, 0.01)}


def test_the_tables_of_the_pages_are_those_of_the_record():
    """Nobody has written a number of them by hand."""
    number = 0
    for name in pages.PAGES:
        text = (pages.ROOT / name).read_text()
        assert text == pages.MARKED.sub(lambda m: pages.filled(record.read(), m), text)
        number += len(pages.MARKED.findall(text))
    assert number >= 3
    text = (pages.ROOT / pages.PAGES[0]).read_text()
    assert {entry.table for entry in ENTRIES.values()} <= {m[2] for m in pages.MARKED.finditer(text)}
    changed = json.loads(json.dumps(record.read()))
    for run in changed["tutorial-tuned"].values():
        run["measures"]["-ELBO"][0] += 0.5
    assert text != pages.MARKED.sub(lambda m: pages.filled(changed, m), text)


def test_the_list_names_every_entry():
    said = CliRunner().invoke(reproduce.main, ["--list"]).output
    assert all(f"{name}: " in said for name in ENTRIES) and "probvae-train --data mnist" in said
    assert all(name in kin(name) for name in ENTRIES)


def test_a_result_is_made_once_and_of_the_options_that_are_asked_for(tmp_path):
    """An interrupted one is made again, and a folder of other options is refused, not read."""
    calls = []

    def program(words, seed, folder):
        calls.append((words, seed))
        folder.mkdir(exist_ok=True)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"measures": {"NLL": [float(seed), 0.0, 0.0]}, "minutes": 0.1}

    entry = dataclasses.replace(ENTRIES["tfp-once"], made=program)
    options = {"quick": False, "places": {"mnist": "here.npz"}}
    with pytest.raises(KeyboardInterrupt):
        reproduce.made(entry, 3, tmp_path / "a-3", **options)
    first = reproduce.made(entry, 3, tmp_path / "a-3", **options)
    assert first["measures"] == {"NLL": [3.0, 0.0, 0.0]} and first["machine"] == record.machine()
    assert reproduce.made(entry, 3, tmp_path / "a-3", **options) == first
    assert len(calls) == 2 and calls[0] == calls[1] and "here.npz" in calls[0][0]
    with pytest.raises(SystemExit, match="a-3 has a run with other options"):
        reproduce.made(entry, 3, tmp_path / "a-3", quick=True, places={})
    (tmp_path / "b-0").mkdir()
    with pytest.raises(SystemExit, match="b-0 has a run with other options"):
        reproduce.made(entry, 0, tmp_path / "b-0", **options)


@pytest.mark.slow
def test_a_small_version_of_every_entry_is_as_recorded(tmp_path):
    """In a process of its own, as threads are set otherwise in tests, on which the last digits depend."""
    own = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    command = [sys.executable, reproduce.__file__, "--quick", "--output", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    small = record.read(record.QUICK)
    assert set(small) == set(ENTRIES)
    for name in ENTRIES:
        for key, *_ in small[name]["0"]["measures"].items():
            assert f"{name}, seed 0, {key}: " in result.stdout
    assert "not recorded" not in result.stdout and "not known" not in result.stdout
