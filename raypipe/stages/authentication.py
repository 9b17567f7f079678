"""A check that a Ray cluster accepts this process's token, made before the connection.

Ray itself retries for 20 to 30 seconds, and then reports a refused token as a cluster that does not answer.
"""

import os

import grpc
import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._private.services import get_ray_address_from_environment
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from raypipe.base.errors import StageError

MODE = "RAY_AUTH_MODE"
DEFAULT_FILE = "~/.ray/auth_token"
HEAD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
CLIENT_SERVER = "/ray.rpc.RayletDriver/ClusterInfo"
"""A method of each server that takes an empty request and requires a token where the cluster does."""


def require_token(address: str, timeout: float) -> None:
    """Raise an error with the remedy if the cluster at an address refuses this process.

    Parameters
    ----------
    address
        ``host:port`` of the head, ``ray://host:port`` of its client server, or ``auto``.
    timeout
        Seconds to wait for the answer. A head that does not answer in time is left to Ray, which waits longer.

    Raises
    ------
    StageError
        If the token is missing, cannot be read, or is not the cluster's.
    ConnectionError
        If something other than a Ray head listens there, or `address` is ``auto`` and no cluster runs on this machine.
    """
    automatic = address == "auto"
    method = CLIENT_SERVER if address.startswith("ray://") else HEAD
    target = get_ray_address_from_environment("auto", None) if automatic else address.removeprefix("ray://")
    enabled = is_token_auth_enabled() or (automatic and MODE not in os.environ)  # then Ray enables it by itself
    headers = _build_headers() if enabled else {}
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(method)(b"", metadata=list(headers.items()), timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise StageError(_describe_refusal(target, enabled, has_token=bool(headers))) from error
            if error.code() is grpc.StatusCode.UNAVAILABLE and not os.environ.get("RAY_USE_TLS"):
                raise ConnectionError("the server there is no Ray head") from error


def explain_token_error(error: ray.exceptions.AuthenticationError) -> str:
    """Return Ray's message about a token that it cannot read, in one line with the remedy."""
    reason = error.message.split(". ")[0].rstrip(".")
    return f"{reason}; run `ray get-auth-token --generate` for a cluster of your own, or {_name_remedy()}"


def _build_headers() -> dict[str, str]:
    """Return the header with the token, read as Ray reads it; empty if there is no token."""
    try:
        headers: dict[str, str] = AuthenticationTokenLoader.instance().get_token_for_http_header(ignore_auth_mode=True)
    except ray.exceptions.AuthenticationError as error:
        raise StageError(explain_token_error(error)) from error
    return headers


def _describe_refusal(address: str, enabled: bool, has_token: bool) -> str:
    if not enabled:
        mode = os.environ.get(MODE) or "not set"
        late = ", but was set after Python had imported ray" if mode == "token" else ""
        return (
            f"the Ray cluster at {address} requires a token and {MODE} is {mode}{late}: run `export {MODE}=token` and "
            f"try again; if the cluster runs on another machine, first {_name_remedy()}"
        )
    if not has_token:
        return f"the Ray cluster at {address} requires a token and this machine has none: {_name_remedy()}"
    return f"the Ray cluster at {address} refused the token from {_find_source()}: {_name_remedy()}"


def _find_source() -> str:
    """Return the place that Ray took the token from, in Ray's order of search."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    return os.environ.get("RAY_AUTH_TOKEN_PATH") or DEFAULT_FILE


def _name_remedy() -> str:
    return f"copy {DEFAULT_FILE} from the cluster's head to this machine, or set RAY_AUTH_TOKEN_PATH to a copy of it"
