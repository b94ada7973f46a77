"""Which request is being served: for the log, and for the servers that are asked on its behalf."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
