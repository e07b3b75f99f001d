"""Parts of the site that come from the package: commands, variables, and outputs that were measured."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

DOCS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DOCS))
import measure  # noqa: E402


class Measured(Directive):
    """The output of a command as it was kept by ``docs/measure.py``; without one, a line that says so."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return a literal block, or a note."""
        command = " ".join(self.arguments[0].split())
        kept = measure.file_of(command)
        if kept.is_file():
            text = kept.read_text()
            return [nodes.literal_block(text, text, language="text")]
        note = nodes.note()
        line = nodes.paragraph()
        line += [
            nodes.Text("Not measured for this version. "),
            nodes.literal(text=f"python docs/measure.py {command}"),
        ]
        note += line
        return [note]


def write_pages(app: Any) -> None:
    """Write the pages of the command line and of the variables."""
    from is2ice.cli.commands import COMMANDS
    from is2ice.cli.main import load
    from is2ice.schema import markdown_table

    out = DOCS / "_generated"
    out.mkdir(exist_ok=True)
    (out / "variables.md").write_text(markdown_table())
    lines = ["# Command line", ""]
    for name in COMMANDS:
        describe(f"is2ice {name}", load(name), lines)
    (out / "commands.md").write_text("\n".join(lines))
    write_gallery(out)
    readme = (DOCS.parent / "README.md").read_text()
    first = readme[readme.index("## The first minutes") : readme.index("## How good it is")]
    words = readme[readme.index("## Words") : readme.index("## Further")]
    (out / "start.md").write_text(without_links(f"# First minutes\n\n{first}{words}"))
    pages = ("README", "slurm", "dask_gateway", "spark", "horovod")
    texts = [(DOCS.parent / "cluster" / f"{page}.md").read_text() for page in pages]
    deeper = [re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE) for text in texts]
    (out / "clusters.md").write_text(without_links("# Clusters\n\n" + "\n".join(deeper)))


def write_gallery(out: Path) -> None:
    """Write the cards of the gallery: title, first sentence and last picture of each notebook, in the page's order."""
    order = re.findall(r"^(\w+)$", (DOCS / "gallery" / "index.md").read_text(), flags=re.MULTILINE)
    cards = []
    for name in order:
        cells = json.loads((DOCS / "gallery" / f"{name}.ipynb").read_text())["cells"]
        title, _, text = "".join(cells[0]["source"]).removeprefix("# ").partition("\n\n")
        about = re.split(r"(?<=[.:]) ", re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text))[0]
        shown = [
            o["data"]["image/png"]
            for c in cells
            for o in c.get("outputs", ())
            if "image/png" in o.get("data", {})
        ]
        picture = ""
        if shown:
            (out / f"{name}.png").write_bytes(base64.b64decode(shown[-1]))
            picture = f":img-top: ../_generated/{name}.png\n:img-alt: picture of the notebook\n"
        cards.append(
            f":::{{grid-item-card}} {title}\n:link: ../gallery/{name}\n:link-type: doc\n{picture}{about}\n:::"
        )
    (out / "gallery_cards.md").write_text(
        "::::{grid} 1 2 3 3\n:gutter: 3\n\n" + "\n".join(cards) + "\n::::\n"
    )


def without_links(text: str) -> str:
    """Name the files that pages of the repository link to each other; they do not belong to the site."""
    return re.sub(r"\[([^]]+)\]\((?!https?:|#)([^)]+)\)", r"`\2`", text)


def describe(name: str, command: Any, lines: list[str]) -> None:
    """Add the section of a command, and of the commands of a group."""
    help_text = str(command.help or "").split("\f")[0].replace("\\[", "[").strip()
    lines += [f"{'#' * min(4, 1 + name.count(' '))} {name}", "", help_text, ""]
    rows = [p for p in command.params if p.name not in ("help", "quiet", "verbose")]
    if rows:
        lines += ["| option | meaning | default |", "|---|---|---|"]
    for p in rows:
        option = str(p.opts[0]).startswith("-")
        spelled = ", ".join(f"`{o}`" for o in p.opts) if option else f"`{str(p.name).upper()}`"
        default = "" if p.default is None or callable(p.default) or p.default == () else f"`{p.default}`"
        meaning = str(getattr(p, "help", "") or "").replace("|", "/").replace("\n", " ")
        lines.append(f"| {spelled} | {meaning} | {default} |")
    if command.epilog:
        lines += ["", "```text", command.epilog.replace("\n\n", "\n"), "```"]
    lines.append("")
    for inner, one in getattr(command, "commands", {}).items():
        describe(f"{name} {inner}", one, lines)


def setup(app: Any) -> dict[str, bool]:
    """Register the directive and the pages."""
    app.add_directive("measured", Measured)
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
