"""Names come from users: each format has its own way of keeping them names."""

import html
from urllib.parse import urlsplit

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\u2212": "$-$",
    "×": r"$\times$",
    "…": r"\ldots{}",
}
MARKDOWN_SPECIAL = "\\`*_{}[]<>()#+!|~&"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str) -> str:
    """Printable, without line breaks: a name cannot open a new row, heading or paragraph."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def for_html(text: str) -> str:
    return html.escape("".join(c if c.isprintable() or c == "\n" else " " for c in str(text)), quote=True)


def for_markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in MARKDOWN_SPECIAL else c for c in one_line(text))


def for_latex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in one_line(text))


def for_csv(text: str) -> str:
    """A text cell. One that a spreadsheet would run as a formula gets an apostrophe in front, which makes it text."""
    line = one_line(text)
    return f"'{line}" if str(text).startswith(FORMULA_STARTS) or line.startswith(FORMULA_STARTS) else line


def safe_url(url: str | None) -> str | None:
    """The address if it is http(s) or a path of this site; else None, so that no script address becomes a link."""
    if not url or any(not c.isprintable() or c.isspace() for c in url) or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme in ("http", "https") and parts.netloc:
        return url
    return url if not parts.scheme and not parts.netloc and url.startswith("/") else None
