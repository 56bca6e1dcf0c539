"""The rules for a base URL, in the order in which `checks.urls` judges it.

The first one that does not hold is said, and never the URL. Regular expressions see the spelling only: an address that
is written in a rare way passes here and is refused by the operator. What they refuse, the check refuses too.
"""

from modelpool_operator.crds.rules import Rule, literal, matches

_SCHEME = r"^(?i)[a-z][-+.a-z0-9]*://"
_SAFE = r"^[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+$"
_PORT = r"(:(0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?)?"
_END = r"\.?(:[0-9]*)?(/|$)"
_LABEL = r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?"
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_FOUR = rf"({_OCTET}\.){{3}}{_OCTET}"
_ON = r"(?i)^https?://"
_IN_IPV6 = r"(0{0,4}:)+ffff:"

_SOMEWHERE = rf"{_SCHEME}[^/?#]"
_WELL_FORMED = rf"{_SCHEME}([^\]\[/?#]*@)?(\[[0-9a-f.]*:[0-9a-f:.]*\]|[^\]\[/?#:@]*){_PORT}([/?#]|$)"
_NAME = rf"{_ON}({_LABEL}\.)*{_LABEL}{_END}"
_NUMBER = rf"{_ON}([^/:]*\.)?([0-9]+|0x[0-9a-f]*){_END}"
_ADDRESS = rf"{_ON}{_FOUR}{_END}"
_BRACKETS = rf"{_ON}\["
_METADATA = (
    rf"{_ON}(metadata|metadata\.google\.internal|metadata\.goog|metadata\.azure\.internal|instance-data"
    r"|instance-data\.ec2\.internal|100\.100\.100\.200|168\.63\.129\.16|192\.0\.0\.192|\[fd00:ec2::254\]"
    rf"|\[fd20:ce::254\]){_END}"
)
_LINK_LOCAL = (
    rf"{_ON}(169\.254\.{_OCTET}\.{_OCTET}\.?|\[fe[89ab][0-9a-f]:[0-9a-f:.]+\]"
    rf"|\[{_IN_IPV6}(169\.254\.[0-9.]+|a9fe:[0-9a-f]{{1,4}})\])(:[0-9]*)?(/|$)"
)
_NOT_ONE = rf"{_ON}(0\.0\.0\.0|2(2[4-9]|3[0-9])(\.{_OCTET}){{3}}|\[::\]|\[ff[0-9a-f]{{2}}:[0-9a-f:.]+\]){_END}"
_AFTER_SCHEME = "^[^:/]*://"
_CREDENTIALS = rf"{_AFTER_SCHEME}[^/?#]*@"
_ODD_PATH = rf"{_AFTER_SCHEME}[^/]+/((.*/)?/.*[^/]|(.*/)?\.{{1,2}}(/|$)|.*%2[Ff])"
_OPERATION = rf"{_AFTER_SCHEME}[^/]+(/.*)?/(chat/completions|completions|embeddings|responses|models)/*$"

_URL = "self.baseURL"

_PARSES = " && ".join(matches(_URL, shape) for shape in (_SAFE, _SOMEWHERE, _WELL_FORMED))
_NAMED = f"({matches(_URL, _NAME)} && !{matches(_URL, _NUMBER)})"
_NAMES_A_HOST = f"({matches(_URL, _BRACKETS)} || {matches(_URL, _ADDRESS)} || {_NAMED})"

CHAIN: tuple[tuple[str, str], ...] = (
    (_PARSES, "must be a URL like https://api.openai.com/v1"),
    (matches(_URL, r"(?i)^https?:"), "must begin with https:// or http://"),
    (f"!{matches(_URL, _CREDENTIALS)}", "must not hold credentials; a key belongs in a Secret that auth names"),
    (f"!{matches(_URL, '[?#]')}", "must not have a query or a fragment"),
    (f"!{matches(_URL, _METADATA)}", "must not point to a cloud's metadata service"),
    (_NAMES_A_HOST, "must name a host"),
    (f"!{matches(_URL, _LINK_LOCAL)}", "must not point to a link-local address"),
    (f"!{matches(_URL, _NOT_ONE)}", "must point to one host"),
    (f"!{matches(_URL, _ODD_PATH)}", "must not have //, %2f, . or .. in its path"),
    (f"!{matches(_URL, _OPERATION)}", "must end before the operation"),
)
"""What has to hold, and what is said where it does not and all before it did."""

_PRIVATE = (
    rf"{_ON}([^/:.\[]+|127\.[0-9.]+|10\.[0-9.]+|192\.168\.[0-9.]+|172\.(1[6-9]|2[0-9]|3[01])\.[0-9.]+"
    rf"|[^/:\[]*\.(svc|svc\.cluster\.local|local|internal|localhost)){_END}"
)
_PUBLIC_BRACKETS = rf"{_ON}\[(2[0-9a-f]{{3}}|3[0-9a-f]{{3}}):"
_SEEN_THROUGH = rf"{_ON}\[2002:"
"""6to4 carries an IPv4 address, which may be a private one."""

_PUBLIC = (
    f"(({matches(_URL, _PUBLIC_BRACKETS)} && !{matches(_URL, _SEEN_THROUGH)}) || "
    f"(!{matches(_URL, _BRACKETS)} && !{matches(_URL, _PRIVATE)}))"
)
_CREDENTIAL = (
    "((has(self.auth) && self.auth.type == 'APIKey') || "
    "(has(self.headers) && self.headers.exists(header, has(header.secretRef))))"
)


def rules() -> tuple[Rule, ...]:
    """On the spec of a Provider."""
    holds = " && ".join(f"({rule})" for rule, _message in CHAIN)
    said = " : ".join(f"!({rule}) ? {literal(message)}" for rule, message in CHAIN[:-1])
    absent = f"!has({_URL}) || {_URL} == ''"
    return (
        Rule(f"{absent} || ({holds})", CHAIN[0][1], ".baseURL", f"{said} : {literal(CHAIN[-1][1])}"),
        Rule(
            f"{absent} || !{matches(_URL, '(?i)^http://')} || !{_CREDENTIAL} || !{_PUBLIC} || !({holds})",
            "must be https: a key would go in the clear to the public host",
            ".baseURL",
        ),
    )
