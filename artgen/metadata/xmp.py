"""Read the texts of XMP packets (ISO 16684-1) in linear time, without building a tree."""

import xml.etree.ElementTree as ElementTree

from artgen.metadata.writing import IPTC_NAMESPACE, XMP_NAMESPACE

RECORD = "xmp:record"
"""Name of artgen's record in the result of `xmp_texts`."""

SOURCE_TYPE, AI_SYSTEM, AI_PROMPT = "xmp:DigitalSourceType", "xmp:AISystemUsed", "xmp:AIPromptInformation"
CREDIT = "xmp:Credit"
"""Names of marks of AI generation: properties of IPTC (Photo Metadata Standard 2025.1), and the credit."""

_RESOURCE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
_PROPERTIES = {
    f"{{{XMP_NAMESPACE}}}record": RECORD,
    "{http://ns.adobe.com/exif/1.0/}UserComment": "xmp:UserComment",
    "{http://ns.adobe.com/xap/1.0/}CreatorTool": "xmp:CreatorTool",
    "{http://purl.org/dc/elements/1.1/}description": "xmp:description",
    "{http://ns.adobe.com/photoshop/1.0/}Credit": CREDIT,
    f"{{{IPTC_NAMESPACE}}}DigitalSourceType": SOURCE_TYPE,
    f"{{{IPTC_NAMESPACE}}}AISystemUsed": AI_SYSTEM,
    f"{{{IPTC_NAMESPACE}}}AIPromptInformation": AI_PROMPT,
}


def xmp_texts(packet: str) -> dict[str, str]:
    """Return the first value of each known property of an XMP packet.

    Document types and invalid XML give no texts.
    """
    if "<!DOCTYPE" in packet or "<!ENTITY" in packet:
        return {}
    finder = _PropertyFinder()
    try:
        parser = ElementTree.XMLParser(target=finder)
        parser.feed(packet)
        parser.close()
    except (ElementTree.ParseError, ValueError):
        return {}
    return {name: text for name, text in finder.texts.items() if text.strip()}


class _PropertyFinder:
    """Collect properties: attributes, or the text of elements and of the alternatives in them."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._open: str | None = None
        self._parts: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._open is not None:
            return
        for key in attributes.keys() & _PROPERTIES.keys():
            self.texts.setdefault(_PROPERTIES[key], attributes[key])
        if tag in _PROPERTIES and _RESOURCE in attributes:
            self.texts.setdefault(_PROPERTIES[tag], attributes[_RESOURCE])
        elif tag in _PROPERTIES and _PROPERTIES[tag] not in self.texts:
            self._open, self._parts = tag, []

    def data(self, text: str) -> None:
        if self._open is not None:
            self._parts.append(text)

    def end(self, tag: str) -> None:
        if tag == self._open:
            text = "".join(self._parts)
            self.texts[_PROPERTIES[tag]] = text if _PROPERTIES[tag] == RECORD else text.strip()
            self._open = None

    def close(self) -> None:
        """Finish the parsing, as the parser requires."""
