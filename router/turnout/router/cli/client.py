"""The admin API, as the commands call it."""

import http.client
import json
import os
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from turnout.shared import keys
from turnout.shared.errors import TurnoutError

#: Seconds; the API itself waits up to 5 for broker and cache to follow a change.
_TIMEOUT = 20

#: Seconds between asking for something to be made and asking again.
_PAUSES = (0.5, 1.0, 2.0)

_DEFAULT_URL = "http://127.0.0.1:8081"


class AdminApiError(TurnoutError):
    """The admin API cannot be reached, or refused what was asked.

    Attributes:
        status: what it answered; 0: nothing.
        is_temporary: whether the same may be answered otherwise in a moment.
    """

    def __init__(self, text: str, status: int = 0, *, is_temporary: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.is_temporary = is_temporary


class AdminApi:
    """Where the admin API is and what opens it.

    Args:
        url: http[s]://host:port.
        token: an admin token.
        authority: the file of the authority whose certificates are trusted; None: those that this
            machine trusts.

    Raises:
        AdminApiError: the token has not the form of one.
    """

    def __init__(self, url: str, token: str, authority: str | None = None) -> None:
        if not keys.is_well_formed(token, keys.ADMIN_TOKEN):
            raise AdminApiError("TURNOUT_ADMIN_TOKEN: this is not an admin token (ta_…)")
        self._url = url.rstrip("/")
        self._token = token
        self._authority = authority

    def get(self, *path: str, **query: str | int | None) -> Any:
        """Read what is at `/api/v1/<path>`, of a listing all parts; each part is one segment.

        Args:
            path: the segments.
            query: parameters; those that are None are left out.

        Raises:
            AdminApiError: it cannot be reached or refused.
        """
        given = {name: value for name, value in query.items() if value is not None}
        document = self._ask("GET", path, None, urlencode(given))
        while isinstance(document, dict) and "limit" not in given and document.get("next_cursor"):
            given["cursor"] = document["next_cursor"]
            part = self._ask("GET", path, None, urlencode(given))
            document = {**part, "items": document["items"] + part["items"]}
        return document

    def post(
        self,
        *path: str,
        body: dict[str, Any] | None = None,
        patience: float = _TIMEOUT,
        **query: str | None,
    ) -> Any:
        """Send a body to `/api/v1/<path>`, without the fields that are None.

        Args:
            path: the segments.
            body: of the request.
            patience: seconds that the answer may take.
            query: parameters; those that are None are left out.

        Raises:
            AdminApiError: it cannot be reached or refused.
        """
        given = {name: value for name, value in (body or {}).items() if value is not None}
        asked = {name: value for name, value in query.items() if value is not None}
        return self._ask("POST", path, json.dumps(given).encode(), urlencode(asked), patience)

    def create(self, *path: str, body: dict[str, Any] | None = None) -> Any:
        """Make something, like `post`, and ask again when an answer is lost: it is made once.

        Raises:
            AdminApiError: it cannot be reached or refused.
        """
        given = {name: value for name, value in (body or {}).items() if value is not None}
        content, key = json.dumps(given).encode(), str(uuid.uuid4())
        for pause in _PAUSES:
            try:
                return self._ask("POST", path, content, key=key)
            except AdminApiError as error:
                if not error.is_temporary:
                    raise
            time.sleep(pause)
        return self._ask("POST", path, content, key=key)

    def patch(self, *path: str, body: dict[str, Any]) -> Any:
        """Change what is at `/api/v1/<path>`.

        Raises:
            AdminApiError: it cannot be reached or refused.
        """
        return self._ask("PATCH", path, json.dumps(body).encode())

    def delete(self, *path: str, **query: str) -> None:
        """Take away what is at `/api/v1/<path>`.

        Raises:
            AdminApiError: it cannot be reached or refused.
        """
        self._ask("DELETE", path, None, urlencode(query))

    def read(self, *path: str) -> bytes:
        """Read bytes at `/api/v1/<path>`.

        Raises:
            AdminApiError: it cannot be reached or refused.
        """
        with self._answer("GET", path) as answer:
            return answer.read()

    def lines(self, *path: str, **query: str | int | None) -> Iterator[Any]:
        """Read lines of JSON at `/api/v1/<path>`, each when it comes.

        Raises:
            AdminApiError: it cannot be reached, refused, or broke off.
        """
        given = {name: value for name, value in query.items() if value is not None}
        with self._answer("GET", path, query=urlencode(given)) as answer:
            for line in answer:
                document = json.loads(line)
                if "error" in document:
                    raise AdminApiError(document["error"])
                yield document

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        body: bytes | None,
        query: str = "",
        patience: float = _TIMEOUT,
        *,
        key: str | None = None,
    ) -> Any:
        with self._answer(method, path, body, query, patience, key=key) as answer:
            if answer.status == http.HTTPStatus.NO_CONTENT:
                return None
            return self._document(answer.status, answer.read())

    @contextmanager
    def _answer(
        self,
        method: str,
        path: tuple[str, ...],
        body: bytes | None = None,
        query: str = "",
        patience: float = _TIMEOUT,
        *,
        key: str | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Ask, and hand out a good answer to be read; by the key the same is known again."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        target = "/".join(("/api/v1", *(quote(part, safe="") for part in path)))
        if query:
            target += f"?{query}"
        connection, prefix = self._connection(patience)
        try:
            connection.request(method, prefix + target, body=body, headers=headers)
            answer = connection.getresponse()
            if answer.status >= http.HTTPStatus.BAD_REQUEST:
                document = self._document(answer.status, answer.read())
                raise AdminApiError(
                    self._refusal(answer.status, document),
                    answer.status,
                    is_temporary="Retry-After" in answer.headers,
                )
            yield answer
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            self._unreachable(error)
        finally:
            connection.close()

    def _document(self, status: int, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            raise AdminApiError(
                f"what answers at {self._url} is not Turnout's admin API (status {status}): "
                "set TURNOUT_ADMIN_URL"
            ) from None

    def _connection(self, patience: float) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection, and the path before `/api/v1`.

        Neither redirects nor proxies are followed: the token goes to this address alone.
        """
        try:
            parts = urlsplit(self._url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in {"http", "https"}:
            raise AdminApiError(f"TURNOUT_ADMIN_URL: {self._url!r} is not http[s]://host:port")
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=patience), parts.path
        try:
            context = ssl.create_default_context(cafile=self._authority)
        except OSError as error:
            raise AdminApiError(
                f"TURNOUT_ADMIN_CA: {self._authority} cannot be used: {error.strerror}"
            ) from None
        connection = http.client.HTTPSConnection(host, port, timeout=patience, context=context)
        return connection, parts.path

    def _unreachable(self, error: Exception) -> NoReturn:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise AdminApiError(
                f"the certificate of {self._url} is not trusted ({error.verify_message}): name the "
                "file of its authority in TURNOUT_ADMIN_CA"
            ) from error
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or repr(error)
        raise AdminApiError(
            f"the admin API at {self._url} cannot be reached ({reason}): "
            "start it with `turnout up` or `turnout router`, or set TURNOUT_ADMIN_URL",
            # If nothing listens, nobody started it; else the answer was lost.
            is_temporary=not isinstance(error, ConnectionRefusedError),
        ) from error

    def _refusal(self, status: int, document: Any) -> str:
        if status == http.HTTPStatus.UNAUTHORIZED:
            return f"the admin API at {self._url} refuses the token: set TURNOUT_ADMIN_TOKEN"
        detail = document.get("detail") if isinstance(document, dict) else None
        return detail or f"the admin API at {self._url} answered {status}"


def find() -> AdminApi:
    """Find the admin API: by the environment, else by what `turnout up` wrote.

    A token is never sent to an address that it was not given for: the one in `.turnout/up.json`
    belongs to the address beside it.

    Raises:
        AdminApiError: there is no token, or the file cannot be read.
    """
    url = os.environ.get("TURNOUT_ADMIN_URL")
    token = os.environ.get("TURNOUT_ADMIN_TOKEN")
    if url is None and token is None:
        return _find_up()
    if token is None:
        raise AdminApiError(f"TURNOUT_ADMIN_TOKEN is not set: it opens the admin API at {url}")
    return AdminApi(url or _DEFAULT_URL, token, os.environ.get("TURNOUT_ADMIN_CA"))


def _find_up() -> AdminApi:
    here = Path.cwd()
    for directory in (here, *here.parents):
        path = directory / ".turnout" / "up.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return AdminApi(facts["admin_url"], facts["admin_token"])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise AdminApiError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise AdminApiError(f"{path} is damaged: start `turnout up` again") from None
    raise AdminApiError(
        "no admin API is known: start `turnout up` in this directory, "
        "or set TURNOUT_ADMIN_URL and TURNOUT_ADMIN_TOKEN"
    )
