"""The files that a forge, a package index or another reader takes from the repository."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_documented_commands import commands

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "dependabot": [ROOT / ".github" / "dependabot.yml"],
    "github-issue-forms": [ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "idea")],
    "github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}
PAGES = ["llms.txt", "SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "docs/install.md"]


@pytest.mark.slow  # a process each
@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_are_of_their_schema(schema: str) -> None:
    check(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *SCHEMAS[schema])


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="no actionlint here; the workflow `checks` has it")
def test_workflows_pass_actionlint() -> None:
    check("actionlint", *WORKFLOWS)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint here; the workflow `checks` has it")
def test_the_dockerfile_passes_hadolint() -> None:
    check("hadolint", ROOT / "Dockerfile")


def check(*words: object) -> None:
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_run_the_pythons_and_targets_that_there_are() -> None:
    checks = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text("utf-8"))
    pythons = checks["jobs"]["tests"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each) for each in project["classifiers"]]
    assert pythons == [each[1] for each in found if each]
    named = set(re.findall(r"^[\w -]+(?=:)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    targets = {target for each in named for target in each.split()}
    for file in WORKFLOWS:
        text = file.read_text("utf-8")
        assert targets >= {*re.findall(r"make (\S+)", text)}
        assert not re.search(r"uses: [^.][^@]*@(?![0-9a-f]{40} # v\d)", text), "an action that is not pinned"


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == project["version"]
    assert f"Version {project['version']}" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_what_there_is(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text("utf-8")):
        assert ((ROOT / page).parent / target).exists(), target


def test_commands_for_other_readers_are_those_of_the_readme() -> None:
    assert commands("llms.txt") == [command for command in commands("README.md") if command in commands("llms.txt")]
    assert len(commands("llms.txt")) == 4
