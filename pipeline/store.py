"""The object store: S3 through the minio SDK. (The contract, and a plain directory that keeps it, are in `objects`.)

The bucket is the truth of the mill. What is written with `create` is written once: whoever comes second is told so
and reads the first one's bytes.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import HTTPError

from pipeline.errors import MissingObjectError, ReelmillError, TransientError, UsageError, WorldError
from pipeline.objects import (
    DirectoryStore,
    ObjectStore,
    appearing,
    checked,
    checked_prefix,
    disk_error,
    file_sha256,
    prove_create_only,
    split_address,
)
from pipeline.settings import S3
from pipeline.tls import trusting

__all__ = ["DirectoryStore", "ObjectStore", "S3Store", "file_sha256", "open_store"]

CONNECT_SECONDS = 5
READ_SECONDS = 60
CONNECTIONS = 32
RETRIES = 2
REREAD = 4_096  # objects that are kept in memory: plans of long files, of some kB each
CONFLICT_PAUSES = (0.05, 0.2, 0.8, 2)  # seconds after each try of a write that met another one in flight

CHUNK_BYTES = 1024 * 1024
MIN_PART_BYTES = 16 * CHUNK_BYTES
MAX_PARTS = 9_000  # S3 allows 10,000
ONE_REQUEST_BYTES = 8 * CHUNK_BYTES

CONFLICT, EXISTS = 409, 412  # HTTP
MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchUpload"})
REFUSED = {
    "AccessDenied": "refuses access: check the access key, its secret and what it may do",
    "AllAccessDisabled": "refuses access: check the access key and what it may do",
    "AuthorizationHeaderMalformed": "refuses the signature: check the region",
    "ExpiredToken": "refuses the access key: it has expired",
    "InvalidAccessKeyId": "does not know the access key",
    "InvalidBucketName": "refuses the name of the bucket",
    "NoSuchBucket": "has no such bucket",
    "PermanentRedirect": "keeps the bucket in another region",
    "RequestTimeTooSkewed": "refuses the signature: the clock of this machine is wrong",
    "SignatureDoesNotMatch": "refuses the signature: check the secret key",
}


class _OtherBytesError(Exception):
    """An object has other bytes than those it was listed with."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


def open_store(s3: S3) -> "S3Store":
    """The bucket of these settings, made when it is missing. Raises WorldError, UsageError, TransientError."""
    store = S3Store(s3)
    store.make_bucket()
    return store


class S3Store:
    """A bucket. Safe for threads; a forked process opens its own. Raises UsageError when the settings name none."""

    def __init__(self, s3: S3) -> None:
        if not s3.endpoint:
            raise UsageError("no object store is configured: set REELMILL_S3__ENDPOINT to its host:port")
        self._endpoint, self._bucket, self._region = s3.endpoint, s3.bucket, s3.region
        try:
            self._client = Minio(
                s3.endpoint,
                access_key=s3.access_key,
                secret_key=s3.secret_key.get_secret_value(),
                secure=s3.secure,
                region=s3.region,
                http_client=_connections(s3.secure),
            )
        except ValueError as error:
            raise UsageError(f"bad object store settings (endpoint {s3.endpoint!r}): {error}") from error
        self._known = lru_cache(REREAD)(self._get_listed)

    def make_bucket(self) -> None:
        """Make the bucket unless it is there already."""
        with self._plain_errors():
            try:
                if not self._client.bucket_exists(self._bucket):
                    self._client.make_bucket(self._bucket, self._region)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":  # made by somebody since we looked
                    raise
            except ValueError as error:
                raise UsageError(f"bad bucket name {self._bucket!r}: {error}") from error

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        for pause in CONFLICT_PAUSES:
            status = self._put_new(checked(key), data, content_type)
            if status not in (CONFLICT, EXISTS):
                return True
            try:
                if status == EXISTS:
                    return self.get(key) == data
            except MissingObjectError:
                pass  # it was removed after it had refused us
            time.sleep(pause)
        raise TransientError(f"the object store at {self._endpoint} keeps reporting other writes of {key} in flight")

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        with self._plain_errors(key):
            self._client.put_object(self._bucket, checked(key), BytesIO(data), len(data), content_type)

    def _put_new(self, key: str, data: bytes, content_type: str) -> int:
        """Send one conditional PUT and return its HTTP status.

        Private in the SDK, whose public put_object would turn the header into user metadata and overwrite.
        """
        headers: dict[str, str | list[str] | tuple[str]] = {"If-None-Match": "*", "Content-Type": content_type}
        with self._plain_errors(key):
            try:
                self._client._put_object(self._bucket, key, data, headers=headers)
            except (S3Error, InvalidResponseError) as error:
                status = _status(error)
                if status not in (CONFLICT, EXISTS):
                    raise
                return status
        return 200

    def get(self, key: str) -> bytes:
        with self._reading(key) as response:
            return response.read()

    def exists(self, key: str) -> bool:
        return self._size(key) is not None

    def list(self, prefix: str) -> Iterator[str]:
        return iter(self.etags(prefix))

    def etags(self, prefix: str) -> Mapping[str, str]:
        # Sorted here, because some stores go folder by folder, which is not the order of the keys.
        return dict(sorted((key, etag) for key, etag, _ in self.marks(checked_prefix(prefix))))

    def reread(self, key: str, etag: str) -> bytes:
        try:
            return self._known(key, etag)
        except _OtherBytesError as other:
            return other.data

    def _get_listed(self, key: str, etag: str) -> bytes:
        """What is to be remembered. Raises _OtherBytesError with what is not: the object has another ETag by now."""
        with self._reading(key) as response:
            data = response.read()
        if not etag or response.headers.get("ETag", "").strip('"') != etag:
            raise _OtherBytesError(data)
        return data

    def first(self, prefix: str, most: int, after: str = "") -> Sequence[str]:
        with self._plain_errors():
            found = self._client.list_objects(
                self._bucket, checked_prefix(prefix), recursive=True, start_after=after or None
            )
            return [item.object_name for item in islice(found, most) if item.object_name]

    def folders(self, prefix: str) -> Sequence[str]:
        with self._plain_errors():
            found = self._client.list_objects(self._bucket, checked_prefix(prefix))
            names = (item.object_name or "" for item in found if item.is_dir)
            return sorted(name.removeprefix(prefix).rstrip("/") for name in names)

    def written(self, key: str) -> datetime:
        with self._plain_errors(key):
            at = self._client.stat_object(self._bucket, checked(key)).last_modified
        if at is None:
            raise TransientError(f"the object store at {self._endpoint} does not tell when {key} was written")
        return at

    def delete(self, keys: Iterable[str]) -> None:
        with self._plain_errors():
            # The SDK removes nothing until its errors are read.
            errors = list(self._client.remove_objects(self._bucket, (DeleteObject(checked(key)) for key in keys)))
        for error in errors:
            if error.code not in MISSING:
                raise self._meaning(error.code, str(error.message), error.name or "")

    def upload(self, key: str, source: Path) -> bool:
        size = source.stat().st_size
        if size <= ONE_REQUEST_BYTES:  # in one request, which also tells whether it was there
            status = self._put_new(checked(key), source.read_bytes(), "application/octet-stream")
            if status not in (CONFLICT, EXISTS):
                return True
        if self._size(key) == size:
            return False
        with self._plain_errors(key):
            self._client.fput_object(self._bucket, key, str(source), part_size=_part_bytes(size))
        return True

    def drop_uploads(self, prefix: str, before: datetime) -> int:
        """See `ObjectStore`; at most a thousand at once. Listing them is private in the SDK, too."""
        with self._plain_errors():
            uploads = self._client._list_multipart_uploads(self._bucket, prefix=checked_prefix(prefix)).uploads
            old = [one for one in uploads if one.initiated_time is not None and one.initiated_time < before]
            for one in old:
                with suppress(MissingObjectError), self._plain_errors(one.object_name):  # it ended meanwhile
                    self._client._abort_multipart_upload(self._bucket, one.object_name, str(one.upload_id))
        return len(old)

    def mark(self, bucket: str, key: str) -> tuple[str, int]:
        """The ETag and the size of an object that somebody else keeps. The key is not checked."""
        with self._plain_errors(key):
            found = self._client.stat_object(bucket, key)
        return found.etag or "", found.size or 0

    def download(self, key: str, target: Path) -> None:
        with self._reading(key) as response, appearing(target, target.parent) as partial, partial.open("wb") as file:
            for chunk in response.stream(CHUNK_BYTES):
                file.write(chunk)

    def marks(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Keys that begin with `prefix`, whoever made them, their ETags and sizes in bytes; page by page."""
        with self._plain_errors():
            for item in self._client.list_objects(self._bucket, prefix, recursive=True):
                if item.object_name:
                    yield item.object_name, item.etag or "", item.size or 0

    def copy(self, key: str, start: int, length: int, file: IO[bytes]) -> None:
        """Write `length` bytes of an object, from `start` on, to where the file stands. The key is not checked."""
        with self._plain_errors(key):
            response = self._client.get_object(self._bucket, key, offset=start, length=length)
            try:
                for chunk in response.stream(CHUNK_BYTES):
                    file.write(chunk)
            finally:
                response.close()
                response.release_conn()

    def address(self, key: str) -> str:
        return f"s3://{self._bucket}/{checked(key)}"

    def self_test(self) -> None:
        prove_create_only(self, f"the object store at {self._endpoint}")

    def _size(self, key: str) -> int | None:
        try:
            with self._plain_errors(key):
                return self._client.stat_object(self._bucket, checked(key)).size
        except MissingObjectError:
            return None

    @contextmanager
    def _reading(self, key: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """The open body of an object. Reading it raises when it ends before its Content-Length (urllib3 counts)."""
        bucket, name = split_address(key) or (self._bucket, checked(key))
        with self._plain_errors(key):
            response = self._client.get_object(bucket, name)
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    @contextmanager
    def _plain_errors(self, key: str = "") -> Iterator[None]:
        """Turn whatever the SDK, the network and the local disk raise into the mill's own errors."""
        try:
            yield
        except S3Error as error:
            raise self._meaning(error.code, str(error), key) from error
        except InvalidResponseError as error:
            refused = _status(error) in (401, 403)  # a gateway's own page instead of S3's XML
            raise self._meaning("AccessDenied" if refused else None, str(error), key) from error
        except (MinioException, HTTPError, ConnectionError, TimeoutError, ParseError) as error:
            raise self._unreachable(str(error)) from error
        except OSError as error:
            raise disk_error(error) from error

    def _meaning(self, code: str | None, detail: str, key: str) -> ReelmillError:
        if code in MISSING:
            return MissingObjectError(f"the bucket {self._bucket} has no {key}", detail)
        if code in REFUSED:
            return WorldError(f"the object store at {self._endpoint} {REFUSED[code]} (bucket {self._bucket!r}, {code})")
        return TransientError(f"the object store at {self._endpoint} failed", detail)

    def _unreachable(self, detail: str) -> ReelmillError:
        if "CERTIFICATE_VERIFY_FAILED" in detail or "WRONG_VERSION_NUMBER" in detail:
            return WorldError(f"no trusted TLS connection to the object store at {self._endpoint}: {detail}")
        return TransientError(f"the object store at {self._endpoint} does not answer", detail)


def _connections(secure: bool) -> urllib3.PoolManager:
    """Connections with deadlines and few retries; a server's Retry-After cannot hold a worker for minutes."""
    retries = urllib3.Retry(
        total=RETRIES,
        backoff_factor=0.2,
        backoff_max=2,
        status_forcelist=(429, 500, 502, 503, 504),
        respect_retry_after_header=False,
    )
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    if not secure:
        return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout, retries=retries)
    return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout, retries=retries, ssl_context=trusting())


def _status(error: S3Error | InvalidResponseError) -> int:
    return error._code if isinstance(error, InvalidResponseError) else error.response.status


def _part_bytes(size: int) -> int:
    """Whole MiB per part, so that a file of `size` bytes fits into the number of parts that S3 allows."""
    mebibytes = -(-size // (MAX_PARTS * CHUNK_BYTES))
    return max(MIN_PART_BYTES, mebibytes * CHUNK_BYTES)
