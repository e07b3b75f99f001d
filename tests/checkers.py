"""The checkers of the conventions, run in this process, and what they remark."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path


def remarks(path: Path, checker: str) -> dict[str, list[str]]:
    """Messages of one checker (`"cf:1.11"`, `"acdd"`) on a NetCDF file, by priority: high, medium, low."""
    from compliance_checker.runner import CheckSuite, ComplianceChecker

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        CheckSuite.load_all_available_checkers()
        out = Path(folder) / "said.json"
        ComplianceChecker.run_checker(
            str(path), [checker], 0, "normal", output_filename=str(out), output_format="json"
        )
        said = json.loads(out.read_text())[checker]
    return {
        priority: [message for part in said[f"{priority}_priorities"] for message in part["msgs"]]
        for priority in ("high", "medium", "low")
    }
