"""Filesystems of stores: a local disk, or any object store that pyarrow supports.

Each process takes the endpoint, region and credentials of an object store from its environment, as the store's own SDK
does (``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, an instance profile, ...). None of them is ever part of a location.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

S3_ATTEMPTS = 16
"""Number of attempts of one request. Pauses double up to 20 s, so all attempts last about two minutes, and the request
survives an outage of one minute."""
SCHEMES = ("abfs", "abfss", "file", "gcs", "gs", "hdfs", "http", "https", "s3")
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 60.0


class PatientS3FileSystem(pafs.S3FileSystem):  # type: ignore[misc]
    """S3 filesystem that survives an outage, in every process that it is sent to.

    pyarrow's own filesystem loses its number of attempts when it is pickled.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS),
            allow_delayed_open=True,  # a small file is written by one request instead of three
        )
        self.options = options

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without credentials: another process finds its own."""
        return _build_patient_s3, (self.options,)


def _build_patient_s3(options: dict[str, Any]) -> PatientS3FileSystem:
    return PatientS3FileSystem(**options)


def open_filesystem(location: str) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem of a location, and the path on it.

    Parameters
    ----------
    location
        Local path, or a URI such as ``s3://bucket/prefix``, ``gs://...``, ``abfs://...`` or ``file://...``.

    Raises
    ------
    OSError
        If an S3 endpoint or bucket does not exist, or cannot be reached after a few quick attempts.
    ValueError
        If the location contains credentials, is of no kind that pyarrow supports, or lacks a slash after its scheme.
    """
    scheme, colon, rest = location.partition(":")
    if colon and scheme.lower() in SCHEMES and not rest.startswith("//"):
        raise ValueError(f"{location!r} is no place for a store: expected {scheme}://... with two slashes")
    if "://" not in location:
        return pafs.LocalFileSystem(), str(Path(location).expanduser().resolve())
    require_no_credentials(location)
    try:
        filesystem, root = pafs.FileSystem.from_uri(location)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{location!r} cannot hold a store: {error}") from error
    if filesystem.type_name != "s3":
        return filesystem, root
    bucket = root.split("/")[0]
    # This request has pyarrow's own three attempts, so that a wrong address is reported at once.
    if filesystem.get_file_info(bucket).type == pafs.FileType.NotFound:
        raise FileNotFoundError(f"{location}: there is no bucket {bucket!r}; create it, or correct the location")
    return PatientS3FileSystem(**_read_s3_options(filesystem)), root


def require_no_credentials(location: str) -> None:
    """Require a location without credentials, which would appear in logs and artifacts.

    Raises
    ------
    ValueError
        If the location contains credentials.
    """
    parts = urlsplit(location)
    if "@" in parts.netloc or "secret" in parts.query.lower():
        raise ValueError(
            f"{parts.scheme}://...: credentials do not belong in a location, since it is written down; give them in "
            "the environment (as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)"
        )


def _read_s3_options(filesystem: pafs.S3FileSystem) -> dict[str, Any]:
    """Return the options that `pyarrow.fs.FileSystem.from_uri` took from the location and the environment."""
    _, (options,) = filesystem.__reduce__()
    kept = {name: options[name] for name in ("region", "scheme", "endpoint_override") if options[name]}
    return {**kept, "connect_timeout": CONNECT_SECONDS, "request_timeout": REQUEST_SECONDS}
