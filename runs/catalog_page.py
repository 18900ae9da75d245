"""dbt's documentation as one HTML file that says itself which script may run in it.

The page has one script with the data inside, so its hash changes with the data, and no server's
configuration can know it. The policy is in the page, in a `<meta>`, wherever the page is opened.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode

# One script, by its hash. dbt's page makes its style elements in that script, and its templates
# have style attributes: styles cannot have hashes. Icons and pictures are in the file.
POLICY = (
    "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; img-src data:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)
SCRIPT = ('<script defer="defer">', "</script>")
MANIFEST = '"MANIFEST.JSON INLINE DATA"'
CATALOG = '"CATALOG.JSON INLINE DATA"'


class UnknownPage(Exception):
    """dbt's page is not the one that is known here; the message says what is missing or double."""


def one_page(template: str, manifest: str, catalog: str) -> bytes:
    """The page with its data and its policy. `template` is dbt's index.html, the others are JSON.

    No text of the data can end the script or begin another one. Raises UnknownPage.
    """
    opening, closing = SCRIPT
    before, _, rest = template.partition(opening)
    script, _, after = rest.partition(closing)
    for tag in (opening, closing):
        if template.count(tag) != 1:
            raise UnknownPage(f"dbt's page has {tag} {template.count(tag)} times")
    # Else a browser asks for an icon of this name before AngularJS has put the right one in.
    script = script.replace('xlink:href="{{', 'ng-attr-href="{{')
    for place, data in ((MANIFEST, manifest), (CATALOG, catalog)):
        # In JSON it can only be within a text, where this is the same.
        script = _replaced(script, place, data.replace("<", r"\u003c"))
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(hash=digest)}">'
    before = _replaced(before, '<meta charset="utf-8">', f'<meta charset="utf-8">{policy}')
    # Else AngularJS tries whether it may evaluate texts, which it may not.
    before = _replaced(before, "<html ", '<html ng-csp="no-unsafe-eval" ')
    # dbt's build left the name of a file here that a browser asks for.
    before = _replaced(before, "${require('./assets/favicons/favicon.ico')}", "data:,")
    return "".join((before, opening, script, closing, after)).encode()


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise UnknownPage(f"dbt's page has {old} {text.count(old)} times")
    return text.replace(old, new)
