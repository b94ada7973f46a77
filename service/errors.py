"""Everything that can go wrong, once, with the status a caller sees.

    ServiceError                  500
    ├── InvalidRequest            400   the request cannot be served as it stands
    │   ├── InvalidType           400   a field is of the wrong type
    │   ├── UnsupportedParameter  400   a field that is not served at all
    │   ├── UnsupportedValue      400   a field's value that is not among those served
    │   ├── UnsupportedContent    400   a part of a message that is no text
    │   ├── ContextLengthExceeded 400
    │   ├── BudgetTooLarge        400   more than the tenant may ever have at once
    │   ├── Unauthorized          401   no key, or none that we know
    │   ├── BodyTooSlow           408   worth a retry
    │   ├── BodyTooLarge          413
    │   ├── UnsupportedEncoding   415   a body that is compressed
    │   ├── Misdirected           421   sent to another name: it may be a web page's trick
    │   ├── HeadersTooLarge       431
    │   └── NotFound              404   there is no such thing, or it is another's
    │       └── ModelNotFound     404
    ├── RateLimited               429   more requests than the tenant may make now; worth a retry
    │   ├── Overloaded            429   more than the service can do now; worth a retry
    │   └── QuotaExhausted        429   the tenant's tokens are spent, for long
    ├── ShuttingDown              503   the service is about to end; worth a retry
    ├── TooManyConnections        503   more are open than there are files for; worth a retry
    ├── QuotasUnavailable         503   the store of quotas does not answer; worth a retry
    ├── EngineError               502   the engine answered, with nonsense or a refusal
    │   └── EngineUnavailable     503   the engine does not answer; worth a retry
    ├── VerifierUnavailable       503   the verifier does not answer; worth a retry
    ├── TracesUnavailable         503   the store of traces does not answer; worth a retry
    ├── DeadlineExceeded          504   time ran out with nothing to show
    └── StartupError              -     the service cannot start: a sentence for the terminal

A message is one sentence that says what happened and what to do. It never holds a caller's input
or an internal detail: those go to the log, under the request's id.
"""


class ServiceError(Exception):
    status = 500
    type = "server_error"
    code = "server_error"
    retryable = False
    """Whether the same request may succeed later, with nothing paid twice."""
    retry_after = 5
    """Seconds until then."""

    def __init_subclass__(
        cls, *, code: str, status: int = 0, type: str = "", retryable: bool | None = None
    ) -> None:
        """What a kind of error does not say of itself it has from its base."""
        cls.code = code
        cls.status = status or cls.status
        cls.type = type or cls.type
        cls.retryable = cls.retryable if retryable is None else retryable

    def __init__(
        self, message: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if retry_after is not None:
            self.retry_after = retry_after


class InvalidRequest(
    ServiceError, status=400, type="invalid_request_error", code="invalid_value"
): ...


class InvalidType(InvalidRequest, code="invalid_type"): ...


class UnsupportedParameter(InvalidRequest, code="unsupported_parameter"): ...


class UnsupportedValue(InvalidRequest, code="unsupported_value"): ...


class UnsupportedContent(InvalidRequest, code="unsupported_content_part"): ...


class ContextLengthExceeded(InvalidRequest, code="context_length_exceeded"): ...


class BudgetTooLarge(InvalidRequest, code="budget_too_large"): ...


class Unauthorized(InvalidRequest, status=401, code="invalid_api_key"): ...


class BodyTooSlow(InvalidRequest, status=408, code="body_too_slow", retryable=True): ...


class BodyTooLarge(InvalidRequest, status=413, code="body_too_large"): ...


class UnsupportedEncoding(InvalidRequest, status=415, code="unsupported_encoding"): ...


class Misdirected(InvalidRequest, status=421, code="misdirected"): ...


class HeadersTooLarge(InvalidRequest, status=431, code="headers_too_large"): ...


class NotFound(InvalidRequest, status=404, code="not_found"): ...


class ModelNotFound(NotFound, code="model_not_found"): ...


class RateLimited(
    ServiceError, status=429, type="rate_limit_error", code="rate_limit_exceeded", retryable=True
): ...


class Overloaded(RateLimited, code="engine_overloaded"): ...


class QuotaExhausted(RateLimited, code="insufficient_quota", retryable=False): ...


class ShuttingDown(ServiceError, status=503, code="shutting_down", retryable=True): ...


class TooManyConnections(ServiceError, status=503, code="too_many_connections", retryable=True): ...


class QuotasUnavailable(
    ServiceError, status=503, type="store_error", code="quotas_unavailable", retryable=True
): ...


class EngineError(ServiceError, status=502, type="engine_error", code="engine_error"): ...


class EngineUnavailable(EngineError, status=503, code="engine_unavailable", retryable=True): ...


class VerifierUnavailable(
    ServiceError, status=503, type="verifier_error", code="verifier_unavailable", retryable=True
): ...


class TracesUnavailable(
    ServiceError, status=503, type="store_error", code="traces_unavailable", retryable=True
): ...


class DeadlineExceeded(
    ServiceError, status=504, type="timeout_error", code="deadline_exceeded"
): ...


class StartupError(ServiceError, code="startup_error"): ...
