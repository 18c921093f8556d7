"""The documentation site: `make docs`. The pages of functions are made from their docstrings by pages.py."""

import importlib.metadata
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "fastloss"
release = importlib.metadata.version("fastloss")
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = [".md", ".rst"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Losses, activations, gradients and optimizer steps for NumPy arrays", "page_width": "70em"}
autodoc_default_options = {"members": True, "inherited-members": True}
numpydoc_show_class_members = False
myst_heading_anchors = 3
default_role = "literal"
suppress_warnings = ["myst.xref_missing"]      # what README.md links to stands in the repository


def setup(app):
    """Write the pages of functions before the sources are read."""
    import pages

    app.connect("builder-inited", lambda app: pages.write(HERE / "api"))
