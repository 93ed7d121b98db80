"""The version of the package: `package.xml` and `CITATION.cff` must repeat it, which a test checks."""

__version__ = "0.1.0"
