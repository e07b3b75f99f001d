"""Check the links of a built site that lead inside it: files, and anchors of pages.

python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

#: Pages that the theme makes, whose links are made by scripts.
SKIPPED = {"genindex.html", "search.html", "py-modindex.html", "webpack-macros.html"}


def broken(site: Path) -> list[str]:
    """Return the links that lead nowhere, each as ``page: target``."""
    texts = {page: page.read_text() for page in site.rglob("*.html")}
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in texts.items()}
    out = []
    for page, text in texts.items():
        if page.name in SKIPPED:
            continue
        for target in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
            name, _, anchor = unquote(target).partition("#")
            if re.match(r"[a-z]+:|//", target):
                continue
            there = (page.parent / name.partition("?")[0]).resolve() if name else page.resolve()
            lost = not there.exists() or (
                anchor and there.suffix == ".html" and anchor not in anchors.get(there, ())
            )
            if lost:
                out.append(f"{page.relative_to(site)}: {target}")
    return sorted(out)


if __name__ == "__main__":
    found = broken(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "every link inside the site leads somewhere")
    raise SystemExit(1 if found else 0)
