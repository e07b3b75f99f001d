"""Documentation pages, built from the package itself: ``is2ice docs --out build/docs``.

Pages are Markdown in ``pages/``. A line ``[[name argument]]`` is replaced by what it names: ``schema`` the table of
variables, ``commands`` the command line, ``api`` the public names with their docstrings, ``picture NAME`` a picture
drawn from the sample data, ``include FILE`` another page of the repository, ``run COMMAND`` a command and what it
printed (with ``> FILE`` where that goes to a file), ``image FILE`` a picture that such a command wrote,
``sample COMMAND`` a command on the sample data that takes seconds and is run in every build.
Commands are run with ``--run``, and what they print is kept in ``build/validation``, from where a build without
``--run`` takes it; where there is nothing the page says that the command was not run. Some take hours: ``--only WORD``
runs those that hold a word.
"""

from __future__ import annotations

import html
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

__all__ = ["PAGES", "app", "build"]

#: Pages in order, by file name: what the navigation says.
PAGES = {
    "index": "Getting started",
    "concepts": "Concepts",
    "howto": "How to",
    "paper": "Reproduce the paper",
    "clusters": "Clusters",
    "products": "Against NASA, maps, thickness",
    "validation": "Validation",
    "variables": "Variables",
    "commands": "Command line",
    "api": "API",
}
ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "sample_data" / "ATL03_20191116193412_07410510_006_01.h5"
_LINE = re.compile(r"^\[\[(\w+)(?: (.+))?\]\]$", re.MULTILINE)
_CSS = """body{font:16px/1.5 sans-serif;max-width:58em;margin:0 auto;padding:1em}nav a{margin-right:1em}
pre{background:#f4f4f4;padding:.7em;overflow:auto;font-size:13px}code{font-size:90%}img{max-width:100%}
img[src^="figure_"]{width:27em}
table{border-collapse:collapse;font-size:14px}td,th{border:1px solid #ccc;padding:.2em .5em;text-align:left}"""


def build(
    out: str | Path,
    *,
    run: bool | str = False,
    outputs: str | Path = "build/validation",
    say: Any = None,
) -> list[Path]:
    """Write the pages as HTML.

    Parameters
    ----------
    out : str or Path
        Folder; made if absent.
    run : bool or str
        Run the commands of the pages (minutes to hours) instead of taking what they printed last; of a word, those
        that hold it.
    outputs : str or Path
        Where what they print is kept.
    say : callable, optional
        Told of each step.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    ValueError
        A page names something that is not known.
    """
    from markdown_it import MarkdownIt  # comes with rich

    out, outputs = Path(out), Path(outputs)
    out.mkdir(parents=True, exist_ok=True)
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    made = []
    for name, title in PAGES.items():
        (say or _nothing)(f"{name}: {title}")
        text = files(__package__).joinpath(f"pages/{name}.md").read_text()
        text = _LINE.sub(lambda m: _insert(m[1], m[2], out, outputs, run), text)
        body = markdown.render(text)
        links = " ".join(f'<a href="{n}.html">{t}</a>' for n, t in PAGES.items())
        path = out / f"{name}.html"
        path.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>is2ice: {html.escape(title)}</title>'
            f"<style>{_CSS}</style><nav>{links}</nav>{body}</html>\n"
        )
        made.append(path)
    return made


def _nothing(text: str) -> None:
    pass


def _insert(kind: str, argument: str | None, out: Path, outputs: Path, run: bool | str) -> str:
    """What a line in double brackets stands for, as Markdown."""
    if kind == "picture" and argument in PICTURES:
        PICTURES[argument](out / f"{argument}.png")
        return f"![{argument}]({argument}.png)"
    if kind == "run" and argument:
        return _printed(argument, outputs, run)
    if kind == "sample" and argument:
        return _printed(argument, outputs, True)
    if kind == "image" and argument:
        return _image(ROOT / argument, out)
    if kind == "include" and argument:
        return _included(ROOT / argument, out)
    if kind in _GENERATED and argument is None:
        return _GENERATED[kind]()
    known = "run COMMAND, sample COMMAND, image FILE, include FILE, "
    known += f"picture {'|'.join(PICTURES)} or {'|'.join(_GENERATED)}"
    raise ValueError(f"[[{kind} {argument or ''}]]: expected {known}")


def _included(page: Path, out: Path) -> str:
    """A page of the repository. Such pages link to each other by name; here they stand together on one."""
    text = page.read_text()
    for target in re.findall(r"\]\(([\w./]+)\)", text):
        if (beside := page.parent / target).is_file() and not target.endswith(".md"):
            (out / beside.name).write_bytes(beside.read_bytes())
    return re.sub(r"\]\([\w/]+\.md\)", "](clusters.html)", text)


def _image(picture: Path, out: Path) -> str:
    """A picture that a command of the page wrote."""
    name = picture.relative_to(ROOT)
    if not picture.is_file():
        return f"*{name}: not there; the command above writes it.*"
    (out / picture.name).write_bytes(picture.read_bytes())
    return f"![{picture.stem.replace('_', ' ')}]({picture.name})"


def _printed(command: str, outputs: Path, run: bool | str) -> str:
    """A command and what it printed, kept from run to run; of one that prints to a file, that it was run."""
    name = re.sub(r"\W+", "_", command).strip("_")[:80] + ".txt"
    kept = outputs / name
    if run is True or (isinstance(run, str) and run and run in command):
        outputs.mkdir(parents=True, exist_ok=True)
        asked, _, target = command.partition(" > ")
        words = shlex.split(asked)
        words[:1] = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"{command}: ended with {done.returncode}:\n{done.stderr[-2000:]}")
        if target:
            (ROOT / target).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / target).write_text(done.stdout)
        kept.write_text(f"written to {target}" if target else done.stdout)
    text = kept.read_text() if kept.is_file() else "not run here: build with --run, or run it yourself"
    return f"```text\n$ {command}\n{text.rstrip()}\n```"


# -- generated parts ----------------------------------------------------------------------------------
def _schema() -> str:
    from is2ice.schema import markdown_table

    return markdown_table().replace("# Variables\n", "", 1)


def _commands() -> str:
    from is2ice.cli.main import app as top

    lines: list[str] = []
    _describe("is2ice", typer.main.get_command(top), lines)
    return "\n".join(lines)


def _describe(name: str, command: Any, lines: list[str]) -> None:
    lines += [f"## {name}", "", str(command.help or "").split("\f")[0].strip(), ""]
    rows = [p for p in command.params if p.name not in ("help", "version")]
    if rows:
        lines += ["| option | meaning | default |", "|---|---|---|"]
    for p in rows:
        option = str(p.opts[0]).startswith("-")
        spelled = ", ".join(f"`{o}`" for o in p.opts) if option else f"`{str(p.name).upper()}`"
        default = "" if p.default is None or callable(p.default) or p.default == () else f"`{p.default}`"
        lines.append(f"| {spelled} | {str(getattr(p, 'help', '') or '').replace('|', '/')} | {default} |")
    if command.epilog:
        lines += ["", "```text", command.epilog.replace("\n\n", "\n"), "```"]
    lines.append("")
    if hasattr(command, "list_commands"):
        for inner in command.list_commands(None):
            _describe(f"{name} {inner}", command.get_command(None, inner), lines)


def _api() -> str:
    import inspect

    face = import_module(__name__.split(".")[0])
    lines = []
    for name in sorted(n for n in face.__all__ if not n.startswith("__")):
        thing = getattr(face, name)
        lines += _entry(f"is2ice.{name}", thing)
        if inspect.ismodule(thing):
            for inner in getattr(thing, "__all__", ()):
                value = getattr(thing, inner)
                if inspect.isfunction(value) or inspect.isclass(value):
                    lines += _entry(f"is2ice.{name}.{inner}", value)
    return "\n".join(lines)


def _entry(name: str, thing: Any) -> list[str]:
    import inspect

    try:
        shape = str(inspect.signature(thing)) if callable(thing) else ""
    except (TypeError, ValueError):
        shape = ""
    text = inspect.getdoc(thing) or ""
    return [
        f"## {name}",
        "",
        "```text",
        *([f"{name.rsplit('.', 1)[-1]}{shape}", ""] if shape else []),
        text,
        "```",
        "",
    ]


_GENERATED: dict[str, Callable[[], str]] = {"schema": _schema, "commands": _commands, "api": _api}


# -- pictures of the sample ---------------------------------------------------------------------------
def _track(beam: str) -> Any:
    from is2ice.workflows.track import one_track

    if beam not in _made:
        _made[beam] = one_track(SAMPLE, beam)
    return _made[beam]


_made: dict[str, Any] = {}


def _quicklook(path: Path) -> None:
    from is2ice.reports.plot_track import quicklook

    quicklook(_track("gt1r"), path=path)


def _methods(path: Path) -> None:
    from is2ice.reports.plot_figures import draw_methods
    from is2ice.science import seasurface

    track = _track("gt1r")
    made = {
        m: seasurface.estimate(track, m) for m in ("minimum", "mean", "nearest_minimum", "nasa", "evidence")
    }
    draw_methods(track, made, f"{track.attrs['granule']} gt1r (simulated)").savefig(path, dpi=110)


def _workflow(path: Path) -> None:
    from is2ice.reports.plot_workflow import draw_steps

    draw_steps().savefig(path, dpi=110)


def _stages(path: Path) -> None:
    from is2ice.reports.plot_workflow import draw_stages

    draw_stages().savefig(path, dpi=110)


PICTURES: dict[str, Callable[[Path], None]] = {
    "quicklook": _quicklook,
    "sea_surfaces": _methods,
    "workflow": _workflow,
    "stages": _stages,
}

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: is2ice docs --out build/docs")
def command(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("build/docs"),
    run: Annotated[bool, typer.Option("--run", help="Run the commands of the pages (long).")] = False,
    only: Annotated[str, typer.Option(help="Run only commands that hold this word.")] = "",
    outputs: Annotated[Path, typer.Option(help="Where what they print is kept.")] = Path("build/validation"),
) -> None:
    """Build the documentation pages from the package, its sample data and its commands."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not SAMPLE.is_file():
        raise FileNotFoundError(f"{SAMPLE}: the pages are built from a checkout, with its sample data")
    made = build(out, run=only or run, outputs=outputs, say=console.print)
    console.print(f"{len(made)} pages: {made[0]}")
