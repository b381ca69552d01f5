"""The report as a file: what is embedded and how, its size, what it says of what is gone."""

import base64
import json
import re
import zlib
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.made_comparisons import made_comparison
from tests.made_reports import FOUND_AGAIN, WINDOWS, made_report, with_effects

from gradprism import GradPrismError, open_run
from gradprism.comparison.comparison import Comparison
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.comparison.findings import CONTROL_RULE, KINDS
from gradprism.comparison.length_controls import ALPHA
from gradprism.figures.colours import GROUP_MARKERS, projection_look
from gradprism.files.paths import base_name
from gradprism.metrics.titles import headed, title
from gradprism.report import write_report
from gradprism.report.example_curves import read_example_curves
from gradprism.report.packed import log_codes, packed
from gradprism.report.page import app_script
from gradprism.report.page_json import rounded, script_json
from gradprism.report.paths import without_paths

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

EVIL = '</script><img src=x onerror="window.hacked = true">'
MB = 1_000_000
every_character = st.text(st.characters(codec=None))  # half surrogate pairs too


class Elements(HTMLParser):
    """Names of elements, and the content of scripts by id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.scripts: dict[str | None, str] = {}
        self._id: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names[tag] += 1
        self._id = dict(attrs).get("id") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._id = None

    def handle_data(self, data: str) -> None:
        if self._id:
            self.scripts[self._id] = data


def embedded(path: Path) -> dict[str | None, Any]:
    """The data of a report, by the id of its script."""
    return {name: json.loads(text) for name, text in Elements(path.read_text("utf-8")).scripts.items()}


@given(st.dictionaries(every_character, every_character))
def test_any_text_comes_through_and_never_means_anything_to_html(texts: dict[str, str]) -> None:
    made = script_json(texts)
    assert json.loads(made) == texts
    assert not set("<>&\u2028\u2029\r\n\0") & set(made)
    made.encode("utf-8")


@pytest.mark.parametrize(
    ("value", "short"), [(1.23456, 1.235), (12345.6, 12350), (float("nan"), None), (float("inf"), None), (None, None)]
)
def test_numbers_are_rounded_and_what_is_none_is_null(value: float | None, short: float | None) -> None:
    assert rounded(value, 4) == short


@pytest.mark.parametrize("table", ["effects", "levels", "mad", "rd", "correlations"])
def test_figures_of_a_comparison_keep_enough_digits_to_be_rounded_once(tmp_path: Path, table: str) -> None:
    comparison = with_effects(made_comparison(n=3, layers=2), **FOUND_AGAIN, **WINDOWS)
    frame = getattr(comparison, table)
    found = embedded(write_report(comparison, out=tmp_path / "report.html").path)["data"]["models"][0]["tables"][table]
    for name in (name for name in frame.columns if frame[name].dtype.is_float() and name in found):
        assert found[name] == pytest.approx(frame[name].to_list(), rel=1e-7), name


def test_markup_in_texts_ids_names_and_reasons_makes_no_element(tmp_path: Path) -> None:
    plain = made_report(tmp_path / "plain")
    evil = made_report(tmp_path / "evil", texts={"high": [(EVIL, EVIL)]})
    group = replace(evil.groups[0], rule=EVIL, reasons={EVIL: 2})
    evil = replace(evil, groups=(group, *evil.groups[1:]), notes=(EVIL,), about=evil.about | {"precision": EVIL})
    pages = [tmp_path / name for name in ("plain.html", "evil.html")]
    for comparison, page in zip((plain, evil), pages, strict=True):
        write_report(comparison, out=page)
    first, second = (Elements(page.read_text("utf-8")) for page in pages)
    assert first.names == second.names
    assert second.names["img"] == 0
    assert [EVIL in str(text) for text in embedded(pages[1])["texts"]].count(True) == 1


def test_names_in_the_title_are_escaped(tmp_path: Path) -> None:
    write_report(made_comparison(("<b>high</b>", "low"), 3, 2), out=tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<title>&lt;b&gt;high&lt;/b&gt; · low on tiny-1b – GradPrism</title>" in text


def test_no_mark_of_direction_is_in_the_title(tmp_path: Path) -> None:
    write_report(made_comparison(("\u202ehigh", "l\u2067ow"), 3, 2), out=tmp_path / "report.html")
    assert "<title>high · low on tiny-1b – GradPrism</title>" in (tmp_path / "report.html").read_text("utf-8")


def test_the_policy_lets_nothing_be_requested(tmp_path: Path) -> None:
    write_report(made_comparison(n=3, layers=2), out=tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "http" not in policy[1]
    assert Elements(text).names["script"] == 5  # data, texts, measured, the page's own, plotly


def test_packing_is_undone_to_within_its_rounding() -> None:
    values = np.random.default_rng(0).lognormal(0, 3, (300, 2, 5, 7))
    values[0, 0, 0, :3] = [np.nan, 0, -1]
    low, high = np.log10(values[values > 0].min()), np.log10(values[values > 0].max())
    made = packed(log_codes(values, low, high, 4095), wide=True)
    codes = np.concatenate([unpacked(chunk, made["shape"]) for chunk in made["chunks"]])
    assert (codes[0, 0, 0, :3] == 0).all()
    found = 10 ** (low + (codes - 1.0) / 4094 * (high - low))
    present = values > 0
    assert np.abs(np.log10(found[present] / values[present])).max() <= (high - low) / 4094 / 2 + 1e-9


def unpacked(chunk: str, shape: list[int]) -> np.ndarray:
    """What the page's script does, in numpy."""
    high, low = np.frombuffer(zlib.decompress(base64.b64decode(chunk)), np.uint8).reshape(2, -1).astype(np.uint16)
    return np.cumsum(((high << 8) | low).reshape(-1, *shape), axis=-1, dtype=np.uint16)


def test_curves_and_singular_values_are_those_of_the_run(tmp_path: Path) -> None:
    comparison = made_report(tmp_path, n=5)
    measured = read_example_curves(comparison, comparison.examples, lambda _: None)
    assert measured.missing == {}
    spectra = open_run(comparison.groups[1].run).scan("spectra").collect()
    place = comparison.examples["group"].to_list().index("low") + 3
    row = spectra.filter(row=3, layer=2, projection="v").row(0, named=True)
    assert measured.curves[place, :, 2, 2] == pytest.approx([row["nuclear_norm"], row["effective_rank"]])
    index = measured.indices[4]
    share = row["singular_values"][index - 1] / row["singular_values"][0]
    assert 10 ** (-6 + (measured.spectra[place, 2, 2, 3] - 1) / 126 * 6) == pytest.approx(share, rel=0.06)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    comparison = made_report(tmp_path)
    for name in ("a.html", "b.html"):
        write_report(comparison, out=tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_long_turns_are_cut_the_same_whatever_the_size_and_each_text_is_kept_once(tmp_path: Path) -> None:
    long = [("Say it.", f"{i} " + "word " * 2000) for i in range(30)]
    comparison = made_report(tmp_path, n=30, texts={"high": long, "low": long})
    whole = write_report(comparison, out=tmp_path / "whole.html")
    less = write_report(comparison, out=tmp_path / "less.html", max_mb=(whole.bytes - 60_000) / MB)
    assert less.bytes <= whole.bytes - 60_000
    assert less.n_shown < whole.n_shown == 60
    turns = [turn for text in embedded(tmp_path / "whole.html")["texts"] for turn in text if turn[2]]
    assert len(turns) == 30  # both groups have the same texts: each is kept once
    assert [(len(turn[1]), turn[2]) for turn in turns] == [(8000, len(long[i][1]) - 8000) for i in range(30)]
    fewer = [turn for text in embedded(tmp_path / "less.html")["texts"] for turn in text if turn[2]]
    assert all(turn in turns for turn in fewer)


def test_a_file_that_is_too_large_shows_a_stated_sample_of_every_group(tmp_path: Path) -> None:
    comparison = made_report(tmp_path, n=60)
    whole = write_report(comparison, out=tmp_path / "whole.html")
    few = write_report(comparison, out=tmp_path / "few.html", max_mb=(whole.bytes - 110_000) / MB)
    assert few.bytes <= whole.bytes - 110_000
    assert 10 < few.n_shown < few.n_examples == 120
    data = embedded(tmp_path / "few.html")["data"]
    assert list(few.notes) == data["notes"]
    assert any(note.startswith(f"{few.n_shown} of 120 examples are listed") and "seed 0" in note for note in few.notes)
    shown = data["models"][0]["examples"]
    assert len(set(Counter(shown["group"]).values())) == 1
    other = write_report(comparison, out=tmp_path / "other.html", max_mb=(whole.bytes - 110_000) / MB, seed=1)
    assert embedded(other.path)["data"]["models"][0]["examples"]["row"] != shown["row"]


def test_where_not_even_one_example_fits_one_of_each_group_is_shown(tmp_path: Path) -> None:
    facts = write_report(made_report(tmp_path), out=tmp_path / "report.html", max_mb=0.1)
    assert facts.n_shown == 2


def test_what_is_gone_is_said_and_the_rest_is_there(tmp_path: Path) -> None:
    facts = write_report(made_comparison(n=4, layers=2), out=tmp_path / "report.html")
    found = embedded(facts.path)
    assert facts.n_shown == 8
    assert found["texts"] == []
    assert found["data"]["models"][0]["measured_missing"]["low"] == "low is not a run: there is no such folder."
    assert found["data"]["models"][0]["no_texts"]["high"].startswith("high is not a run")
    assert "/nowhere" not in facts.path.read_text("utf-8")


@pytest.mark.parametrize("gone", ["nothing", "low", "low.jsonl"])
def test_no_path_of_the_author_is_in_the_file(tmp_path: Path, gone: str) -> None:
    home = tmp_path / "my home"
    comparison = made_report(home)
    model = comparison.about["model"] | {"name": str(home / "models" / "tiny")}
    noted = replace(comparison, about=comparison.about | {"model": model}, notes=(f"{home / 'low'} was left out.",))
    if gone != "nothing":
        (home / gone).rename(home / "elsewhere")
    text = write_report(noted, out=tmp_path / "report.html").path.read_text("utf-8")
    assert "my home" not in text
    assert str(tmp_path) not in text
    assert "<title>high · low on tiny – GradPrism</title>" in text
    found = embedded(tmp_path / "report.html")
    assert found["data"]["models"][0]["name"] == "tiny"
    assert found["data"]["models"][0]["notes"] == ["low was left out."]
    assert ("low" in found["data"]["models"][0]["no_texts"]) == (gone != "nothing")


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("cannot read /home/me/runs/a: gone", "cannot read a: gone"),
        ("[Errno 2] No such file: '/home/my name/data.json'", "[Errno 2] No such file: 'data.json'"),
        (r"C:\Users\me\run is not a run", "run is not a run"),
        ("~/runs/a and/or 1/2 of https://example.org/a/b", "a and/or 1/2 of https://example.org/a/b"),
        ("/my runs/b has changed", "b has changed"),
    ],
)
def test_paths_in_a_text_are_cut_to_base_names(text: str, without: str) -> None:
    assert without_paths(text, ["/my runs/b"]) == without


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("tiny-1b", "tiny-1b"),
        ("owner/tiny-1b", "owner/tiny-1b"),
        ("/data/models/tiny-1b/", "tiny-1b"),
        ("./tiny-1b", "tiny-1b"),
        ("~/tiny-1b", "tiny-1b"),
        ("runs/models/tiny-1b", "tiny-1b"),
        (r"C:\models\tiny-1b", "tiny-1b"),
    ],
)
def test_models_that_are_folders_go_by_their_base_name(name: str, base: str) -> None:
    assert base_name(name) == base


def test_the_header_says_which_rows_of_which_data_and_whether_runs_end(tmp_path: Path) -> None:
    comparison = made_report(tmp_path)
    model = comparison.about["model"] | {"revision": "0123456789abcdef"}
    data = [entry | {"fingerprint": "fedcba9876543210"} for entry in comparison.about["data"]]
    groups = (comparison.groups[0], replace(comparison.groups[1], pending=3))
    about = comparison.about | {"model": model, "data": data}
    page = write_report(replace(comparison, about=about, groups=groups), out=tmp_path / "report.html").path
    header = dict(embedded(page)["data"]["models"][0]["header"])
    assert header["Model"].endswith("revision 01234567")
    assert "fingerprint fedcba98" in header["Data"]
    assert "fedcba9876543210" not in page.read_text("utf-8")
    assert header["Rows read"] == "the first 6"
    assert header["Runs"] == "low is INCOMPLETE: 3 rows are not measured yet"


def test_where_groups_hardly_overlap_nothing_modelled_is_evidence(tmp_path: Path) -> None:
    sure = {"partial_spearman": 0.4, "partial_low": 0.3, "partial_high": 0.5, "partial_q": 0.001, "n_first": 40}
    for rows, pairs, found in ((4.9, 9, "unclear"), (5.0, 10, "positive")):
        weights = FOUND_AGAIN | {"weighted_n_first": rows}
        comparison = with_effects(made_comparison(n=40, layers=2), matched_pairs=pairs, **sure, **weights)
        page = write_report(comparison, out=tmp_path / "report.html").path
        effects = embedded(page)["data"]["models"][0]["tables"]["effects"]
        for control in ("partial_found", "weighted_found"):
            assert {effects[control]["kinds"][i] for i in effects[control]["index"]} == {found}
        for column in ("no_support", "few_pairs"):
            assert {*effects[column]} == {int(found == "unclear")}


def test_what_the_package_knows_stands_in_the_data_and_in_no_script(tmp_path: Path) -> None:
    comparison = made_comparison(n=3, layers=2)
    data = embedded(write_report(comparison, out=tmp_path / "report.html").path)["data"]
    assert (data["alpha"], data["decay_examples"]) == (ALPHA, MOST_EXAMPLES)
    shown = {*comparison.examples.columns, *comparison.levels["measure"], *comparison.correlations["x"]}
    assert {name: data["titles"][name] for name in shown} == {name: [title(name), headed(name)] for name in shown}
    for name in ("k", "q", "down"):
        look = projection_look(name)
        assert data["styles"]["projections"][name] == {"colour": look.colour, "dash": [*look.dash]}
    assert len(data["styles"]["groups"]["symbols"]) == len(GROUP_MARKERS)
    script = app_script()
    words = "Frobenius", "InsTag", "adjacent-layer", "survives", "mostly length"
    for copied in (str(ALPHA), "1e-6", '"triangle-up",', *words):
        assert copied not in script, copied


def test_every_kind_of_finding_is_sent_with_its_name_and_meaning(tmp_path: Path) -> None:
    data = embedded(write_report(made_comparison(n=3, layers=2), out=tmp_path / "report.html").path)["data"]
    assert [*data["kinds"]] == [*KINDS]  # the most important first
    assert data["kinds"]["length"] == ["mostly length", KINDS["length"].meaning]
    assert data["control_rule"] == CONTROL_RULE


def test_data_that_has_changed_costs_its_texts_alone(tmp_path: Path) -> None:
    comparison = made_report(tmp_path)
    with (tmp_path / "low.jsonl").open("a") as file:
        file.write('\n{"prompt": "one", "response": "more"}')
    found = embedded(write_report(comparison, out=tmp_path / "report.html").path)
    model = found["data"]["models"][0]
    assert list(model["no_texts"]) == ["low"]
    assert "has changed since" in model["no_texts"]["low"]
    assert [text is None for text in model["examples"]["text"]] == [False] * 6 + [True] * 6
    assert model["measured_missing"] == {}


def test_a_run_that_has_changed_costs_its_curves_alone(tmp_path: Path) -> None:
    comparison = made_report(tmp_path)
    swapped = tuple(replace(group, run=comparison.groups[0].run) for group in comparison.groups)
    found = embedded(write_report(replace(comparison, groups=swapped), out=tmp_path / "report.html").path)
    missing = found["data"]["models"][0]["measured_missing"]
    assert list(missing) == ["low"]
    assert "has changed since it was compared" in missing["low"]


def test_without_texts_none_are_in_the_file(tmp_path: Path) -> None:
    comparison = made_report(tmp_path, texts={"high": [("a secret", "kept")]})
    facts = write_report(comparison, out=tmp_path / "report.html", texts=False)
    assert "a secret" not in facts.path.read_text("utf-8")
    assert set(embedded(facts.path)["data"]["models"][0]["no_texts"]) == {"high", "low"}


def test_one_group_and_several_models(tmp_path: Path) -> None:
    alone = made_comparison(("all",), 4, 2)
    alone = replace(alone, effects=alone.effects.clear(), contrasts=(), findings=())
    other = made_comparison(("high", "low"), 4, 3, model="tiny-2b")
    facts = write_report(alone, other, out=tmp_path / "report.html")
    models = embedded(facts.path)["data"]["models"]
    assert [model["name"] for model in models] == ["tiny-1b", "tiny-2b"]
    assert models[0]["findings"] == []
    assert facts.n_examples == 12


def test_findings_stand_by_contrast_and_measure(tmp_path: Path) -> None:
    facts = write_report(made_comparison(("a", "b", "c"), 3, 2), out=tmp_path / "report.html")
    found = embedded(facts.path)["data"]["models"][0]["findings"]
    assert [(item["first"], item["second"], item["kind"]) for item in found] == [
        (*pair, kind) for pair in (("a", "b"), ("a", "c"), ("b", "c")) for kind in ("length", "survives")
    ]


@pytest.fixture
def small() -> Comparison:
    return made_comparison(n=3, layers=2)


def test_no_comparison_and_a_folder_are_refused(tmp_path: Path, small: Comparison) -> None:
    with pytest.raises(GradPrismError, match="at least one"):
        write_report(out=tmp_path / "report.html")
    with pytest.raises(GradPrismError, match="is a folder"):
        write_report(small, out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(GradPrismError, match="Cannot write the report"):
        write_report(small, out=tmp_path / "file" / "report.html")


def test_progress_hears_what_is_read(tmp_path: Path) -> None:
    heard: list[str] = []
    write_report(made_report(tmp_path), out=tmp_path / "report.html", progress=heard.append)
    assert any("spectra of high" in line for line in heard)
    assert any("texts" in line for line in heard)
