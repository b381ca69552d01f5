"""The files of examples/ are what the tools that they are for take."""

import shutil
import subprocess

import pytest
import yaml

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"


def test_the_ray_cluster_is_one_for_ray() -> None:
    validate = pytest.importorskip("ray.autoscaler._private.util", reason="the extra `ray` is not installed")
    validate.validate_config(
        validate.prepare_config(yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text(encoding="utf-8")))
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_slurm_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=True)
