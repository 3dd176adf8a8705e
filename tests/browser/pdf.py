"""Reads a PDF as Chromium writes it, far enough to count its pages and to find the words on them."""

import re
import zlib

_OBJECT = re.compile(rb"(\d+) 0 obj\b(.*?)\bendobj", re.DOTALL)
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_SHOWN = re.compile(rb"/F(\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)>|(T\*|ET|Td|Tm)\b")


class Pdf:
    """`pages`: how many; `text`: all that is written, without regard to spaces."""

    def __init__(self, content: bytes) -> None:
        self._objects = {int(number): body for number, body in _OBJECT.findall(content)}
        self._fonts = self._read_fonts()
        sheets = [body for body in self._objects.values() if re.search(rb"/Type\s*/Page\b", body)]
        self.pages = len(sheets)
        self.text = "".join(self._text_of(sheet) for sheet in sheets)

    def _stream(self, number: int) -> bytes:
        found = _STREAM.search(self._objects[number])
        return zlib.decompress(found[1]) if found else b""

    def _read_fonts(self) -> dict[int, dict[int, str]]:
        """Glyph → character, by the number in a font's name."""
        fonts: dict[int, dict[int, str]] = {}
        for body in self._objects.values():
            for name, number in re.findall(rb"/F(\d+) (\d+) 0 R", body):
                table = re.search(rb"/ToUnicode (\d+) 0 R", self._objects[int(number)])
                if table:
                    fonts[int(name)] = _characters(self._stream(int(table[1])))
        return fonts

    def _text_of(self, sheet: bytes) -> str:
        (number,) = re.findall(rb"/Contents (\d+) 0 R", sheet)
        text, font = [], {}
        for name, glyphs, _ in _SHOWN.findall(self._stream(int(number))):
            if name:
                font = self._fonts.get(int(name), {})
            elif glyphs:
                codes = [int(glyphs[place : place + 4], 16) for place in range(0, len(glyphs), 4)]
                text += [font.get(code, "") for code in codes]
        return "".join(text)


def _characters(table: bytes) -> dict[int, str]:
    found = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", table, re.DOTALL):
        for glyph, code in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            found[int(glyph, 16)] = bytes.fromhex(code.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", table, re.DOTALL):
        for first, last, code in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            for place in range(int(last, 16) - int(first, 16) + 1):
                found[int(first, 16) + place] = chr(int(code, 16) + place)
    return found
