"""The error tree: one base, a stable code each, a sentence that tells what to do.

    ServiceError
    |-- InvalidInput                their input: refused, nothing changed
    |   |-- InvalidFrame            a WebSocket frame or a JSON body that cannot be read
    |   |-- InvalidProjectId
    |   |-- InvalidDescription
    |   `-- InvalidSetting          a flag or an environment variable
    |-- NotFound                    an unknown project, file or route
    |-- CursorTooOld                the journal has been trimmed since
    |-- NothingRunning              cancel without a run
    |-- ProjectBusy                 e.g. the queue of a project is full
    |-- ModelError                  the model's server; see `retryable`
    |   |-- ModelUnauthorized       401, 403
    |   |-- ModelPaymentRequired    402
    |   |-- ModelNotFound           404
    |   |-- ModelRateLimited        429
    |   |-- ModelUnavailable        5xx, connection refused, timeouts
    |   |-- ModelStreamBroken       cut or stalled after the first byte, error chunk
    |   `-- ModelRefused            content filter, no usable answer
    |-- BudgetExceeded              a cap on cost: the run waits
    |-- PriceUnknown                a cap on cost cannot be kept
    |-- PlanInvalid                 the model's plan breaks a rule
    |-- OutputInvalid               the model's files break a rule (none, too large)
    |-- ContextTooSmall             the request and the files do not fit the model's context
    |-- SandboxError
    |   |-- SandboxUnavailable      no engine, or it went away
    |   |-- SandboxImageMissing     the image cannot be had
    |   |-- InstallFailed           with the last lines of its output
    |   |-- BuildFailed             the type check or the build; likewise
    |   `-- ServerFailed            the dev server never answered; with its last lines
    |-- StorageUnavailable          PostgreSQL cannot be reached, or is full
    |-- StateDirUnusable            no permission, no space, or held by another service
    |-- PortTaken
    |-- ActorsUnavailable           the actor system is starting, gone, or too slow to answer
    |-- ActorCrashed                a project's actor died too often
    |-- Fenced                      another owner exists: stop without writing
    `-- InternalError               our bug, told without a traceback

`code` is part of the public protocol and never changes its meaning.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors that reach a user: a stable code and a sentence to act on."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message or (self.__doc__ or self.code).splitlines()[0]


class InvalidInput(ServiceError):
    """The request cannot be carried out as it is."""

    code = "invalid_input"


class InvalidFrame(InvalidInput):
    """The frame is not a JSON object of the protocol."""

    code = "invalid_frame"


class InvalidProjectId(InvalidInput):
    """A project id is 1 to 64 letters, digits, '_' or '-'."""

    code = "invalid_project_id"


class InvalidDescription(InvalidInput):
    """A description is 1 to 20,000 characters of text."""

    code = "invalid_description"


class InvalidSetting(InvalidInput):
    """A setting has a value that cannot be used."""

    code = "invalid_setting"


class NotFound(ServiceError):
    """There is nothing under this name."""

    code = "not_found"


class CursorTooOld(ServiceError):
    """The events after this cursor are not kept any more; read the project and its lastSeq."""

    code = "cursor_too_old"


class NothingRunning(ServiceError):
    """Nothing is running that could be cancelled."""

    code = "nothing_running"


class ProjectBusy(ServiceError):
    """The project's queue is full; wait for a run to end or cancel it."""

    code = "project_busy"


class ModelError(ServiceError):
    """The model could not answer."""

    code = "model_error"
    retryable: bool = False  # whether the same call may succeed a little later


class ModelUnauthorized(ModelError):
    """The model's server refused the key; check OPENROUTER_API_KEY."""

    code = "model_unauthorized"


class ModelPaymentRequired(ModelError):
    """The model's account has no credit left; add credit and generate again."""

    code = "model_payment_required"


class ModelNotFound(ModelError):
    """The model's server does not know this model; check CODEGEN_MODEL."""

    code = "model_not_found"


class ModelRateLimited(ModelError):
    """The model's server asks for a pause; try again later."""

    code = "model_rate_limited"
    retryable = True

    def __init__(self, message: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ModelUnavailable(ModelError):
    """The model's server cannot be reached; check OPENROUTER_BASE_URL and the network."""

    code = "model_unavailable"
    retryable = True

    def __init__(self, message: str = "", *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class ModelStreamBroken(ModelError):
    """The model's answer broke off."""

    code = "model_stream_broken"
    retryable = True


class ModelRefused(ModelError):
    """The model refused to answer; change the description and generate again."""

    code = "model_refused"


class BudgetExceeded(ServiceError):
    """The next model call could pass a cap on cost."""

    code = "budget_exceeded"

    def __init__(self, message: str = "", *, needed_usd: float = 0.0) -> None:
        super().__init__(message)
        self.needed_usd = needed_usd


class PriceUnknown(ServiceError):
    """The model's price is not known, so no cap on cost can be kept; set CODEGEN_PRICES."""

    code = "price_unknown"


class PlanInvalid(ServiceError):
    """The model's plan cannot be used; generate again or choose another model."""

    code = "plan_invalid"


class OutputInvalid(ServiceError):
    """The model's answer held no usable files; generate again or choose another model."""

    code = "output_invalid"


class ContextTooSmall(ServiceError):
    """The model's context is too small; choose one with a larger context or split the request."""

    code = "context_too_small"


class SandboxError(ServiceError):
    """The sandbox failed."""

    code = "sandbox_error"


class SandboxUnavailable(SandboxError):
    """No Docker engine answers; start Docker, or set CODEGEN_SANDBOX=static."""

    code = "sandbox_unavailable"


class SandboxImageMissing(SandboxError):
    """The sandbox image cannot be had; check CODEGEN_SANDBOX_IMAGE and the network."""

    code = "sandbox_image_missing"


class _WithOutput(SandboxError):
    """A command in the sandbox failed; its last output lines belong to the message.

    `was_killed`: from outside, for too much memory as a rule.
    """

    def __init__(
        self, message: str = "", *, output: tuple[str, ...] = (), was_killed: bool = False
    ) -> None:
        super().__init__(message)
        self.output = output
        self.was_killed = was_killed

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.output])


class InstallFailed(_WithOutput):
    """The dependencies could not be installed."""

    code = "install_failed"


class BuildFailed(_WithOutput):
    """The app does not pass its type check or does not build."""

    code = "build_failed"


class ServerFailed(_WithOutput):
    """The dev server did not answer."""

    code = "server_failed"


class StorageUnavailable(ServiceError):
    """PostgreSQL cannot be reached; check that it runs and that DATABASE_URL is right."""

    code = "storage_unavailable"


class StateDirUnusable(ServiceError):
    """The state directory cannot be used."""

    code = "state_dir_unusable"


class PortTaken(ServiceError):
    """The port is taken; choose another with CODEGEN_PORT or --port."""

    code = "port_taken"


class ActorsUnavailable(ServiceError):
    """The service is starting or recovering; try again in a moment."""

    code = "actors_unavailable"


class ActorCrashed(ServiceError):
    """The project's actor ended unexpectedly too often; its finished files are kept."""

    code = "actor_crashed"


class Fenced(ServiceError):
    """Another owner has taken over this project."""

    code = "fenced"


class InternalError(ServiceError):
    """Something went wrong inside the service; its log has the details."""

    code = "internal_error"


#: code -> (HTTP status, WebSocket close code if the socket cannot stay open).
STATUS_OF_CODE: dict[str, tuple[int, int]] = {
    "invalid_input": (400, 1008),
    "invalid_frame": (400, 1008),
    "invalid_project_id": (400, 1008),
    "invalid_description": (400, 1008),
    "not_found": (404, 1008),
    "cursor_too_old": (410, 1008),
    "nothing_running": (409, 1008),
    "project_busy": (429, 1013),
    "storage_unavailable": (503, 1013),
    "actors_unavailable": (503, 1013),
    "sandbox_unavailable": (503, 1013),
    "fenced": (503, 1013),
    "internal_error": (500, 1011),
}


def http_status(code: str) -> int:
    """Return the HTTP status for an error code; 500 for one without a row."""
    return STATUS_OF_CODE.get(code, (500, 1011))[0]


def _tree(base: type[ServiceError]) -> list[type[ServiceError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in _tree(child))]


#: Of several classes with one code, the one nearest to the root.
_ERROR_OF_CODE = {cls.code: cls for cls in reversed(_tree(ServiceError)[1:])}


def error_from_code(code: str, message: str) -> ServiceError:
    """Build the error that another process told by its code."""
    return _ERROR_OF_CODE.get(code, InternalError)(message)
