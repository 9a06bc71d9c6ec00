"""The settings, read once from the environment; only bootstrap and the front doors import this."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec

from genonce.domain.errors import ConfigError

Whole = Annotated[int, msgspec.Meta(ge=1)]
SECRETS = frozenset({"API_KEYS", "REDIS_URL", "TOGETHER_API_KEY", "AWS_SECRET_ACCESS_KEY"})
MASK = "********"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set, each as an environment variable of the same name."""

    HOST: str = "127.0.0.1"
    """Address that the web process binds; other than loopback needs API_KEYS or AUTH=none."""
    PORT: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    DATA_DIR: str = "data"
    """Folder of the embedded Valkey and of local pictures."""
    REDIS_URL: str = ""
    """redis://, rediss:// or unix://; empty: `genonce serve` starts its own Valkey."""
    IMAGE_STORE_URL: str = ""
    """file://, s3://bucket/prefix, gs://, az:// or memory://; empty: DATA_DIR/images."""
    AWS_ACCESS_KEY_ID: str = ""
    AWS_SECRET_ACCESS_KEY: str = ""
    AWS_REGION: str = ""
    AWS_ENDPOINT_URL: str = ""
    """Address of an S3-compatible service other than AWS; http:// is allowed here."""
    PUBLIC_URL: str = ""
    """Address that clients use, for picture links; empty: taken from each request's Host."""
    API_KEYS: str = ""
    """Keys that may ask, separated by commas."""
    AUTH: Literal["", "none"] = ""
    """none: bind any address without keys, on purpose."""
    CORS_ORIGINS: str = ""
    """Origins of web frontends, separated by commas; * for any; empty for none."""
    TRUSTED_PROXIES: str = ""
    """Networks whose X-Forwarded-For counts, separated by commas; also the words loopback,
    private and cloudflare."""
    CACHE_SCOPE: Literal["shared", "caller"] = "shared"
    """caller: pictures are not shared between callers, and only their owner can read a task."""
    DEFAULT_MODEL: str = ""
    """Empty: Together's if TOGETHER_API_KEY is set, else the built-in one."""
    MAX_N: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    """Largest n of a request."""
    RATE_LIMIT_GENERATE: str = ""
    """Tasks that buy, a caller; empty: 5/minute, or as IMAGE_RATE_LIMIT_MAX says."""
    RATE_LIMIT_GENERAL: str = ""
    """Other calls that change something, a caller; empty: 10/minute, or as RATE_LIMIT_MAX says."""
    RATE_LIMIT_READ: str = "600/minute"
    """Reads, plans, hits and joins, a caller."""
    RATE_LIMIT_COST: Literal["task", "image"] = "task"
    """What one unit of RATE_LIMIT_GENERATE is."""
    IMAGE_RATE_LIMIT_MAX: Whole | None = None
    """Accepted name of seed 004: amount for RATE_LIMIT_GENERATE."""
    RATE_LIMIT_MAX: Whole | None = None
    """Accepted name of seed 004: amount for RATE_LIMIT_GENERAL."""
    RATE_LIMIT_WINDOW: Annotated[int, msgspec.Meta(ge=1000)] = 60000
    """Milliseconds; window of the two above."""
    WAIT_LIMIT: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 90
    """Seconds; the longest that an answer waits for a task."""
    RESULT_TTL: Annotated[int, msgspec.Meta(ge=1)] = 86400
    """Seconds; how long a finished task's record lives after its last use. Pictures stay."""
    JOB_DEADLINE: Annotated[int, msgspec.Meta(ge=1)] = 1800
    """Seconds from an attempt's first start to its end, over all workers."""
    WORKER_CONCURRENCY: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    """Tasks at work at once in one worker process."""
    WORKER_DRAIN: Annotated[int, msgspec.Meta(ge=0)] = 25
    """Seconds that a stopping worker gives to calls in flight."""
    TOGETHER_API_KEY: str = ""
    TOGETHER_API_URL: str = "https://api.together.xyz"
    TOGETHER_PACE: str = "none"
    """Calls to Together by all workers, as a limit: "60/minute"."""
    TOGETHER_CONCURRENCY: Whole = 8
    """Calls to Together at once by all workers."""
    LOG_LEVEL: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        Args:
            environ: a mapping as ``os.environ``; empty values count as not set.

        Raises:
            ConfigError: a value is wrong; names the variable.
        """
        given = {
            name: environ[name].strip()
            for name in cls.__struct_fields__
            if environ.get(name, "").strip()
        }
        # Render tells a service its own address under this name.
        given.setdefault("PUBLIC_URL", environ.get("RENDER_EXTERNAL_URL", ""))
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `$.")
            raise ConfigError(f"{where.rstrip('`')}: {reason}.") from error

    def shown(self) -> dict[str, str]:
        """Every value as text, secrets masked."""
        values = ((name, str(getattr(self, name))) for name in self.__struct_fields__)
        return {n: MASK if v and n in SECRETS else ("" if v == "None" else v) for n, v in values}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in self.shown().items())})"

    def keys(self) -> tuple[str, ...]:
        """The API keys."""
        return listed(self.API_KEYS)

    def image_store_url(self) -> str:
        """Where pictures are, as a URL."""
        return self.IMAGE_STORE_URL or (Path(self.DATA_DIR).absolute() / "images").as_uri()


def listed(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated value, without blanks."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
