"""Opens the store that a URL names: a directory, a bucket or memory."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from genonce.adapters.objects import Objects, Store
from genonce.domain.errors import ConfigError

if TYPE_CHECKING:
    # obstore has these names for type checkers only.
    from obstore.store import ClientConfig, RetryConfig, S3Config

# One request ends within 30 s, one with all its retries within a minute.
CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=5),
    "timeout": timedelta(seconds=30),
}
RETRIES: "RetryConfig" = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"max_backoff": timedelta(seconds=1)},
}


def open_objects(url: str, *, aws: Mapping[str, str]) -> Objects:
    """Open the store at a URL; a local directory is made, nothing else is touched.

    Args:
        url: file:///directory, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix
            (with AZURE_STORAGE_ACCOUNT_NAME in the environment) or memory://.
        aws: for s3, any of access_key_id, secret_access_key, region and endpoint; "" counts as
            absent, and what is absent comes from the AWS environment.

    Raises:
        ConfigError: names IMAGE_STORE_URL.
    """
    try:
        return Objects(_open(url, {name: value for name, value in aws.items() if value}))
    except (BaseError, OSError, ValueError) as error:
        # obstore's further lines show its inner state.
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"IMAGE_STORE_URL cannot be used: {reason}") from error


def _open(url: str, aws: Mapping[str, str]) -> Store:
    match url.partition("://")[0]:
        case "file":
            return LocalStore(_directory(url), automatic_cleanup=True, mkdir=True)
        case "memory":
            return MemoryStore()
        case "s3":
            return _open_s3(url, aws)
        case "gs":
            return GCSStore.from_url(url, client_options=CLIENT, retry_config=RETRIES)
        case "az":
            return AzureStore.from_url(url, client_options=CLIENT, retry_config=RETRIES)
        case _:
            raise ValueError("it must start with file://, s3://, gs://, az:// or memory://")


def _directory(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or path == Path("/"):
        raise ValueError("a directory is written file:///path, with %23 for # and %3F for ?")
    return path


def _open_s3(url: str, aws: Mapping[str, str]) -> S3Store:
    given: dict[str, object] = {**aws, "virtual_hosted_style_request": False}
    # Not every S3-compatible server knows how to delete many objects at once.
    given["disable_bulk_delete"] = True
    return S3Store.from_url(
        url,
        config=cast("S3Config", given),
        client_options={**CLIENT, "allow_http": aws.get("endpoint", "").startswith("http://")},
        retry_config=RETRIES,
    )
