"""The page: one HTML file with its style, its script, plotly and its data inside, and nothing asked of any origin."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need

_SCRIPTS = (
    "elements",
    "numbers",
    "packed",
    "model",
    "theme",
    "groups",
    "downloads",
    "plots",
    "headlines",
    "forest",
    "pairs",
    "depth",
    "top",
    "ratios",
    "verdict",
    "ablations",
    "steps",
    "curves",
    "effects",
    "layer",
    "distributions",
    "length_scatter",
    "lengths",
    "correlations",
    "targets",
    "map",
    "redundancy",
    "examples",
    "detail",
    "detail_plots",
    "tokens",
    "view",
    "page",
)
_STYLES = ("page", "parts", "first", "tokens", "print")
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")  # of a name, that turn what follows it


def page(title: str, data: str, texts: str, measured: Sequence[str]) -> str:
    """Return the HTML of the page; `data`, `texts` and `measured` are JSON that `script_json` made."""
    script, plotly = app_script(), _plotly()
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_asset("page.html"))
    return template.render(
        title=title,
        policy=_policy((script, plotly)),
        style=Markup("\n".join(_asset(f"{name}.css") for name in _STYLES)),
        script=Markup(script),
        plotly=Markup(plotly),
        data=Markup(data),
        texts=Markup(texts),
        measured=[Markup(each) for each in measured],
    )


@cache
def app_script() -> str:
    """Return the page's own script: its files one after the other, in one scope."""
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


@cache
def _plotly() -> str:
    """Return plotly's bundle. Raises `GradPrismError` where plotly is missing, or its bundle would end the script."""
    bundle = str(need("plotly.offline", "report").get_plotlyjs())
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise GradPrismError("This plotly's bundle holds markup and cannot stand in a page. Use another version.")
    return bundle.replace("\r\n", "\n").replace("\r", "\n")


def _policy(scripts: Sequence[str]) -> str:
    """Return a content security policy under which the page can run these scripts and request nothing at all."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def page_title(models: Sequence[dict[str, Any]]) -> str:
    """Return the title of the page: groups and models, each model with its own groups where they differ.

    A run alone goes by its name and its data, since many runs have one name.
    """
    groups, labels = dict.fromkeys(map(_groups_in_words, models)), page_labels(models)
    title = ", ".join(each["label"] for each in labels)
    if len(groups) == 1 and len(models[0]["groups"]) > 1:
        title = f"{next(iter(groups))} on {title}"
    elif len(groups) == 1 and not any(each["ending"] for each in labels):
        data = f" ({models[0]['data']})" if models[0]["data"] else ""
        title = f"{next(iter(groups))}{data} on {', '.join(dict.fromkeys(model['name'] for model in models))}"
    return _DIRECTION_MARKS.sub("", title)


def page_labels(models: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Label the comparisons of a page by model, by groups too where those differ, and tell apart those still alike.

    `label` is what a choice among them shows, `ending` what tells it from others that are named like it.
    """
    by_groups = len({*map(_groups_in_words, models)}) > 1 or any(len(model["groups"]) == 1 for model in models)
    named = [f"{_groups_in_words(model)} on {model['name']}" if by_groups else model["name"] for model in models]
    endings = [_ending(place, named, models) for place in range(len(models))]
    plain = [[_DIRECTION_MARKS.sub("", text) for text in pair] for pair in zip(named, endings, strict=True)]
    return [{"label": name + ending, "ending": ending} for name, ending in plain]


def _ending(place: int, named: Sequence[str], models: Sequence[dict[str, Any]]) -> str:
    """Return the folders of the runs, else their data, else a number: the first that tells like names apart."""
    alike = [model for model, name in zip(models, named, strict=True) if name == named[place]]
    if len(alike) == 1:
        return ""
    for words in (_runs_in_words, _data_in_words):
        if len({*map(words, alike)}) == len(alike):
            return f" ({words(models[place])})"
    return f" ({named[: place + 1].count(named[place])})"


def _groups_in_words(model: dict[str, Any]) -> str:
    groups = model["groups"][:2] if model.get("paired") else model["groups"]
    return " · ".join(group["name"] for group in groups)


def _runs_in_words(model: dict[str, Any]) -> str:
    return " · ".join(dict.fromkeys(group["run"] for group in model["groups"]))


def _data_in_words(model: dict[str, Any]) -> str:
    return str(model["data"])
