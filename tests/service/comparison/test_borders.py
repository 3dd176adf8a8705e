"""The comparison can be used alone: neither Django nor torch is ever loaded by it."""

import subprocess
import sys
from pathlib import Path


def test_importing_all_of_it_loads_neither_django_nor_torch():
    code = (
        "import sys, service.comparison.plots, service.comparison.report, service.comparison.scorecard;"
        "import service.comparison.experiment_json;"
        "print([m for m in ('django', 'torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
