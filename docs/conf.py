"""Configuration of the documentation site (Sphinx)."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from is2ice.version import __version__  # noqa: E402

project, author, release = "is2ice", "The is2ice developers", __version__
copyright = "2026, the is2ice developers"
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "is2ice_docs",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "_ext",
    "_templates",
    "measured",
    "_generated/gallery_cards.md",
    "**.ipynb_checkpoints",
]
source_suffix = {
    ".rst": "restructuredtext",
    ".md": "myst-nb",
    ".ipynb": "myst-nb",
}  # the first is that of stubs
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are kept with their outputs; `make gallery` runs them again
autosummary_generate = True
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = {
    "optional",
    "or",
    "of",
    "default",
    "path",
    "iterable",
    "mapping",
    "name",
    "names",
    "and",
    "as",
    *"URL URLs file files object objects granule granules address bucket earthaccess store array arrays".split(),
}
# Names without the prefix "python:" where the inventory of Python cannot be reached.
numpydoc_xref_aliases = {
    name: name for name in ("str", "int", "float", "bool", "dict", "list", "tuple", "set")
}
intersphinx_mapping = {
    "py": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "xarray": ("https://docs.xarray.dev/en/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "dask": ("https://docs.dask.org/en/stable", None),
    "distributed": ("https://distributed.dask.org/en/stable", None),
}
intersphinx_timeout = 5
suppress_warnings = [
    "config.cache",
    "intersphinx.external",
    "myst.xref_missing",
    "ref.python",
    "ref.ref",
    "ref.term",
]
linkcheck_ignore = [r"https?://localhost", r"https://hub/"]
html_theme = "pydata_sphinx_theme"
html_title = "is2ice"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
