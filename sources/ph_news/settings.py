"""What a run of mediastack's news is configured with."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, HttpUrl, SecretStr

from sources.settings import SourceSettings, base_url, landing
from stores.asking import Check, Fault, ask
from stores.settings import GoogleAccount, LandingName
from stores.variables import variable

# The documented codes of `languages`; `se` is Swedish.
LANGUAGES = "ar de en es fr he it nl no pt ru se zh"
# The documentation of `countries` says ISO 3166-1 alpha-2, in lower case; these are all there are.
COUNTRIES = (
    "ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo "
    "bq br bs bt bv bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj "
    "dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp "
    "gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg "
    "kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml "
    "mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe "
    "pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl "
    "sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um "
    "us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw"
)


def codes(text: str, known: str, kind: str) -> str:
    """A comma list of codes as the service takes it: in lower case, `-` excludes one.

    Raises ValueError naming the first that is not among `known`.
    """
    found = [code for entry in text.lower().split(",") if (code := entry.strip())]
    for code in found:
        if code.removeprefix("-") not in known.split():
            raise ValueError(f"{code!r} is not a code of mediastack's {kind}")
    return ",".join(dict.fromkeys(found))


Languages = Annotated[
    str, AfterValidator(lambda text: codes(text, LANGUAGES, f"languages: {LANGUAGES}"))
]
# Without any, the listing would be that of the world.
Countries = Annotated[
    str,
    AfterValidator(lambda text: codes(text, COUNTRIES, "countries: ISO 3166-1 alpha-2") or "ph"),
]


class PhNews(SourceSettings):
    """Where mediastack answers, its key, and how many requests the plan has."""

    title: ClassVar[str] = "PH news API"
    about: ClassVar[str] = "mediastack's live news of the Philippines, read by the flow ph-news."

    base_url: HttpUrl = base_url("MEDIASTACK_BASE_URL", "https://api.mediastack.com")
    landing: LandingName = landing("MEDIASTACK_LANDING")
    access_key: SecretStr = variable(
        "MEDIASTACK_ACCESS_KEY", "Access key of the mediastack account."
    )
    monthly_requests: int = variable(
        "MEDIASTACK_MONTHLY_REQUESTS",
        "Requests of the plan in a calendar month (UTC).",
        default=100,
        ge=1,
    )
    countries: Countries = variable(
        "MEDIASTACK_COUNTRIES", "Countries of the news, by comma; - excludes one.", default="ph"
    )
    languages: Languages = variable(
        "MEDIASTACK_LANGUAGES",
        "Languages of the news, by comma; - excludes one, empty is all.",
        default="",
    )
    page_size: int = Field(
        default=100, ge=1, le=100, description="Articles per request; the service gives 100."
    )

    def checks(self, google: GoogleAccount) -> list[tuple[str, Check]]:
        return [("a request with the key", self.try_key)]

    def try_key(self) -> None:
        """Raises Fault when the news may be asked for at no address."""
        params = {
            **self.filters,
            "access_key": self.access_key.get_secret_value(),
            "limit": "1",
        }
        faults = []
        for url in self.urls:
            try:
                ask(url, params, key="MEDIASTACK_ACCESS_KEY")
            except Fault as fault:
                faults.append(fault)
            else:
                return
        raise faults[-1]

    def plan(self) -> int:
        return self.monthly_requests

    @property
    def filters(self) -> dict[str, str]:
        """Query parameters that choose the listing and its order; what is empty chooses all."""
        chosen = {"countries": self.countries, "languages": self.languages}
        return {name: text for name, text in chosen.items() if text} | {"sort": "published_desc"}

    @property
    def urls(self) -> list[str]:
        """Where the news may be asked for: with TLS first, which the free plan may lack."""
        url = self.address("v1/news")
        scheme, rest = url.split("://", 1)
        return [url, f"http://{rest}"] if scheme == "https" else [url]


SETTINGS = PhNews
